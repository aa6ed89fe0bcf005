"""The teacher that a command line names: that of a recipe, or a model in a folder or on a hub."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePath

from tutelage.errors import TutelageError
from tutelage.recipes.faults import Faults, Spot
from tutelage.recipes.loading import load
from tutelage.recipes.overlay import from_word, overlaid
from tutelage.recipes.places import Place
from tutelage.recipes.reading import Reader
from tutelage.recipes.shelf import library
from tutelage.recipes.tree import from_python
from tutelage.recipes.words import TeacherWord

_GENERAL = ("teacher", "student", "model")


def asked_teacher(what: str, changes: Iterable[str] = ()) -> TeacherWord:
    """The teacher of a recipe, or a model as teacher.

    Args:
        what: a YAML file or a name of the library, else the folder or hub name of a model.
        changes: ``key=value`` words: of the recipe, or for a model options of the teacher `model`.

    Raises:
        TutelageError: there is no such thing, or it has no teacher. Several: it has several faults.
    """
    if what.endswith((".yaml", ".yml")) or (what in library() and not os.path.isdir(what)):
        recipe = load(what, changes)
        arms = [recipe.teacher, *(arm.teacher for arm in recipe.arms.values())]
        found = next((word for word in arms if word is not None), None)
        if found is None:
            raise TutelageError(
                f"{what}: has no teacher",
                expected="a recipe with `teacher:`",
                fix="add `teacher: PATH`, or name the model itself",
            )
        return found
    faults = Faults()
    root = from_python({"teacher": {"kind": "model", "model": what}}, faults, Spot(what))
    for order, word in enumerate(changes):
        change = from_word(f"teacher.{word}", order, faults)
        root = overlaid(root, change, faults) if change is not None else root
    found = Reader(faults, None).teacher(root.value["teacher"])
    faults.raise_any()
    assert found is not None
    return found


def called(word: TeacherWord) -> str:
    """A short name for a teacher: what tells its model from others, else its kind."""
    place = word.options.get("model")
    if not isinstance(place, str):
        return word.kind
    written = place.written if isinstance(place, Place) else place
    if not os.path.exists(place):
        return written
    parts = [part for part in PurePath(written.removeprefix("package:")).parts if part.strip("/.")]
    general = len(parts) > 1 and parts[-1] in _GENERAL
    return "/".join(parts[-2:] if general else parts[-1:]) or word.kind
