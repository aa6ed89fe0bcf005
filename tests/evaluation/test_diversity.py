"""Distinct and repeated n-grams."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OutOfRange
from tutelage.evaluation.diversity import distinct, repeated

ROWS = st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=6)


def test_pairs_of_two_rows_counted_by_hand() -> None:
    """1 2 | 2 1 | 1 2 and 1 2 | 2 3: five pairs, three different ones, one said again in its own row."""
    rows = [[1, 2, 1, 2], [1, 2, 3]]
    assert distinct(rows, 2) == 3 / 5
    assert repeated(rows, 2) == pytest.approx(1 / 5)


@given(rows=ROWS, n=st.integers(1, 5), seed=st.integers(0, 9))
def test_shares_are_shares_and_the_order_of_rows_is_nothing(rows: list[list[int]], n: int, seed: int) -> None:
    """From 1 / count to 1, and a repetition within rows is one of the pool too."""
    share, again = distinct(rows, n), repeated(rows, n)
    count = sum(max(0, len(row) - n + 1) for row in rows)
    if count == 0:
        assert math.isnan(share)
        assert math.isnan(again)
        return
    assert 1 / count <= share <= 1
    assert 0 <= again <= 1 - share + 1e-12
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert (distinct(shuffled, n), repeated(shuffled, n)) == (share, again)


@given(row=st.lists(st.integers(0, 9), min_size=8, max_size=20))
def test_the_same_text_twice_halves_what_is_distinct(row: list[int]) -> None:
    """The pool is what counts; repetition inside a row does not change."""
    assert distinct([row, row], 4) == pytest.approx(distinct([row], 4) / 2)
    assert repeated([row, row], 4) == pytest.approx(repeated([row], 4))


def test_words_are_as_good_as_ids() -> None:
    """Nothing is asked of a token but that it can be compared."""
    assert distinct([["to", "be", "or", "not", "to", "be"]], 2) == 4 / 5


def test_runs_of_nothing_are_refused() -> None:
    """An n of 0 means nothing."""
    with pytest.raises(OutOfRange, match="n is 0"):
        distinct([[1, 2]], 0)
