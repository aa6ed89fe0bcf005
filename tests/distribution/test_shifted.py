"""A shift of one distribution by what distinguishes two others: published vectors and the rules for "never".

The vectors are log-probabilities rounded to eight decimals, so that a number may differ by 5e-9.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from strategies import Maker
from tutelage.distribution import (
    Dense,
    Hidden,
    TopK,
    interpolated,
    left_out,
    restricted,
    shifted,
    tempered,
)
from tutelage.divergences import TABLE, forward_kl, loss
from tutelage.divergences.fused import Against, evaluate
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

LOG_Z = {-0.5: 0.38497894, 0.0: 0.0, 0.5: -0.18533256, 1.0: -0.18068783, 1.5: -0.04005701, 3.0: 0.70548703}
"""Strength: log of what the row has to be divided by, where its members are normalised."""

MOMENTS = {
    -0.5: (-0.95154244, 0.67355405, 1.27485413),
    0.0: (-0.57630237, 0.81435291, 1.35526177),
    0.5: (-0.16808005, 0.77735117, 1.31252755),
    1.0: (0.16691237, 0.54426444, 1.13213967),
    1.5: (0.37512062, 0.29996871, 0.91762253),
    3.0: (0.55503241, 0.02949869, 0.57555477),
}
"""Strength: mean and variance of the shift under the row, and the row's entropy."""

BY_STRENGTH = {
    -0.5: ([-0.60544886, -2.00544886, -1.70544886, -2.95544886, -2.45544886], 0.09079228, 1.0508897),
    0.0: ([-0.82401107, -1.32401107, -1.82401107, -2.32401107, -3.32401107], 0.0, 0.51308059),
    0.5: ([-1.24221966, -0.84221966, -2.14221966, -1.89221966, -4.39221966], 0.10129254, 0.17491787),
    1.0: ([-1.85040553, -0.55040553, -2.65040553, -1.65040553, -5.65040553], 0.3476002, 0.02673243),
    1.5: ([-2.5945775, -0.3945775, -3.2945775, -1.5445775, -7.0445775], 0.60273795, 0.01453309),
    3.0: ([-5.15074498, -0.25074498, -5.55074498, -1.55074498, -11.55074498], 0.95961021, 0.30158663),
}
"""Strength: the row, KL(row || onto) and KL(aligned || row)."""


@pytest.mark.parametrize("strength", BY_STRENGTH)
def test_the_published_row_comes_out_at_every_strength(strength: float) -> None:
    """Rows and their divergences from `onto` and from `aligned`."""
    expected, from_onto, from_aligned = BY_STRENGTH[strength]
    found = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=strength).log_probs()
    assert_close(found[0], vector(*expected), atol=ROUNDED, rtol=0)
    assert float(forward_kl(ONTO.log_probs(), found)) == pytest.approx(from_onto, abs=ROUNDED)
    assert float(forward_kl(found, ALIGNED.log_probs())) == pytest.approx(from_aligned, abs=ROUNDED)


@pytest.mark.parametrize("strength", BY_STRENGTH)
def test_its_normaliser_and_its_moments_are_the_published_ones(strength: float) -> None:
    """``log Z = log onto + strength * shift - row``, the same for every token; mean, variance, entropy."""
    onto, aligned, base = (member.log_probs()[0] for member in (ONTO, ALIGNED, BASE))
    row_ = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=strength).log_probs()[0]
    shift = aligned - base
    assert_close(onto + strength * shift - row_, torch.full_like(row_, LOG_Z[strength]), atol=1e-8, rtol=0)
    mean = float((row_.exp() * shift).sum())
    variance = float((row_.exp() * (shift - mean) ** 2).sum())
    entropy = -float((row_.exp() * row_).sum())
    assert (mean, variance, entropy) == pytest.approx(MOMENTS[strength], abs=2e-8)


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (0.5, [-1.33198753, -1.13198753, -1.78198753, -1.65698753, -2.90698753]),
        (1.0, [-1.57703877, -0.92703877, -1.97703877, -1.47703877, -3.47703877]),
        (1.5, [-1.87293698, -0.77293698, -2.22293698, -1.34793698, -4.09793698]),
    ],
)
def test_a_temperature_of_two_on_all_members_gives_the_published_row(
    strength: float, expected: list[float]
) -> None:
    """Tempering the result equals tempering onto, aligned and base alike."""
    found = tempered(shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=strength), 2.0)
    assert_close(found.log_probs()[0], vector(*expected), atol=ROUNDED, rtol=0)


@pytest.mark.parametrize(
    ("strength", "temperature", "name", "value", "gradient"),
    [
        (1.0, 1.0, "forward_kl", 0.56113442, [0.09682697, -0.42265687, 0.21009127, 0.01598588, 0.09975276]),
        (1.0, 1.0, "reverse_kl", 0.67161872, [-0.04867478, -0.30682898, 0.1988485, -0.12303471, 0.27968997]),
        (1.5, 1.0, "forward_kl", 0.82953629, [0.17932296, -0.51990571, 0.24363012, -0.00544409, 0.10239672]),
        (1.5, 1.0, "reverse_kl", 1.13942671, [0.02152178, -0.40290573, 0.24835631, -0.24232686, 0.37535451]),
        (1.0, 2.0, "forward_kl", 0.19300007, [0.01105711, -0.10880597, 0.05097358, -0.01068816, 0.05746344]),
        (1.0, 2.0, "reverse_kl", 0.21964615, [-0.01348769, -0.09065456, 0.0399166, -0.03289781, 0.09712347]),
    ],
)
def test_the_published_gradients_come_out_of_the_fused_evaluation(
    strength: float, temperature: float, name: str, value: float, gradient: list[float]
) -> None:
    """Hidden states that are the logits themselves: their gradient is that by logit."""
    logits = vector(0.3, -0.2, 0.4, 0.1, -0.6)[None].requires_grad_()
    teacher = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=strength)
    found = loss(logits, torch.eye(5).double(), teacher, name, temperature=temperature)
    found.backward()
    assert float(found.detach()) == pytest.approx(value, abs=ROUNDED)
    assert logits.grad is not None
    assert_close(logits.grad[0], vector(*gradient), atol=ROUNDED, rtol=0)


def test_half_of_fine_tuning_beside_it_gives_the_published_gradient() -> None:
    """0.5 cross-entropy on label 1 and 0.5 forward KL to the shifted rows, in one evaluation."""
    logits = vector(0.3, -0.2, 0.4, 0.1, -0.6)[None].requires_grad_()
    label = TopK(torch.tensor([[1]]), vector(0.0)[None], 5, vector(NEVER))
    half = vector(0.5)
    terms = [
        Against(TABLE.load("cross_entropy"), label, half),
        Against(TABLE.load("forward_kl"), shifted(ONTO, towards=ALIGNED, away_from=BASE), half),
    ]
    total, _ = evaluate(Hidden(logits, torch.eye(5).double()), terms)
    total.backward()
    assert float(total.detach()) == pytest.approx(1.21577697, abs=ROUNDED)
    assert logits.grad is not None
    expected = vector(0.17541367, -0.63429893, 0.24540255, 0.1119719, 0.1015108)
    assert_close(logits.grad[0], expected, atol=ROUNDED, rtol=0)


def test_members_of_different_widths_meet_on_the_shared_ids() -> None:
    """Cut first, then combine: the published row; the mass that each member left outside is told."""
    members = {
        "onto": row(1.0, 0.5, 0.0, -0.5, -1.5, -2.0),
        "aligned": row(0.1, 2.0, -0.7, 0.6, -3.0, 4.0, 0.3, -1.0),
        "base": row(0.8, 0.9, -0.2, -0.4, -1.0, -5.0, 2.0),
    }
    outside = {"onto": 0.02137323, "aligned": 0.83830093, "base": 0.53062591}
    for name, mass in outside.items():
        assert float(left_out(members[name], 5, None, slice(None))) == pytest.approx(mass, abs=ROUNDED)
    onto, aligned, base = (restricted(member, 5) for member in members.values())
    found = shifted(onto, towards=aligned, away_from=base).log_probs()
    assert_close(found[0], vector(*BY_STRENGTH[1.0][0]), atol=ROUNDED, rtol=0)


WITH_ZEROS = {
    "onto": row(0.5, 0.2, NEVER, 0.0, -0.3, 0.1),
    "towards": row(1.0, NEVER, 0.4, NEVER, 0.3, -0.2),
    "away_from": row(0.2, 0.6, 0.1, NEVER, 0.5, 0.0),
}


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (0.0, [-1.24328906, -1.54328906, NEVER, -1.74328906, -2.04328906, -1.64328906]),
        (0.5, [-0.72897264, NEVER, NEVER, -1.66076189, -2.02897264, -1.62897264]),
        (1.0, [-0.51140934, NEVER, NEVER, -1.87498785, -2.31140934, -1.91140934]),
    ],
)
def test_never_follows_the_published_rules(strength: float, expected: list[float]) -> None:
    """Not said by onto: not said. Said by neither of the two: not shifted. Only by the base: vetoed."""
    onto, towards, away = WITH_ZEROS.values()
    found = shifted(onto, towards=towards, away_from=away, strength=strength)
    assert_close(found.log_probs()[0], vector(*expected), atol=ROUNDED, rtol=0)


def test_a_base_that_never_says_what_the_others_say_is_an_error() -> None:
    """The difference is infinite there: the error names row and token."""
    onto, towards, away = WITH_ZEROS.values()
    silent = row(NEVER, *away.logs[0, 1:].tolist())
    with pytest.raises(TutelageError, match="a shift is undefined for token 0 at row 0"):
        shifted(onto, towards=towards, away_from=silent).log_probs()
    with pytest.raises(TutelageError, match="a shift is undefined for token 1 at row 0"):
        shifted(onto, towards=towards, away_from=away, strength=-1.0).log_probs()


def test_the_error_names_token_and_row_in_a_long_vocabulary_and_a_later_chunk() -> None:
    """Token 2,345 at row 4, although tiles begin at 2,048 and the chunk at row 3."""
    logs = torch.zeros(6, 2500).double()
    logs[4, 2345] = NEVER
    plain = Dense(torch.zeros(6, 2500).double())
    found = shifted(plain, towards=plain, away_from=Dense(logs))
    with pytest.raises(TutelageError, match="token 2345 at row 4"):
        found.log_probs(slice(3, 6))
    student = torch.zeros(6, 2).double()
    with pytest.raises(TutelageError, match="token 2345 at row 4"):
        loss(student, torch.zeros(2500, 2).double(), found, chunk_rows=2)


def test_the_error_names_the_token_among_kept_columns_too() -> None:
    """Where one member kept k tokens a column is an id, or the rest."""
    kept = TopK(torch.tensor([[7, 3]]), vector(0.5, 0.2).log()[None], 9)
    full = Dense(torch.zeros(1, 9).double())
    silent = torch.zeros(1, 9).double()
    silent[0, 3] = NEVER
    with pytest.raises(TutelageError, match="token 3 at row 0"):
        shifted(full, towards=kept, away_from=Dense(silent)).log_probs()
    only = torch.full((1, 9), NEVER).double()
    only[0, [7, 3]] = 0.0
    with pytest.raises(TutelageError, match="the tokens not kept at row 0"):
        shifted(full, towards=kept, away_from=Dense(only)).log_probs()


def test_nothing_left_to_say_is_an_error_and_not_nan() -> None:
    """If all that onto says is vetoed there is no distribution."""
    onto, towards, away = row(0.0, 0.0, NEVER), row(NEVER, NEVER, 0.0), row(0.0, 0.0, 0.0)
    with pytest.raises(TutelageError, match="nothing is left to say at 1 of 1 positions"):
        shifted(onto, towards=towards, away_from=away).log_probs()


def test_nan_in_a_member_is_an_error() -> None:
    """A NaN is not taken for "never"."""
    broken = row(0.0, math.nan, 0.0)
    with pytest.raises(TutelageError, match="no NaN"):
        shifted(row(0.0, 0.0, 0.0), towards=broken, away_from=row(0.0, 0.0, 0.0)).log_probs()


@pytest.mark.parametrize("vocab", [6, 1500])
def test_a_constant_added_to_a_member_changes_nothing(vocab: int) -> None:
    """Rows need not be normalised, also where neither of the two says a token that onto says."""
    m = Maker(4, vocab, 5)
    onto, towards, away = m.full("onto").logs, m.full("towards").logs, m.full("away").logs
    neither = m.normal("neither", 4, vocab) > 1
    towards, away = (logs.masked_fill(neither, NEVER) for logs in (towards, away))

    def said(*constants: float) -> Tensor:
        members = [Dense(logs + c) for logs, c in zip((onto, towards, away), constants, strict=True)]
        return shifted(members[0], towards=members[1], away_from=members[2], strength=0.8).log_probs()

    expected = said(0.0, 0.0, 0.0)
    assert_close(said(1.0, -3.0, 2.0), expected, atol=1e-12, rtol=0)
    assert_close(said(0.0, 5.0, 0.0), expected, atol=1e-12, rtol=0)
    kept = TopK(m.ids("kept", 3), torch.full((4, 3), -3.0).double(), vocab)
    on_columns = shifted(Dense(onto + 2), towards=kept, away_from=Dense(m.full("third").logs - 4))
    plain = shifted(Dense(onto), towards=kept, away_from=m.full("third"))
    assert_close(on_columns.log_probs(), plain.log_probs(), atol=1e-12, rtol=0)


def test_a_strength_that_is_not_finite_is_refused() -> None:
    """Infinity would keep the single token with the largest shift, and NaN nothing."""
    for strength in (math.inf, math.nan):
        with pytest.raises(OutOfRange, match="strength is"):
            shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=strength)


def test_strengths_add_and_the_way_to_a_shift_is_a_weaker_shift() -> None:
    """Shifting twice adds strengths; a quarter of the way in log space is a quarter of the strength."""
    once = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=0.7)
    twice = shifted(once, towards=ALIGNED, away_from=BASE, strength=0.5)
    whole = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=1.2)
    assert_close(twice.log_probs(), whole.log_probs(), atol=1e-12, rtol=0)
    part = shifted(ONTO, towards=ALIGNED, away_from=BASE, strength=0.3)
    assert_close(interpolated(ONTO, whole, 0.25).log_probs(), part.log_probs(), atol=1e-12, rtol=0)


def test_a_shift_from_its_own_base_is_the_aligned_row() -> None:
    """base + (aligned - base) telescopes; and back again with strength -1."""
    found = shifted(BASE, towards=ALIGNED, away_from=BASE).log_probs()
    assert_close(found, ALIGNED.log_probs(), atol=1e-12, rtol=0)
    back = shifted(ALIGNED, towards=ALIGNED, away_from=BASE, strength=-1.0).log_probs()
    assert_close(back, BASE.log_probs(), atol=1e-12, rtol=0)
