"""Intervals and noise floors: how far a difference can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.seeds import stream

# Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom (any statistics table).
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; the ends are NaN where one value does not tell."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:+.4f} (one seed: no interval)"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean over independent seeds with Student's t interval, 95 %."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    half = t95(n - 1) * spread(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def t95(freedom: int) -> float:
    """Two-sided 95 % point of Student's t with so many degrees of freedom."""
    return _T95[freedom - 1] if freedom <= len(_T95) else 1.96 + 2.5 / freedom


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds (n - 1)."""
    n = len(values)
    mean = sum(values) / n
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else math.nan


def over_rows(sums: Tensor, tokens: Tensor, *, seed: int = 0, draws: int = 2000) -> Interval:
    """Mean per token with a bootstrap interval over rows of text, 95 %.

    Tokens of one text depend on one another, so whole texts are drawn, not tokens.

    Args:
        sums: of a measure by row of text ``[R]`` (a difference of two measures gives a paired interval).
        tokens: counted tokens by row ``[R]``.
        seed: of the draws.
        draws: how many.
    """
    rows = len(tokens)
    mean = float(sums.sum() / tokens.sum())
    if rows < 2:
        return Interval(mean, math.nan, math.nan)
    drawn = torch.randint(rows, (draws, rows), generator=stream(seed, "bootstrap"))
    means = sums[drawn].sum(1) / tokens[drawn].sum(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return Interval(mean, low, high)


def paired_rows(
    ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], *, seed: int = 0, draws: int = 2000
) -> Interval:
    """The difference of two means over the same rows with a bootstrap interval, 95 %.

    Args:
        ours, theirs: sums of a measure and weights by row ``[R]``; rows are drawn for both together.
        seed: of the draws.
        draws: how many.
    """
    rows = len(ours[0])
    mean = float(ours[0].sum() / ours[1].sum() - theirs[0].sum() / theirs[1].sum())
    if rows < 2:
        return Interval(mean, math.nan, math.nan)
    drawn = torch.randint(rows, (draws, rows), generator=stream(seed, "bootstrap"))
    first, second = (sums[drawn].sum(1) / weights[drawn].sum(1) for sums, weights in (ours, theirs))
    low, high = (first - second).nanquantile(torch.tensor([0.025, 0.975], dtype=first.dtype)).tolist()
    return Interval(mean, low, high)


def over_groups(value: float, without: Sequence[float]) -> Interval:
    """A value of all rows with a jackknife interval over groups of them, 95 %.

    For what is no mean, such as a share of distinct n-grams: it is computed again without each group, and
    the spread of those values tells how far it hangs on the rows that happened to be there.

    Args:
        value: of all rows.
        without: of all rows without one group, for every group; groups are about equally large.
    """
    groups = len(without)
    if groups < 2:
        return Interval(value, math.nan, math.nan)
    mean = sum(without) / groups
    error = math.sqrt((groups - 1) / groups * sum((one - mean) ** 2 for one in without))
    half = t95(groups - 1) * error
    return Interval(value, value - half, value + half)
