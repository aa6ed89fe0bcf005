"""Laws of a shift: what it gives back, what cancels, what adds up and what commutes, over random rows."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from strategies import rows
from tutelage.distribution import Dense, interpolated, shifted, tempered
from tutelage.divergences import forward_kl, reverse_kl

STRENGTHS = st.floats(-3, 3, width=16)


@st.composite
def three(draw: st.DrawFn) -> tuple[Dense, Dense, Dense]:
    """Three distributions over one vocabulary in which every token is said."""
    vocab = draw(st.integers(2, 7))
    onto, aligned, base = (Dense(draw(rows(vocab, never=False))[None]) for _ in range(3))
    return onto, aligned, base


def said(onto: Dense, aligned: Dense, base: Dense, strength: float, **options: Any) -> Tensor:
    """The row of a shift."""
    return shifted(onto, towards=aligned, away_from=base, strength=strength, **options).log_probs()[0]


@given(members=three(), strength=STRENGTHS)
def test_neutral_members_and_strengths_give_the_plain_thing_back(
    members: tuple[Dense, Dense, Dense], strength: float
) -> None:
    """Strength 0 and base = aligned give onto; onto = base gives aligned; onto = aligned, -1 gives base."""
    onto, aligned, base = members
    assert shifted(onto, towards=aligned, away_from=base, strength=0.0) is onto
    assert_close(said(onto, aligned, aligned, strength), onto.log_probs()[0], atol=1e-9, rtol=1e-12)
    assert_close(said(base, aligned, base, 1.0), aligned.log_probs()[0], atol=1e-9, rtol=1e-12)
    assert_close(said(aligned, aligned, base, -1.0), base.log_probs()[0], atol=1e-9, rtol=1e-12)


@given(
    members=three(), strength=STRENGTHS, constants=st.tuples(*[st.floats(-50, 50)] * 3), limited=st.booleans()
)
def test_a_constant_added_to_any_member_cancels(
    members: tuple[Dense, Dense, Dense], strength: float, constants: tuple[float, ...], limited: bool
) -> None:
    """Rows need not be normalised, whether the shift is limited or not."""
    options: dict[str, float] = {"max_delta": 1.0, "plausibility": 0.01} if limited else {}
    moved = [Dense(member.logs + c) for member, c in zip(members, constants, strict=True)]
    found = said(moved[0], moved[1], moved[2], strength, **options)
    expected = said(*members, strength, **options)
    if limited:
        # A token may lie on the edge of being plausible, on this side or the other by rounding.
        return assert_close(found.exp().sum(), expected.exp().sum())
    return assert_close(found, expected, atol=1e-9, rtol=1e-9)


@given(members=three(), first=STRENGTHS, second=STRENGTHS, t=st.floats(0, 1))
def test_strengths_add_and_part_of_the_way_is_a_weaker_shift(
    members: tuple[Dense, Dense, Dense], first: float, second: float, t: float
) -> None:
    """Shifting twice adds strengths; interpolating in log space by t is strength t times s."""
    onto, aligned, base = members
    once = shifted(onto, towards=aligned, away_from=base, strength=first)
    twice = shifted(once, towards=aligned, away_from=base, strength=second).log_probs()[0]
    assert_close(twice, said(onto, aligned, base, first + second), atol=1e-8, rtol=1e-9)
    assert_close(
        interpolated(onto, once, t).log_probs()[0], said(onto, aligned, base, t * first), atol=1e-8, rtol=1e-9
    )


@given(members=three(), strength=STRENGTHS, temperature=st.floats(0.3, 5))
def test_a_temperature_commutes_and_on_two_members_divides_the_strength(
    members: tuple[Dense, Dense, Dense], strength: float, temperature: float
) -> None:
    """Tempering all three tempers the result; tempering aligned and base is strength over temperature."""
    warm = [Dense(tempered(member, temperature).log_probs()) for member in members]
    whole = shifted(members[0], towards=members[1], away_from=members[2], strength=strength)
    assert_close(said(*warm, strength), tempered(whole, temperature).log_probs()[0], atol=1e-8, rtol=1e-9)
    weaker = said(*members, strength / temperature)
    assert_close(said(members[0], warm[1], warm[2], strength), weaker, atol=1e-8, rtol=1e-9)


@given(members=three(), strengths=st.tuples(st.floats(0.01, 3), st.floats(0.01, 3)))
def test_the_stronger_the_shift_the_farther_from_onto(
    members: tuple[Dense, Dense, Dense], strengths: tuple[float, float]
) -> None:
    """KL(p || onto) grows with the strength, and with that of the shift back."""
    onto = members[0].log_probs()[0]
    for sign in (1, -1):
        near, far = (float(forward_kl(onto, said(*members, sign * s))) for s in sorted(strengths))
        assert near <= far + 1e-9


@given(members=three())
def test_the_shift_onto_another_model_is_the_aligned_one_tilted_by_what_that_prefers_over_the_base(
    members: tuple[Dense, Dense, Dense],
) -> None:
    """At strength 1 the row is proportional to ``aligned * onto / base``."""
    onto, aligned, base = members
    tilted = shifted(aligned, towards=onto, away_from=base)
    assert_close(said(*members, 1.0), tilted.log_probs()[0], atol=1e-9, rtol=1e-9)


@given(members=three(), limit=st.floats(0.01, 5), strength=st.floats(0.01, 3))
def test_a_limited_shift_moves_no_ratio_by_more_than_twice_the_limit(
    members: tuple[Dense, Dense, Dense], limit: float, strength: float
) -> None:
    """Between any two tokens ``log p - log onto`` differs by at most ``2 * strength * max_delta``."""
    moved = said(*members, strength, max_delta=limit) - members[0].log_probs()[0]
    assert float(moved.max() - moved.min()) <= 2 * strength * limit + 1e-9


def test_the_published_reward_problem_is_solved_by_the_shift() -> None:
    """``E[shift] - KL(. || onto) / s`` at the row is ``log Z / s``, above onto, aligned and the uniform."""
    logits = torch.tensor(
        [[1.0, 0.5, 0.0, -0.5, -1.5], [0.8, 0.9, -0.2, -0.4, -1.0], [0.1, 2.0, -0.7, 0.6, -3.0]],
        dtype=torch.float64,
    )
    onto, base, aligned = logits.log_softmax(-1)
    row = said(Dense(onto[None]), Dense(aligned[None]), Dense(base[None]), 1.5)

    def worth(policy: Tensor) -> float:
        return float((policy.exp() * (aligned - base)).sum() - forward_kl(onto, policy) / 1.5)

    assert worth(row) == pytest.approx(-0.02670467, abs=1e-8)
    assert worth(onto) == pytest.approx(-0.57630237, abs=1e-8)
    assert worth(aligned) == pytest.approx(-0.0363934, abs=1e-8)
    assert worth(torch.full((5,), -math.log(5), dtype=torch.float64)) == pytest.approx(-0.93679773, abs=1e-8)


def test_at_high_temperature_the_divergences_meet_the_published_squared_failure() -> None:
    """``T^2 KL`` goes to ``|centre((student - onto) - (aligned - base))|^2 / 2V``, in both directions."""
    onto, base, aligned, student = torch.tensor(
        [
            [1.0, 0.5, 0.0, -0.5, -1.5],
            [0.8, 0.9, -0.2, -0.4, -1.0],
            [0.1, 2.0, -0.7, 0.6, -3.0],
            [0.3, -0.2, 0.4, 0.1, -0.6],
        ],
        dtype=torch.float64,
    )
    failure = (student - onto) - (aligned - base)
    limit = float(((failure - failure.mean()) ** 2).sum() / 10)
    assert limit == pytest.approx(1.2108, abs=5e-5)
    target = shifted(Dense(onto[None]), towards=Dense(aligned[None]), away_from=Dense(base[None]))
    for temperature, forward, reverse in ((10.0, 1.1114, 1.1385), (100.0, 1.2011, 1.2036)):
        p = tempered(target, temperature).log_probs()[0]
        q = (student / temperature).log_softmax(-1)
        assert temperature**2 * float(forward_kl(q, p)) == pytest.approx(forward, abs=5e-5)
        assert temperature**2 * float(reverse_kl(q, p)) == pytest.approx(reverse, abs=5e-5)


def test_token_by_token_it_is_not_the_tilt_of_whole_texts() -> None:
    """Published: two tokens, two ids; the first token's share is 0.7858, by whole texts 0.7294."""

    def step(onto: list[float], base: list[float], aligned: list[float]) -> tuple[Tensor, Tensor]:
        o, b, a = (torch.tensor(one, dtype=torch.float64).log_softmax(-1) for one in (onto, base, aligned))
        return said(Dense(o[None]), Dense(a[None]), Dense(b[None]), 1.0), o + a - b

    first, raw = step([0.2, -0.1], [0.0, 0.1], [0.9, 0.0])
    seconds = [
        step([0.5, 0.0], [0.1, 0.2], [0.0, 1.2]),
        step([-0.3, 0.4], [0.6, 0.0], [0.2, 0.1]),
    ]
    by_token = torch.cat([first[i] + seconds[i][0] for i in range(2)]).exp()
    by_text = torch.cat([raw[i] + seconds[i][1] for i in range(2)]).softmax(0)
    published = torch.tensor([0.27845567, 0.50737931, 0.04957389, 0.16459112], dtype=torch.float64)
    assert_close(by_token, published, atol=1e-8, rtol=0)
    published = torch.tensor([0.25844129, 0.47091073, 0.0626483, 0.20799969], dtype=torch.float64)
    assert_close(by_text, published, atol=1e-8, rtol=0)
    normalisers = torch.stack([second[1].logsumexp(0) for second in seconds])
    assert_close(normalisers, torch.tensor([-0.15547484, 0.15318771], dtype=torch.float64), atol=1e-8, rtol=0)
