"""From a file (or a dict) and changes to a `Recipe`, or to all of its faults at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError, nearest
from tutelage.recipes.composing import composed
from tutelage.recipes.faults import Faults, Spot, printable
from tutelage.recipes.overlay import from_word, overlaid
from tutelage.recipes.recipe import Recipe
from tutelage.recipes.shelf import LIBRARY, cited_in, library
from tutelage.recipes.tree import Node, from_file, from_python


def load(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a file, or of that name in the library, changed by ``key=value`` words.

    Raises:
        TutelageError: there is no such file, or it has one fault.
        Several: it has more; each with its line, all at once.
    """
    return _loaded(
        str(path),
        lambda faults: [from_word(word, 10_000_000 + i, faults) for i, word in enumerate(overrides)],
    )


def from_dict(said: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe that a mapping of plain values is, changed by another of the same shape.

    Raises:
        TutelageError: it has one fault. Several: it has more.
    """
    faults = Faults()
    root = from_python(said, faults, Spot("recipe"))
    if overrides:
        root = overlaid(root, from_python(overrides, faults, Spot("override")), faults)
    return composed(root, None, faults, "recipe")


def read(recipe: str | Path | Mapping[str, Any] | Recipe, **overrides: Any) -> Recipe:
    """A recipe from whatever describes one; keywords change its keys (``training={"max_steps": 5}``).

    Raises:
        TutelageError: it has one fault. Several: it has more.
    """
    if isinstance(recipe, Recipe):
        return from_dict(recipe.resolved(), overrides) if overrides else recipe
    if isinstance(recipe, Mapping):
        return from_dict(recipe, overrides)
    return _loaded(str(recipe), lambda faults: [from_python(overrides, faults, Spot("override"))])


def _loaded(name: str, changes: Callable[[Faults], Iterable[Node | None]]) -> Recipe:
    file, faults = _file(name), Faults()
    root = from_file(file, name, faults)
    for change in changes(faults):
        if root is not None and change is not None:
            root = overlaid(root, change, faults)
    if root is None:
        faults.raise_any()
        raise AssertionError("a file without a tree has faults")
    recipe = composed(root, file.parent, faults, name)
    return replace(recipe, cites=cited_in(file.read_text(encoding="utf-8-sig")))


def _file(name: str) -> Path:
    # These two answer False, not with an error, for a name that no file system takes.
    if os.path.isfile(name):
        return Path(name)
    parent, leaf = os.path.split(name)
    there = os.listdir(parent or ".") if os.path.isdir(parent or ".") else []
    if name in library():
        return LIBRARY / f"{name}.yaml"
    close = nearest(name, library()) or nearest(
        leaf, [one for one in there if one.endswith((".yaml", ".yml"))]
    )
    what = "a folder, not a recipe" if os.path.isdir(name) else "no such recipe"
    raise TutelageError(
        f"{printable(name[:200])}: {what}",
        expected="a YAML file, or a name that `tutelage list recipes` shows",
        fix=f"write '{close}' (the nearest name)" if close else "check the path",
    )
