"""Adaptive KL: between the two KLs, by where the rows are apart."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from strategies import Maker, known, pairs, rows, student
from tutelage.distribution import Dense, TopK
from tutelage.divergences import adaptive_kl, forward_kl, loss, reverse_kl
from tutelage.divergences import rows as whole_rows
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.rows import Rows
from tutelage.errors import OutOfRange

# Rows that TAID's companion losses are specified by, as the paper means it; printed to eight decimals.
PRINTED = {
    "first": ([0.5, -1.0, 2.0, 0.0], [2.0, 1.0, -1.0, 0.5], 0.33174762, 1.68122386),
    "second": ([0.1, 0.9, -0.2, 0.4, 0.3], [0.6, 0.3, 0.2, -0.5, 1.0], 0.42343078, 0.19617797),
}
GRADIENT = [-0.49626453, -0.15181062, 0.80733613, -0.15926098]
"""Of the first, with the weights held constant."""
TOLERANCE = 5e-9 + 1e-9


def head_share(q: Tensor, p: Tensor, **options: float) -> float:
    """The weight of forward KL."""
    return float(known("adaptive_kl", q[:, None], p[:, None], **options)["head_share"])


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_rows(name: str) -> None:
    """The weight of forward KL, and the value."""
    student, teacher, share, printed = PRINTED[name]
    q, p = (torch.tensor(logits, dtype=torch.float64).log_softmax(-1) for logits in (student, teacher))
    assert head_share(q, p) == pytest.approx(share, abs=TOLERANCE)
    assert float(adaptive_kl(q, p)) == pytest.approx(printed, abs=TOLERANCE)


@pytest.mark.parametrize("fused", [False, True])
def test_the_weights_carry_no_gradient(fused: bool) -> None:
    """The printed gradient is that of a sum with constant weights, by autograd and from the walk."""
    logits = torch.tensor([PRINTED["first"][0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([PRINTED["first"][1]], dtype=torch.float64)
    if fused:
        value = loss(logits, torch.eye(4).double(), Dense(teacher), "adaptive_kl")
    else:
        value = adaptive_kl(logits.log_softmax(-1), teacher.log_softmax(-1)).sum()
    value.backward()
    assert logits.grad is not None
    assert_close(logits.grad[0], torch.tensor(GRADIENT, dtype=torch.float64), atol=TOLERANCE, rtol=0)


@given(pair=pairs(), mass=st.sampled_from([0.1, 0.5, 0.9]))
def test_it_lies_between_the_two_kls(pair: tuple[Tensor, Tensor], mass: float) -> None:
    """A weighted mean of them, with a weight between 0 and 1."""
    ends = sorted(float(kl(*pair)) for kl in (forward_kl, reverse_kl))
    assume(all(map(math.isfinite, ends)))
    assert ends[0] - 1e-9 <= float(adaptive_kl(*pair, head_mass=mass)) <= ends[1] + 1e-9


@given(row=rows(6), mass=st.sampled_from([0.001, 0.3, 0.5, 0.999]))
def test_the_head_is_the_smallest_set_of_likely_tokens_and_all_that_are_as_likely(
    row: Tensor, mass: float
) -> None:
    """It holds the mass; without its least likely tokens it would not."""
    cutoff = Rows(row[:, None], row[:, None]).cutoff(mass)
    head = row >= cutoff
    assert float(row.exp()[head].sum()) >= mass - 1e-12
    assert float(row.exp()[row > cutoff].sum()) < mass


def test_a_head_of_very_many_tokens_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat rows among sharp ones need more tokens than are sorted out first."""
    monkeypatch.setattr(whole_rows, "FIRST", 4)
    sharpness = torch.tensor([0.01, 8.0, 0.1, 3.0, 0.0, 1.0, 0.5, 2.0, 4.0, 0.3], dtype=torch.float64)
    logits = Maker(10, 1500, 3).normal("rows", 1500, 10) * sharpness
    norms = logits.logsumexp(0)
    found = Rows(logits, logits, norms, norms, tokens=100).cutoff(0.7)
    log_p = logits - norms
    for column, cutoff in zip(log_p.T, found, strict=True):
        assert float(column.exp()[column >= cutoff].sum()) >= 0.7 - 1e-12
        assert float(column.exp()[column > cutoff].sum()) < 0.7


def test_tied_tokens_are_all_head() -> None:
    """Three are equally likely and two would do: the third one's gap counts with them."""
    p = torch.tensor([0.3, 0.3, 0.3, 0.1], dtype=torch.float64)
    q = torch.tensor([0.3, 0.3, 0.2, 0.2], dtype=torch.float64)
    assert head_share(q.log(), p.log()) == pytest.approx(0.5)
    assert head_share(q.flip(0).log(), p.flip(0).log()) == pytest.approx(0.5)


def test_a_mass_that_is_just_reached_is_reached() -> None:
    """Half of the probability in one token is half, whatever its logarithm is rounded to."""
    p = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert head_share(q.log(), p.log()) == 0
    assert float(adaptive_kl(q.log(), p.log())) == pytest.approx(float(reverse_kl(q.log(), p.log())))


def test_equal_rows_have_no_gap_to_share() -> None:
    """0/0 is neither value nor gradient."""
    logits = torch.tensor([[0.3, -1.0, 2.0, -math.inf]], dtype=torch.float64).requires_grad_()
    value = adaptive_kl(logits.log_softmax(-1), logits.detach().log_softmax(-1))
    value.sum().backward()
    assert float(value.detach()) == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-15


def test_a_kl_without_weight_may_be_infinite() -> None:
    """All of the gap lies in the tail, and what is never said there is said by the teacher alone."""
    p = torch.tensor([0.6, 0.2, 0.2], dtype=torch.float64).log()
    q = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64).log()
    assert float(forward_kl(q, p)) == math.inf
    assert float(adaptive_kl(q, p)) == pytest.approx(float(reverse_kl(q, p)))


def test_kept_tokens_that_hold_the_mass_are_the_true_head() -> None:
    """The rest, however likely as a whole, is tail then; its one gap is at most the sum of its tokens'."""
    log_p = torch.tensor([[0.26, 0.26, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08]], dtype=torch.float64).log()
    m = Maker(1, 8, 4)
    learner, one = student(m), torch.ones(1).double()
    kept = TopK(torch.tensor([[0, 1]]), log_p[:, :2], 8)
    q, p = learner.log_probs()[0].exp().detach(), log_p[0].exp()
    head, rest = (q - p)[:2].abs().sum(), (q - p)[2:].sum().abs()
    _, (value,) = evaluate(learner, [Against(adaptive_kl, kept, one)])
    both = [Against(kl, kept, one) for kl in (forward_kl, reverse_kl)]
    forward, reverse = (float(found) for found in evaluate(learner, both)[1])
    share = float(head / (head + rest))
    assert float(value) == pytest.approx(share * forward + (1 - share) * reverse, rel=1e-12)


def test_kept_tokens_that_do_not_hold_the_mass_make_all_of_it_head() -> None:
    """Which tokens of the rest belong to the head is not known."""
    m = Maker(1, 8, 4)
    learner, one = student(m), torch.ones(1).double()
    kept = TopK(torch.tensor([[0, 1]]), torch.tensor([[0.2, 0.1]], dtype=torch.float64).log(), 8)
    terms = [Against(kl, kept, one) for kl in (adaptive_kl, forward_kl)]
    value, forward = evaluate(learner, terms)[1]
    assert_close(value, forward, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("mass", [0.0, 1.0, -0.5, math.nan])
def test_a_mass_that_leaves_no_head_or_no_tail_is_refused(mass: float) -> None:
    """Each end has a name of its own."""
    row = torch.zeros(4).log_softmax(-1)
    with pytest.raises(OutOfRange, match="head_mass is"):
        adaptive_kl(row, row, head_mass=mass)
