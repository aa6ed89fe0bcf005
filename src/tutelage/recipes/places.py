"""Where a model or a data set is: a path, a file that the package brings, or a name on the hub.

A relative path is looked for from the current directory first, then from the recipe's folder. What
is spelt ``org/name`` and is not there is taken for a hub name, unless ``org`` is a folder here: then
it is a path with a slip in it. ``package:demo/teacher`` is a file inside the installed package.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import Any

from tutelage.errors import TutelageError, nearest
from tutelage.recipes.faults import printable

PACKAGE = Path(__file__).resolve().parent.parent

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE = re.compile(r".*\.(jsonl?|csv|tsv|parquet|txt|ya?ml|gz|zip|safetensors|gguf|bin|pt)", re.IGNORECASE)


class Place(str):
    """The path to open, or a hub name; `written` is how ``run.json`` spells it.

    The two differ only for what the package brings: its path is another on every machine.
    """

    written: str

    def __new__(cls, path: str, written: str | None = None) -> Place:
        place = super().__new__(cls, path)
        place.written = path if written is None else written
        return place


def written(value: Any) -> str:
    """How ``run.json`` spells a place, or several of them one after the other."""
    if isinstance(value, list | tuple):
        return ", ".join(map(written, value))
    return value.written if isinstance(value, Place) else str(value)


def find(text: str, folder: Path | None = None) -> Place:
    """The place that a recipe means by ``text``.

    Args:
        text: what the recipe says.
        folder: the recipe's own folder, searched after the current directory.

    Raises:
        TutelageError: it is spelt like a path and there is no such file or folder. The problem does
            not name the recipe; whoever reads it puts that in front.
    """
    if text.startswith("package:"):
        return _in_package(text)
    if "://" in text:
        return Place(text)  # an address, such as that of a cache; whoever opens it reaches it or says why not
    path = Path(text).expanduser()
    if not text.strip() or "\0" in text or len(text) > 4096:
        raise _missing(text[:60], "an empty name" if not text.strip() else "not a file name")
    for start in [Path(), *([folder] if folder else [])]:
        if _exists(start / path):
            return Place(str(path) if start == Path() else os.path.relpath(start / path))
    if _HUB_NAME.fullmatch(text) and not _FILE.fullmatch(text):
        owner = text.partition("/")[0]
        here = any(_exists(start / owner) for start in (Path(), folder or Path()))
        if not here:
            return Place(text)
    raise _missing(text, f"no such file or folder '{text}'", folder)


def _in_package(text: str) -> Place:
    named = PurePath(text.removeprefix("package:"))
    inside = PACKAGE / named
    if named.is_absolute() or ".." in named.parts or not _exists(inside):
        raise TutelageError(
            printable(f"the package has no file '{named}'"),
            expected="`package:` and a path inside the installed package",
            fix="write `package:demo/teacher` for the demo's teacher, or a path of your own",
        )
    return Place(str(inside), text)


def _missing(text: str, problem: str, folder: Path | None = None) -> TutelageError:
    """The error, with the most similar name that is there."""
    problem = printable(problem)
    parent, leaf = os.path.split(text)
    there = [start / parent for start in [Path(), *([folder] if folder else [])] if _exists(start / parent)]
    names = [name for one in there if one.is_dir() for name in _names(one)]
    close = nearest(leaf, names) if leaf else None
    return TutelageError(
        problem,
        expected="a path from the current directory or from the recipe's folder, or a hub name `org/name`",
        fix=printable(f"write '{os.path.join(parent, close)}' (the nearest name)")
        if close
        else "check the path",
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system, or a folder that may not be searched
        return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
