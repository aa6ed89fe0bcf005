"""Differences by prompt, planted: what an interval holds, and what verdict follows from it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import TutelageError
from tutelage.evaluation.diversity import distinct
from tutelage.evaluation.intervals import Interval, over_rows
from tutelage.reproductions.claims import (
    NOT_REPRODUCED,
    REPRODUCED,
    TOO_SMALL,
    Claim,
    judged,
    verdict,
)
from tutelage.reproductions.paired import (
    Below,
    Distinct,
    Ratio,
    Scores,
    scores_of_json,
    scores_to_json,
)

SEEDS = (0, 1, 2)
PROMPTS = 80
Found = dict[int, dict[str, dict[str, float]]]
Scored = dict[int, dict[str, Scores]]


def planted(
    mean: float, spread: float, *, by_seed: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> tuple[Found, Scored]:
    """Two arms whose ``x`` differs by a mean, with a spread over prompts, and by more on single seeds."""
    found: Found = {}
    scores: Scored = {}
    noise = torch.randn(PROMPTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = spread * (noise - noise.mean()) / noise.std()
    for seed, more in zip(SEEDS, by_seed, strict=True):
        base = torch.rand(PROMPTS, generator=torch.Generator().manual_seed(1 + seed), dtype=torch.float64)
        arms = {"low": base, "high": base + mean + more + noise}
        scores[seed] = {name: {"x": Ratio(tuple(x.tolist()), (1.0,) * PROMPTS)} for name, x in arms.items()}
        found[seed] = {name: {"x": float(x.mean())} for name, x in arms.items()}
    return found, scores


def claim(**further: object) -> Claim:
    """That ``x`` of low is below that of high."""
    return Claim("c", "says", "if", {"x": Below("low", "high", "x")}, **further)  # pyright: ignore[reportArgumentType]


def test_a_planted_difference_is_found_with_its_interval() -> None:
    """The mean is what was planted; the interval is that of a mean: 1.96 errors to both sides."""
    found, scores = planted(0.5, 1.0)
    interval = Below("low", "high", "x").interval(found, scores)
    assert interval.mean == pytest.approx(0.5)
    # The bootstrap's spread is that of the sample, whose errors here are 1 / sqrt(80).
    for end, place in ((interval.low, -1.96), (interval.high, 1.96)):
        assert end == pytest.approx(0.5 + place / math.sqrt(PROMPTS), abs=0.03)


def test_a_clear_difference_is_reproduced() -> None:
    """Right sign on three seeds, interval above 0."""
    assert judged(claim(), *planted(0.5, 1.0)).verdict == REPRODUCED


def test_a_difference_that_hangs_on_few_prompts_is_too_small() -> None:
    """The right sign on every seed is not enough where the interval holds 0."""
    finding = judged(claim(), *planted(0.1, 1.0))
    assert all(finding.holds)
    assert finding.intervals["x"].low < 0 < finding.intervals["x"].high
    assert finding.verdict == TOO_SMALL


def test_a_seed_with_the_wrong_sign_is_too_small() -> None:
    """However narrow the interval of the mean."""
    finding = judged(claim(), *planted(0.5, 0.1, by_seed=(-0.6, 0.3, 0.3)))
    assert finding.intervals["x"].low > 0
    assert finding.verdict == TOO_SMALL


@pytest.mark.parametrize("mean", [-0.5, -0.001, 0.0])
def test_a_mean_with_the_wrong_sign_or_none_refutes(mean: float) -> None:
    """Whatever the interval; 0 is not below."""
    assert judged(claim(), *planted(mean, 0.0)).verdict == NOT_REPRODUCED


def test_one_wrong_measure_of_several_refutes() -> None:
    """A clear difference in one does not help another."""
    both = Claim("c", "says", "if", {"x": Below("low", "high", "x"), "back": Below("high", "low", "x")})
    assert judged(both, *planted(0.5, 0.1)).verdict == NOT_REPRODUCED


def test_two_seeds_are_too_few() -> None:
    """A clear difference on two seeds cannot be told."""
    found, scores = planted(0.5, 0.1)
    assert judged(claim(), {0: found[0], 1: found[1]}, scores).verdict == TOO_SMALL


def test_where_the_set_up_is_broken_nothing_is_told() -> None:
    """Neither for nor against: a condition that fails on one seed comes first."""
    for mean in (0.5, -0.5):
        found, scores = planted(mean, 0.1)
        for seed, numbers in found.items():
            numbers["low"]["made"] = 0.1 if seed != 1 else -0.1
        finding = judged(claim(provided={"set-up": lambda one: one["low"]["made"]}), found, scores)
        assert finding.verdict == TOO_SMALL
        assert finding.to_json()["provided"] == {"set-up": [0.1, -0.1, 0.1]}
    assert judged(claim(provided={"set-up": lambda _: 0.1}), *planted(-0.5, 0.1)).verdict == NOT_REPRODUCED


def test_what_has_to_hold_besides_refutes_nothing() -> None:
    """It keeps a claim from being reproduced, and a wrong sign is told all the same."""
    unfair = claim(besides={"lengths alike": lambda _: -0.1})
    assert judged(unfair, *planted(0.5, 0.1)).verdict == TOO_SMALL
    assert judged(unfair, *planted(-0.5, 0.1)).verdict == NOT_REPRODUCED
    assert judged(claim(besides={"lengths alike": lambda _: 0.1}), *planted(0.5, 0.1)).verdict == REPRODUCED


def test_an_interval_that_ends_at_0_is_not_above_it() -> None:
    """The rule by itself."""
    assert verdict([[1.0, 1.0, 1.0]], intervals=[Interval(1.0, 0.0, 2.0)]) == TOO_SMALL
    assert verdict([[1.0, 1.0, 1.0]], intervals=[Interval(1.0, 1e-9, 2.0)]) == REPRODUCED


def test_of_several_rivals_the_best_of_each_seed_counts() -> None:
    """A third arm that is lower than the second on one seed takes its place there."""
    found, scores = planted(0.5, 0.0)
    best = Below("low", ("high", "third"), "x")
    for seed in SEEDS:
        lowered = tuple(x - (0.2 if seed == 1 else -0.2) for x in scores[seed]["high"]["x"].sums)
        scores[seed] = {**scores[seed], "third": {"x": Ratio(lowered, (1.0,) * PROMPTS)}}
        found[seed]["third"] = {"x": sum(lowered) / PROMPTS}
    assert [best(found[seed]) for seed in SEEDS] == pytest.approx([0.5, 0.3, 0.5])
    assert best.interval(found, scores).mean == pytest.approx((0.5 + 0.3 + 0.5) / 3)


def test_spare_moves_margin_and_interval_alike() -> None:
    """At least as much less a little: so far above it may lie."""
    found, scores = planted(-0.1, 0.2)
    plain, spared = (Below("low", "high", "x", spare=spare) for spare in (0.0, 0.3))
    assert spared(found[0]) == pytest.approx(plain(found[0]) + 0.3)
    one, other = plain.interval(found, scores), spared.interval(found, scores)
    assert (other.low, other.high) == pytest.approx((one.low + 0.3, one.high + 0.3))


def test_it_is_the_bootstrap_over_rows_where_weights_are_the_same() -> None:
    """With one seed and equal tokens it draws the very prompts that `over_rows` draws."""
    found, scores = planted(0.5, 1.0)
    first = ({0: found[0]}, {0: scores[0]})
    ours = Below("low", "high", "x").interval(*first)
    sums = [torch.tensor(scores[0][name]["x"].sums, dtype=torch.float64) for name in ("high", "low")]
    theirs = over_rows(sums[0] - sums[1], torch.ones(PROMPTS))
    assert (ours.mean, ours.low, ours.high) == pytest.approx((theirs.mean, theirs.low, theirs.high))


def test_prompts_with_more_tokens_weigh_more() -> None:
    """A mean over tokens: (1 + 6) / (1 + 3), with the first prompt twice (2 + 6) / (2 + 3)."""
    times = torch.tensor([[1.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    assert Ratio((1.0, 6.0), (1.0, 3.0)).resampled(times).tolist() == pytest.approx([7 / 4, 8 / 5])


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=9), min_size=1, max_size=6), st.data())
def test_distinct_n_grams_of_a_resample_are_those_of_its_texts(
    rows: list[list[int]], data: st.DataObject
) -> None:
    """As if the texts had been pooled as often as their prompts were drawn."""
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any))
    pooled = [row for row, count in zip(rows, times, strict=True) for _ in range(count)]
    found = Distinct.of(rows).resampled(torch.tensor([times], dtype=torch.float64))
    assert float(found) == pytest.approx(distinct(pooled))


def test_scores_come_back_from_json() -> None:
    """Both kinds."""
    scores: Scores = {"x": Ratio((1.0, 2.0), (3.0, 4.0)), "d": Distinct.of([[1, 2, 3, 4, 5], [1, 2, 3, 4]])}
    assert scores_of_json(scores_to_json(scores)) == scores


def test_arms_on_other_prompts_cannot_be_paired() -> None:
    """Their number is compared, and told."""
    found, scores = planted(0.5, 0.1)
    scores[1] = {**scores[1], "low": {"x": Ratio((1.0,), (1.0,))}}
    with pytest.raises(TutelageError, match=r"scored on \[1, 80\] prompts"):
        Below("low", "high", "x").interval(found, scores)
