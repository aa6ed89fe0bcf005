"""Means and pooled values with their intervals, paired differences and noise floors."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.evaluation.diversity import distinct
from tutelage.evaluation.found import Mean, Pooled, Reported, noise_of, plain
from tutelage.evaluation.intervals import over_groups, over_rows, paired_rows


def test_a_paired_difference_of_the_same_student_is_nothing() -> None:
    """However wide its own interval is."""
    mean = Mean.of_rows([torch.randn(30, generator=torch.Generator().manual_seed(0)).tolist()])
    assert mean.interval().high - mean.interval().low > 0.3
    difference = mean.minus(mean)
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)


def test_paired_rows_with_the_same_weights_are_the_rows_of_the_difference() -> None:
    """The same draws, so the same interval to rounding."""
    generator = torch.Generator().manual_seed(1)
    ours, theirs = torch.randn(2, 40, generator=generator).double()
    tokens = torch.randint(1, 9, (40,), generator=generator).double()
    one, other = paired_rows((ours, tokens), (theirs, tokens)), over_rows(ours - theirs, tokens)
    assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))


def test_leaving_groups_out_of_a_mean_gives_its_standard_error() -> None:
    """For a mean and one row a group the jackknife is s / sqrt(n) exactly."""
    values = torch.tensor([1.0, 2.0, 4.0, 8.0]).double()
    without = [float((values.sum() - value) / 3) for value in values]
    found = over_groups(float(values.mean()), without)
    half = 3.182 * float(values.std()) / 2
    assert (found.low, found.high) == pytest.approx((3.75 - half, 3.75 + half))


def test_jackknife_intervals_of_distinct_tokens_cover_what_more_texts_give() -> None:
    """Texts of 20 tokens from a Zipf-like writer, 40 a time: of 100 intervals at least 85 hold the truth."""
    generator = torch.Generator().manual_seed(2)
    chances = 1 / torch.arange(1, 60).double()

    def value(rows: list[list[int]]) -> float:
        return distinct(rows, 2)

    def texts(count: int) -> list[list[int]]:
        return torch.multinomial(chances.expand(count, -1), 20, True, generator=generator).tolist()

    truth = sum(value(texts(40)) for _ in range(200)) / 200
    covered = 0
    for _ in range(100):
        rows = texts(40)
        pooled = Pooled(lambda _, kept, rows=rows: value([rows[i] for i in kept]), 1, 40)
        interval = pooled.interval()
        covered += interval.low <= truth <= interval.high
    assert covered >= 85


def test_the_noise_floor_is_what_two_groups_of_seeds_differ_by() -> None:
    """Of 2,000 pairs of 5 seeds with spread 1, some 95 % differ by less (0.91 to 0.97 always)."""
    generator = torch.Generator().manual_seed(3)
    within = 0
    for one, other in torch.randn(2000, 2, 5, 1, generator=generator).double():
        noise = noise_of(Mean(one, torch.ones_like(one)))
        assert noise is not None
        within += abs(float(one.mean() - other.mean())) < noise.floor
    assert 0.91 < within / 2000 < 0.97


def test_one_seed_has_no_noise_floor_and_one_row_no_interval() -> None:
    """What cannot be known is not shown as a number."""
    assert noise_of(Mean.of_rows([[1.0, 2.0]])) is None
    assert math.isnan(Mean.of_rows([[1.0]]).interval().low)
    assert math.isnan(Pooled(lambda seed, rows: 1.0, 1, 1).interval().low)
    assert plain({"a": [math.nan, 1.0], "b": (math.inf,)}) == {"a": [None, 1.0], "b": [None]}


def test_reported_values_are_compared_as_if_measured_apart() -> None:
    """Errors add up like the sides of a right angle."""
    found = Reported(0.5, 0.03).minus(Reported(0.4, 0.04))
    assert (found.mean, found.high) == pytest.approx((0.1, 0.1 + 1.96 * 0.05))
