"""Which measures were asked for: names of the table with their options, such as ``dist:n=2``."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.errors import MissingExtra, TutelageError, listed, nearest
from tutelage.evaluation import HELD_OUT, TABLE
from tutelage.evaluation.evidence import Evidence
from tutelage.evaluation.found import Found
from tutelage.evaluation.needs import TEXTS
from tutelage.registry import options

ALL = "all"


@dataclass(frozen=True)
class Asked:
    """One measure.

    Attributes:
        label: what it is called in the answer.
        measure: the function of the table.
        options: it is called with them.
        wanted: whether it was asked for by name, so that it is an error if it cannot be taken.
    """

    label: str
    measure: Any
    options: Mapping[str, Any]
    wanted: bool

    @property
    def unit(self) -> str:
        """In which unit it comes out."""
        return self.measure.unit

    @property
    def installed(self) -> bool:
        """Whether the library that it needs is there."""
        return self.measure.library is None or importlib.util.find_spec(self.measure.library) is not None

    @property
    def writes(self) -> bool:
        """Whether somebody has to write texts for it."""
        return TEXTS in self.measure.needs

    def of(self, evidence: Evidence) -> Found | None:
        """What it finds; None if what it needs is not there and nobody named it.

        Raises:
            TutelageError: it was named, and what it needs is not there.
        """
        missing = self.measure.needs - evidence.has
        if not missing:
            return self.measure(evidence, **self.options)
        if self.wanted:
            raise TutelageError(
                f"{self.label} needs {listed(missing, 'and')}, which is not here",
                expected=f"{listed(self.measure.needs, 'and')}",
                fix="name a teacher that is a model with `--teacher`, or leave the measure out",
            )
        return None


def asked(names: Sequence[str] | None) -> list[Asked]:
    """The measures behind names.

    Args:
        names: each ``name`` or ``name:option=value:option=value``; ``all`` stands for every measure that what
            was given allows, None for those of held-out text.

    Raises:
        UnknownName: no measure is called so.
        TutelageError: it has no such option, or its value is of another type.
        MissingExtra: a library that a named measure needs is not installed.
    """
    if names is None:
        return [Asked(name, TABLE.load(name), {}, False) for name in HELD_OUT]
    # A library that is missing is told before hours of writing; `all` leaves its measures out.
    found: dict[str, Asked] = {}
    for text in names:
        every = list(TABLE) if text == ALL else [text]
        for one in every:
            made = _one(one, wanted=text != ALL)
            if made.installed:
                found.setdefault(one, made)
            elif made.wanted:
                raise MissingExtra(made.measure.library.replace("_", "-"), "evaluation")
    return list(found.values())


def _one(text: str, *, wanted: bool) -> Asked:
    name, *pairs = text.split(":")
    entry, known = TABLE[name], options(TABLE[name])
    said = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in known:
            close = nearest(key, known)
            raise TutelageError(
                f"the measure '{name}' has no option '{key}'",
                expected=listed(known) if known else f"`{name}` alone: it has no options",
                fix=f"write {name}:{close}={value}" if close else f"write {name}",
            )
        said[key] = _number(text, key, value, type(known[key].default))
    return Asked(text, entry.load(), said, wanted)


def _number(text: str, key: str, value: str, kind: Callable[[Any], Any]) -> Any:
    try:
        read = json.loads(value)
        found = kind(read)
        if isinstance(read, bool) or found != read or found <= 0:
            raise ValueError(value)
    except (ValueError, TypeError):
        raise TutelageError(
            f"'{text}': {key} is {value!r}",
            expected="a whole number of at least 1" if kind is int else "a number above 0",
            fix=f"leave `{key}` out, or write a number",
        ) from None
    return found
