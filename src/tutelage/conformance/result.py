"""What was found, for people and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tutelage.conformance.found import Bound, Found, Identity

Answer = Literal["ok", "FAILS", "not checked"]


@dataclass(frozen=True)
class Line:
    """One measure of one identity.

    Attributes:
        identity: its name.
        measure: what of it is compared; empty where there is only one thing.
        compares: what the two sides are.
        found: how far apart they are; None where that is no number, or nothing was compared.
        bound: how far apart they may be here.
        unit: of both.
        answer: `ok`, `FAILS` or `not checked`.
        said: what else there is to know, or why nothing was compared.
        why: where the bound comes from.
    """

    identity: str
    measure: str
    compares: str
    found: float | None
    bound: float
    unit: str
    answer: Answer
    said: str
    why: str

    @property
    def name(self) -> str:
        """Identity and measure."""
        return f"{self.identity}, {self.measure}" if self.measure else self.identity


def line_of(identity: Identity, bound: Bound, found: Found | str, half: bool) -> Line:
    """The line of a measurement, or of the reason why there is none.

    Args:
        identity: which.
        bound: of the measure.
        found: what the identity measured, or why it did not.
        half: whether the recipe computes in 16 bits.
    """
    told = found if isinstance(found, Found) else Found(math.nan, found)
    short = half if told.half is None else told.half
    most = told.scale * (bound.half if short and bound.half is not None else bound.most)
    # Asked this way round, what is not a number fails.
    answer: Answer = "not checked" if isinstance(found, str) else "ok" if told.apart <= most else "FAILS"
    apart = told.apart if math.isfinite(told.apart) else None
    name, measure, compares = identity.name, bound.measure, identity.compares
    return Line(name, measure, compares, apart, most, bound.unit, answer, told.said, bound.why)


@dataclass(frozen=True)
class Conformance:
    """What `tutelage check --conformance` found out.

    Attributes:
        lines: every measure of every identity.
        rows, tokens: how much text was looked at, counted tokens.
        where: which text.
        terms: the divergences that were evaluated.
        precision: `float32`, or `16 bits` where something is computed in them.
    """

    lines: tuple[Line, ...]
    rows: int
    tokens: int
    where: str
    terms: tuple[str, ...]
    precision: str

    @property
    def failed(self) -> tuple[Line, ...]:
        """The lines that do not hold."""
        return tuple(line for line in self.lines if line.answer == "FAILS")

    @property
    def exit_status(self) -> int:
        """0 where all that was checked holds, 3 where something does not."""
        return 3 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        return asdict(self) | {"exit_status": self.exit_status}

    def text(self) -> str:
        """For people: a table, and one sentence."""
        rows = [("identity", "found", "bound", "in", "", "")]
        rows += [(line.name, *_numbers(line), line.answer, line.said) for line in self.lines]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
            for row in rows
        ]
        head = (
            f"{self.rows} rows, {self.tokens:,} counted tokens of {self.where}; {', '.join(self.terms)}; "
            f"{self.precision}"
        )
        return "\n".join([head, "", *table, "", self._verdict()])

    def _verdict(self) -> str:
        left = sum(line.answer == "not checked" for line in self.lines)
        checked = len(self.lines) - left
        beside = f"; {left} were not checked" if left else ""
        if self.failed:
            names = "; ".join(line.name for line in self.failed)
            return f"FAILS: {names} ({len(self.failed)} of {checked} that were checked{beside})"
        return f"holds: all {checked} that were checked{beside}"


def _numbers(line: Line) -> tuple[str, str, str]:
    if line.answer == "not checked":
        return "-", "-", "-"
    found = "-" if line.found is None else f"{line.found:.2g}"
    return found, f"{line.bound:.2g}", line.unit
