"""Recipes: a run or a study in YAML, read strictly, without loading a model or importing torch.

>>> from tutelage.recipes import load
>>> recipe = load("demo", ["training.max_steps=5"])
>>> recipe.sentence()["divergence"]
'cross-entropy, forward KL or Jensen-Shannon'
>>> len(recipe.runs())
9

What the keys mean is in `reference`; what arms and ``key=value`` words change, in
`tutelage.recipes.overlay`; where a relative path is looked for, in `tutelage.recipes.places`.
"""

from tutelage.recipes.loading import from_dict, load, read
from tutelage.recipes.places import Place, find, written
from tutelage.recipes.recipe import Recipe
from tutelage.recipes.reference import reference
from tutelage.recipes.shelf import families, library
from tutelage.recipes.words import (
    Evaluation,
    SamplesWord,
    StudentWord,
    TeacherWord,
    Term,
    Training,
    Word,
)

__all__ = [
    "Evaluation",
    "Place",
    "Recipe",
    "SamplesWord",
    "StudentWord",
    "TeacherWord",
    "Term",
    "Training",
    "Word",
    "families",
    "find",
    "from_dict",
    "library",
    "load",
    "read",
    "reference",
    "written",
]
