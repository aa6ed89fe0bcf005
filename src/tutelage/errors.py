"""Errors for what a user gave: what was wrong, what was expected, how to mend it.

The command line prints the three lines and exits with status 2. Every other exception is a bug of
ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class TutelageError(Exception):
    """What the user gave cannot be used.

    Attributes:
        problem: one line that names the file, line and value at fault.
        expected: what would have been accepted.
        fix: the likeliest remedy.
    """

    def __init__(self, problem: str, *, expected: str, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}\n  expected  {self.expected}\n  to fix    {self.fix}"


class OutOfRange(TutelageError, ValueError):
    """A number lies outside the range in which the formula means anything."""


class UnknownName(TutelageError, KeyError):
    """A name is not in the table it was looked up in."""

    __str__ = TutelageError.__str__


class NotShared(TutelageError):
    """Two models were to meet on token ids that they do not provably share."""


class Damaged(TutelageError):
    """A stored file is not what was written: cut short, changed, or not ours."""


class MissingExtra(TutelageError, ImportError):
    """An optional library is not installed."""

    __str__ = TutelageError.__str__

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"the library '{library}' is not installed",
            expected=f"the extra '{extra}' of tutelage",
            fix=f'pip install "tutelage[{extra}]"',
        )


class Several(TutelageError):
    """All the faults of one file at once, so that a recipe is mended in one go."""

    def __init__(self, faults: Iterable[TutelageError]) -> None:
        self.faults = tuple(faults)
        first = self.faults[0]
        super().__init__(first.problem, expected=first.expected, fix=first.fix)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name that is spelt most like ``name``, or None if none is close."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return close[0] if close else None


def listed(names: Iterable[str], last: str = "or") -> str:
    """``a, b or c``: the names sorted, for a sentence."""
    *most, final = sorted(names)
    return f"{', '.join(most)} {last} {final}" if most else final
