"""Intervals cover what they say they cover."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.evaluation import over_rows, over_seeds
from tutelage.evaluation.intervals import t95


def test_t_intervals_over_three_seeds_cover_the_truth_as_often_as_they_say() -> None:
    """95 of 100; of 4,000 a right interval leaves [0.935, 0.965] less than once in 10,000 tries."""
    drawn = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    covered = sum(interval.low <= 0 <= interval.high for interval in map(over_seeds, drawn.tolist())) / 4000
    assert 0.935 < covered < 0.965


def test_bootstrap_over_rows_is_of_the_mean_per_token_not_per_row() -> None:
    """A long text weighs what its tokens weigh, and texts are drawn whole."""
    tokens = torch.tensor([1.0, 99.0]).double()
    sums = torch.tensor([10.0, 0.0]).double()
    interval = over_rows(sums, tokens)
    assert interval.mean == pytest.approx(0.1)
    assert interval.low == 0
    assert interval.high == pytest.approx(10)


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """60 texts of unlike lengths; 400 draws: a coverage of 0.9 or less would be a bug, not chance."""
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(400):
        tokens = torch.randint(20, 200, (60,), generator=generator).double()
        noise = torch.randn(60, generator=generator).double()
        interval = over_rows(tokens * (2 + 0.3 * noise), tokens, draws=400)
        covered += interval.low <= 2 <= interval.high
    assert covered / 400 > 0.9


def test_one_value_has_no_interval() -> None:
    """And says so."""
    assert math.isnan(over_seeds([1.0]).low)
    assert "no interval" in str(over_seeds([1.0]))


def test_t_points_fall_to_the_normal_one() -> None:
    """12.706 for one degree of freedom, 1.96 for many."""
    points = [t95(freedom) for freedom in (*range(1, 31), 40, 100, 10_000)]
    assert points == sorted(points, reverse=True)
    assert t95(40) == pytest.approx(2.021, abs=3e-3)
    assert points[-1] == pytest.approx(1.96, abs=1e-3)
