"""Every table of the project in one place, and the recipes that come with the package."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tutelage import constraints, divergences, estimators, plans, samples, teachers
from tutelage.citations import PAPERS
from tutelage.recipes.words import TeacherWord, Word
from tutelage.registry import Entry, Table

LIBRARY = Path(__file__).parent / "library"


@dataclass(frozen=True)
class RecipeEntry(Entry):
    """A recipe of the library; its summary is the first comment of the file.

    Attributes:
        path: the file.
    """

    path: Path = LIBRARY

    @property
    def summary(self) -> str:
        """The first line of the file without its hash sign."""
        first = self.path.read_text(encoding="utf-8").partition("\n")[0]
        return first.removeprefix("#").strip() if first.startswith("#") else ""

    def load(self) -> Path:
        """The file itself, to be given to `tutelage.recipes.load`."""
        return self.path


@functools.cache
def library() -> Table:
    """The table of recipes: one file of ``recipes/library`` each, called by its stem."""
    return Table(
        "recipes",
        {
            path.stem: RecipeEntry(
                f"tutelage.recipes.library:{path.stem}",
                paper=next(iter(cited_in(path.read_text(encoding="utf-8"))), None),
                path=path,
            )
            for path in sorted(LIBRARY.glob("*.yaml"))
        },
    )


@functools.cache
def families() -> dict[str, Table]:
    """All tables by their names, in the order in which a sentence says them."""
    tables = [module.TABLE for module in (teachers, divergences, samples, estimators, constraints, plans)]
    return {table.family: table for table in [*tables, library()]}


def cited_in(text: str) -> tuple[str, ...]:
    """Keys of known papers in the comments ``# paper: key, key`` of a recipe."""
    lines = re.findall(r"^#\s*papers?:\s*(.+)$", text, re.MULTILINE)
    keys = [key.strip() for line in lines for key in line.split(",")]
    return tuple(key for key in keys if key in PAPERS)


@runtime_checkable
class Said(Protocol):
    """The part of a recipe that papers are looked up for."""

    @property
    def teacher(self) -> TeacherWord | None: ...
    @property
    def objective(self) -> tuple[Any, ...]: ...
    @property
    def samples(self) -> Word: ...
    @property
    def estimator(self) -> Word: ...
    @property
    def constraint(self) -> Word: ...


def papers_of(recipe: Said) -> Iterator[str]:
    """Keys of the papers behind the words of a recipe, in the order of the sentence."""
    kinds = [("teachers", word.kind) for word in _nested(recipe.teacher)]
    kinds += [("divergences", term.divergence) for term in recipe.objective]
    kinds += [("samples", recipe.samples.kind), ("estimators", recipe.estimator.kind)]
    kinds += [("constraints", recipe.constraint.kind)]
    for family, kind in kinds:
        paper = families()[family][kind].paper
        if paper is not None:
            yield paper


def _nested(value: Any) -> Iterator[TeacherWord]:
    """A teacher word and those inside it."""
    if isinstance(value, TeacherWord):
        yield value
        for option in value.options.values():
            yield from _nested(option)
    elif isinstance(value, tuple):
        for item in value:
            yield from _nested(item)
