"""Runs of n tokens in a text, and how many of them stood in it before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tutelage.errors import OutOfRange

T = TypeVar("T", int, str)


def repeated(rows: Sequence[Sequence[T]], n: int = 4) -> float:
    """Share of n-grams that stood earlier in the same row, pooled over rows: 0 says nobody repeats himself.

    Args:
        rows: token ids or words, one list a text.
        n: tokens in an n-gram.

    Returns:
        NaN where no row has ``n`` tokens.

    Raises:
        OutOfRange: ``n`` is below 1.

    Source: Welleck et al. 2020, arXiv:1908.04319 (seq-rep-n), here over all n-grams instead of row by row.
    """
    counts = [(len(grams), len(set(grams))) for row in rows if (grams := list(n_grams(row, n)))]
    if not counts:
        return float("nan")
    return 1 - sum(new for _, new in counts) / sum(every for every, _ in counts)


def n_grams(row: Sequence[T], n: int) -> Iterator[tuple[T, ...]]:
    """All runs of ``n`` tokens of a row, in order.

    Raises:
        OutOfRange: ``n`` is below 1.
    """
    if n < 1:
        raise OutOfRange(f"n is {n}", expected="at least 1 token", fix="write 4 for Dist-4")
    return zip(*(itertools.islice(row, start, None) for start in range(n)), strict=False)
