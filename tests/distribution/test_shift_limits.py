"""A shift that is limited, centred, or made only where it is plausible; and shifts without one member.

Published vectors are rounded to eight decimals, so that a number may differ by 5e-9.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from strategies import Maker
from tutelage.distribution import Dense, OfStudent, TopK, Uniform, kept, product, shifted
from tutelage.divergences import forward_kl, loss, reverse_kl
from tutelage.errors import OutOfRange, TutelageError

NEVER = -math.inf
ROUNDED = 6e-9


def row(*logits: float) -> Dense:
    """One position, written out."""
    return Dense(torch.tensor([logits], dtype=torch.float64))


def vector(*numbers: float) -> Tensor:
    """Numbers in float64."""
    return torch.tensor(numbers, dtype=torch.float64)


ONTO = row(1.0, 0.5, 0.0, -0.5, -1.5)
BASE = row(0.8, 0.9, -0.2, -0.4, -1.0)
ALIGNED = row(0.1, 2.0, -0.7, 0.6, -3.0)

ZEROS_ONTO = row(0.5, 0.2, NEVER, 0.0, -0.3, 0.1)
ZEROS_ALIGNED = row(1.0, NEVER, 0.4, NEVER, 0.3, -0.2)
ZEROS_BASE = row(NEVER, 0.6, 0.1, NEVER, 0.5, 0.0)


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        (False, [-2.31844238, -0.42906582, -3.31844238, -1.57906582, -4.81844238]),
        (True, [-2.40887178, -0.46270189, -3.10887178, -1.46270189, -5.46270189]),
    ],
)
@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_a_limited_shift_gives_the_published_row(
    centre: bool, expected: list[float], constant: float
) -> None:
    """Strength 1.5, limit 1, on unnormalised logits too: the limit is about normalised differences."""
    towards, away = Dense(ALIGNED.logs + constant), Dense(BASE.logs - constant)
    found = shifted(ONTO, towards=towards, away_from=away, strength=1.5, max_delta=1.0, centre=centre)
    assert_close(found.log_probs()[0], vector(*expected), atol=ROUNDED, rtol=0)


def test_a_limit_turns_never_into_the_limit_itself() -> None:
    """Published: what only the base never says goes up by 2, what only aligned never says down by 2."""
    found = shifted(ZEROS_ONTO, towards=ZEROS_ALIGNED, away_from=ZEROS_BASE, max_delta=2.0)
    expected = [-0.18573457, -4.48573457, NEVER, -2.68573457, -3.32022462, -2.92022462]
    assert_close(found.log_probs()[0], vector(*expected), atol=ROUNDED, rtol=0)


def test_centring_is_over_tokens_with_a_finite_shift_and_comes_before_the_limit() -> None:
    """By hand, token by token: zeros of rule 3 are counted, the limits of rules 4 and 5 set afterwards."""
    found = shifted(
        ZEROS_ONTO, towards=ZEROS_ALIGNED, away_from=ZEROS_BASE, strength=0.5, max_delta=2.0, centre=True
    ).log_probs()[0]
    onto, aligned, base = (d.log_probs()[0] for d in (ZEROS_ONTO, ZEROS_ALIGNED, ZEROS_BASE))
    shift = {3: 0.0, 4: float(aligned[4] - base[4]), 5: float(aligned[5] - base[5])}
    mass = sum(float(onto[i].exp()) for i in shift)
    mean = sum(float(onto[i].exp()) * moved for i, moved in shift.items()) / mass
    whole = vector(2.0, -2.0, 0.0, *(shift[i] - mean for i in (3, 4, 5)))
    assert_close(found, (onto + 0.5 * whole).log_softmax(-1), atol=1e-12, rtol=0)


def test_only_plausible_tokens_are_shifted() -> None:
    """Plausible to either is enough; the others keep their proportions under onto, vetoed or not."""
    onto = row(0.0, -1.0, -5.0, -6.0, -7.0)
    aligned, base = row(0.0, 1.0, 1.0, -9.0, NEVER), row(0.5, 0.0, -0.5, 3.0, -1.0)
    found = shifted(onto, towards=aligned, away_from=base, plausibility=0.1).log_probs()[0]
    shift = aligned.log_probs()[0] - base.log_probs()[0]
    shift[3:] = 0.0
    assert_close(found, (onto.logs[0] + shift).log_softmax(-1), atol=1e-12, rtol=0)
    # Where the base alone never says an implausible token nothing is undefined.
    silent = row(0.5, 0.0, -0.5, NEVER, -1.0)
    assert shifted(onto, towards=aligned, away_from=silent, plausibility=0.1).log_probs().isfinite().all()
    with pytest.raises(TutelageError, match="token 3 at row 0"):
        shifted(onto, towards=aligned, away_from=silent, plausibility=1e-9).log_probs()


def test_options_act_on_a_vocabulary_of_several_tiles_as_on_one_row() -> None:
    """Means and maxima are of the whole row, although tiles are combined one after the other."""
    m = Maker(3, 5000, 2)
    onto, towards, away = m.hidden("onto"), m.full("towards"), m.hidden("away")
    found = shifted(
        onto, towards=towards, away_from=away, strength=0.8, max_delta=1.5, centre=True, plausibility=1e-3
    )
    o, a, b = (d.log_probs() for d in (onto, towards, away))
    shift = a - b
    shift = (shift - (o.exp() * shift).sum(1, keepdim=True)).clamp(-1.5, 1.5)
    far = math.log(1e-3)
    plausible = (o >= o.amax(1, keepdim=True) + far) | (a >= a.amax(1, keepdim=True) + far)
    expected = (o + 0.8 * shift.masked_fill(~plausible, 0.0)).log_softmax(-1)
    assert_close(found.log_probs(), expected, atol=1e-12, rtol=0)


def test_a_negative_strength_exchanges_the_two_in_the_options_too() -> None:
    """Limit, mean, plausibility and vetoes are those of the shift back."""
    options = {"max_delta": 0.8, "centre": True, "plausibility": 0.2}
    back = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=-1.5, **options)
    forth = shifted(ONTO, towards=BASE, away_from=ALIGNED, strength=1.5, **options)
    assert_close(back.log_probs(), forth.log_probs(), atol=0, rtol=0)


def test_without_a_limit_the_mean_cancels_and_nothing_is_kept_whole() -> None:
    """A constant taken off the shift changes no distribution."""
    plain = shifted(ONTO, towards=ALIGNED, away_from=BASE)
    centred = shifted(ONTO, towards=ALIGNED, away_from=BASE, centre=True)
    assert type(centred) is type(plain)
    assert_close(centred.log_probs(), plain.log_probs(), atol=0, rtol=0)


def test_a_limit_that_nothing_reaches_changes_nothing() -> None:
    """The shift of the example lies within 3 nats."""
    plain = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=0.7)
    wide = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=0.7, max_delta=3.0, plausibility=1e-6)
    assert_close(wide.log_probs(), plain.log_probs(), atol=1e-12, rtol=0)


def test_options_out_of_range_are_refused() -> None:
    """Each error says what would do."""
    for options in (
        {"max_delta": 0.0},
        {"max_delta": -1.0},
        {"max_delta": math.inf},
        {"max_delta": math.nan},
    ):
        with pytest.raises(OutOfRange, match="max_delta is"):
            shifted(ONTO, towards=ALIGNED, away_from=BASE, **options)
    for share in (-0.1, 1.0, math.nan):
        with pytest.raises(OutOfRange, match="plausibility is"):
            shifted(ONTO, towards=ALIGNED, away_from=BASE, plausibility=share)
    with pytest.raises(TutelageError, match="no NaN"):
        shifted(ONTO, towards=row(0.0, math.nan, 0, 0, 0), away_from=BASE, max_delta=1.0).log_probs()


# --- a member less -------------------------------------------------------------------------------


def test_without_a_base_it_is_a_product_and_without_an_onto_a_power_of_the_ratio() -> None:
    """Null members are uniform: ``onto * aligned^s`` and ``(aligned / base)^s``."""
    without_base = shifted(ONTO, towards=ALIGNED, away_from=None, strength=0.7)
    assert_close(without_base.log_probs(), product([ONTO, ALIGNED], [1.0, 0.7]).log_probs())
    alone = shifted(None, towards=ALIGNED, away_from=BASE, strength=0.7).log_probs()
    expected = (0.7 * (ALIGNED.log_probs() - BASE.log_probs())).log_softmax(-1)
    assert_close(alone, expected, atol=1e-12, rtol=0)
    assert_close(shifted(None, towards=ALIGNED, away_from=None).log_probs(), ALIGNED.log_probs())


def test_the_uniform_gives_nothing_to_what_is_no_token() -> None:
    """Ids that no member has stay without probability, also where onto is the uniform one."""
    m = Maker(2, 9, 1)
    never = torch.tensor([3, 8])
    aligned, base = m.hidden("a", never=never), m.hidden("b", never=never)
    found = shifted(None, towards=aligned, away_from=base).log_probs()
    assert (found[:, never] == NEVER).all()
    shares = Uniform(2, 9, never).log_probs().exp()
    assert_close(shares[:, 0], torch.full((2,), 1 / 7))
    assert (shares[:, never] == 0).all()
    assert shifted(None, towards=aligned, away_from=base, strength=0.0).log_probs()[0, 3] == NEVER
    with pytest.raises(OutOfRange, match="over 0 tokens"):
        Uniform(2, 0)


# --- the student itself as onto ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "gradient"),
    [
        ("forward_kl", 0.36071092, [0.15976431, -0.19172109, 0.15350844, -0.21437885, 0.09282719]),
        ("reverse_kl", 0.43880476, [0.14039311, -0.1921535, 0.09901562, -0.23858431, 0.19132908]),
    ],
)
def test_onto_the_current_student_the_gradient_is_the_detached_one(
    name: str, value: float, gradient: list[float]
) -> None:
    """Published, and unlike those of a teacher through which a gradient leaks."""
    logits = vector(0.3, -0.2, 0.4, 0.1, -0.6)[None].requires_grad_()
    teacher = shifted(OfStudent(1, 5, torch.empty(0).double()), towards=ALIGNED, away_from=BASE)
    found = loss(logits, torch.eye(5).double(), teacher, name)
    found.backward()
    assert float(found.detach()) == pytest.approx(value, abs=ROUNDED)
    assert logits.grad is not None
    assert_close(logits.grad[0], vector(*gradient), atol=ROUNDED, rtol=0)


@pytest.mark.parametrize(
    ("name", "leaking"),
    [
        (forward_kl, [0.03233418, -0.03689585, 0.00693684, -0.06750855, 0.06513338]),
        (reverse_kl, [-0.01937119, -0.00043242, -0.05449282, -0.02420546, 0.09850189]),
    ],
)
def test_a_leak_through_the_target_would_be_known_by_its_numbers(name: Any, leaking: list[float]) -> None:
    """Published: what autograd gives where the student's part of the target is not held constant."""
    logits = vector(0.3, -0.2, 0.4, 0.1, -0.6).requires_grad_()
    target = (logits + ALIGNED.logs[0] - BASE.logs[0]).log_softmax(-1)
    (found,) = torch.autograd.grad(name(logits.log_softmax(-1), target), logits)
    assert_close(found, vector(*leaking), atol=ROUNDED, rtol=0)
    teacher = shifted(OfStudent(1, 5, torch.empty(0).double()), towards=ALIGNED, away_from=BASE)
    (ours,) = torch.autograd.grad(loss(logits[None], torch.eye(5).double(), teacher, name.__name__), logits)
    assert (ours - found).norm() > 0.5 * ours.norm()


def test_descending_towards_a_target_that_moves_along_never_settles() -> None:
    """Published: entropy goes to 0 while the logged loss falls, which is no sign of health."""
    published = {
        0: (1.55391119, 0.28071383, 0.36071092),
        10: (1.39867681, 0.41400967, 0.17459336),
        100: (0.56073538, 0.82473574, 0.01473768),
        500: (0.09766234, 0.98285373, 0.00177199),
        2000: (0.02577611, 0.99648835, 0.00040479),
    }
    logits = vector(0.3, -0.2, 0.4, 0.1, -0.6)[None].requires_grad_()
    teacher = shifted(OfStudent(1, 5, torch.empty(0).double()), towards=ALIGNED, away_from=BASE)
    for step in range(2001):
        found = loss(logits, torch.eye(5).double(), teacher)
        (slope,) = torch.autograd.grad(found, logits)
        if step in published:
            row_ = logits.detach().log_softmax(-1)
            entropy = -float((row_.exp() * row_).sum())
            surest = float(row_.max().exp())
            assert (entropy, surest, float(found.detach())) == pytest.approx(published[step], abs=1e-7)
        logits = (logits.detach() - 0.5 * slope).requires_grad_()


@pytest.mark.parametrize("options", [{}, {"max_delta": 1.0}])
def test_no_gradient_reaches_a_member(options: dict[str, float]) -> None:
    """A teacher's rows are constants, whatever they are made of."""
    logs = [member.logs.clone().requires_grad_() for member in (ONTO, ALIGNED, BASE)]
    onto, towards, away = (Dense(one) for one in logs)
    logits = vector(0.3, -0.2, 0.4, 0.1, -0.6)[None].requires_grad_()
    teacher = shifted(onto, towards=towards, away_from=away, **options)
    loss(logits, torch.eye(5).double(), teacher).backward()
    assert logits.grad is not None
    assert all(one.grad is None for one in logs)


# --- members that kept k tokens ------------------------------------------------------------------

WIDE_ONTO = row(2.5, 1.8, 1.2, 0.9, 0.4, 0.0, -0.5, -0.8, -1.5, -2.0)
WIDE_ALIGNED = row(2.6, -0.5, 0.2, 2.4, 1.9, 0.1, -0.6, -2.0, -1.0, -3.0)
WIDE_BASE = row(2.8, 2.0, 1.6, 0.2, -0.3, 0.3, -0.9, -1.2, -1.4, -2.5)


def on_ids(of: Dense, ids: list[int]) -> TopK:
    """Exact values at some ids, and the rest."""
    log_probs = of.log_probs()
    return TopK(torch.tensor([ids]), log_probs[:, ids], log_probs.shape[1])


def along_onto(ids: list[int], columns: Tensor) -> Tensor:
    """Probabilities of every token: the rest is shared out as onto does."""
    onto = WIDE_ONTO.log_probs()[0].exp()
    others = [i for i in range(10) if i not in ids]
    found = torch.zeros(10, dtype=torch.float64)
    found[ids] = columns[:-1].exp()
    found[others] = columns[-1].exp() * onto[others] / onto[others].sum()
    return found


@pytest.mark.parametrize(
    ("strength", "union", "cached"), [(1.0, 0.00780304, 0.03095117), (2.0, 0.00267942, 0.00564857)]
)
def test_on_the_same_kept_tokens_and_one_rest_a_shift_is_as_near_as_published(
    strength: float, union: float, cached: float
) -> None:
    """Exact values of all three on the union of their likeliest tokens; and the shift kept afterwards."""
    exact = shifted(WIDE_ONTO, towards=WIDE_ALIGNED, away_from=WIDE_BASE, strength=strength)
    ids = [0, 1, 2, 3, 4]
    onto, towards, away = (on_ids(of, ids) for of in (WIDE_ONTO, WIDE_ALIGNED, WIDE_BASE))
    met = shifted(onto, towards=towards, away_from=away, strength=strength)
    _, columns = met.on_support()
    far = (along_onto(ids, columns[0]) - exact.log_probs()[0].exp()).abs().sum() / 2
    assert float(far) == pytest.approx(union, abs=1e-8)
    best = kept(exact, 3)
    assert set(best.ids[0].tolist()) == {0, 3, 4}
    _, columns = best.on_support()
    far = (along_onto(best.ids[0].tolist(), columns[0]) - exact.log_probs()[0].exp()).abs().sum() / 2
    assert float(far) == pytest.approx(cached, abs=1e-8)


@pytest.mark.parametrize("options", [{}, {"max_delta": 1.0}])
def test_two_lists_of_likeliest_tokens_are_never_subtracted(options: dict[str, float]) -> None:
    """Published: up to 98 % of the mass would be in the wrong place. The error says what to cache."""
    aligned, base = kept(WIDE_ALIGNED, 3), kept(WIDE_BASE, 3)
    with pytest.raises(TutelageError, match="kept different tokens") as error:
        shifted(WIDE_ONTO, towards=aligned, away_from=base, **options).log_probs()
    assert "`hidden`" in error.value.fix
    same = shifted(
        WIDE_ONTO, towards=on_ids(WIDE_ALIGNED, [4, 0]), away_from=on_ids(WIDE_BASE, [0, 4]), **options
    )
    assert_close(same.log_probs().exp().sum(), torch.ones(()).double())
