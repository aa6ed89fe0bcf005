"""What a measure found: a value for every seed, an interval over rows, a paired difference, a noise floor."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.evaluation.intervals import Interval, over_groups, over_rows, paired_rows, spread, t95

GROUPS = 10
"""Groups of rows that a pooled value is measured without, one at a time."""


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean over rows or tokens.

    Attributes:
        sums: of the quantity by seed and row ``[S, R]``; one seed where nothing is drawn.
        weights: what each weighs in the mean ``[S, R]``: 1 a row, or its tokens.
        note: a sentence for the reader.
    """

    sums: Tensor
    weights: Tensor
    note: str = ""

    @staticmethod
    def of_rows(values: Sequence[Sequence[float]], scale: int = 1) -> Mean:
        """A mean in which every row weighs the same, from values by seed and row."""
        sums = torch.tensor([list(row) for row in values], dtype=torch.float64) * scale
        return Mean(sums, torch.ones_like(sums))

    @property
    def values(self) -> list[float]:
        """The value for every seed."""
        return (self.sums.sum(1) / self.weights.sum(1)).tolist()

    def interval(self) -> Interval:
        """The mean over all seeds with a bootstrap interval over rows."""
        return over_rows(self.sums.sum(0), self.weights.sum(0))

    def minus(self, other: Mean) -> Interval:
        """The difference from another student on the same rows, drawn together."""
        ours, theirs = ((one.sums.sum(0), one.weights.sum(0)) for one in (self, other))
        return paired_rows(ours, theirs)


@dataclass(frozen=True, eq=False)
class Pooled:
    """A value of all rows at once that is no mean over them, such as BLEU or the share of distinct n-grams.

    Attributes:
        of: a seed's number and rows to the value.
        seeds: how many.
        rows: how many.
        note: a sentence for the reader.
    """

    of: Callable[[int, Sequence[int]], float]
    seeds: int
    rows: int
    note: str = ""

    @property
    def values(self) -> list[float]:
        """The value for every seed."""
        return [self.of(seed, range(self.rows)) for seed in range(self.seeds)]

    @functools.cached_property
    def left_out(self) -> list[float]:
        """The mean over seeds of all rows, then without each group of rows."""
        every = range(self.rows)
        groups = min(GROUPS, self.rows)
        without = [[row for row in every if row % groups != group] for group in range(groups)]
        return [self._mean(rows) for rows in (every, *(without if self.rows > 1 else ()))]

    def interval(self) -> Interval:
        """The mean over seeds with a jackknife interval over groups of rows."""
        return over_groups(self.left_out[0], self.left_out[1:])

    def minus(self, other: Pooled) -> Interval:
        """The difference from another student, each time without the same rows."""
        first, *others = [ours - theirs for ours, theirs in zip(self.left_out, other.left_out, strict=True)]
        return over_groups(first, others)

    def _mean(self, rows: Sequence[int]) -> float:
        return sum(self.of(seed, rows) for seed in range(self.seeds)) / self.seeds


@dataclass(frozen=True)
class Reported:
    """A value that somebody else computed, with its standard error; NaN where none is known."""

    value: float
    error: float
    note: str = ""

    @property
    def values(self) -> list[float]:
        """The one value."""
        return [self.value]

    def interval(self) -> Interval:
        """Two standard errors to both sides."""
        return Interval(self.value, self.value - 1.96 * self.error, self.value + 1.96 * self.error)

    def minus(self, other: Reported) -> Interval:
        """The difference from another student as if both were measured apart: rather too wide."""
        apart = Reported(self.value - other.value, math.hypot(self.error, other.error))
        return apart.interval()


Found = Mean | Pooled | Reported


@dataclass(frozen=True)
class Noise:
    """How far one student's value moves from generation seed to generation seed.

    Attributes:
        values: one a seed.
        spread: standard deviation over seeds; NaN for one seed.
        floor: what two groups of as many seeds of this student differ by in 95 of 100 cases.
    """

    values: tuple[float, ...]
    spread: float
    floor: float


def noise_of(found: Found) -> Noise | None:
    """The noise floor of a measure over generation seeds; None where there is one seed or none."""
    values = found.values
    if len(values) < 2:
        return None
    apart = spread(values)
    return Noise(tuple(values), apart, t95(len(values) - 1) * apart * math.sqrt(2 / len(values)))


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers that are not finite become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
