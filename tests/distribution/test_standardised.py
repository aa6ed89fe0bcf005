"""Logits measured by their own spread: the closed form, every kind, gradients through the spread."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from strategies import KINDS, Maker
from tutelage.distribution import Dense, Hidden, OfStudent, TopK, interpolated, mixed, standardised
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate
from tutelage.errors import TutelageError


def by_hand(logits: Tensor) -> Tensor:
    """Log-probabilities of logits over their population standard deviation, ``-inf`` left out."""
    rows = []
    for row in logits:
        said = row[row > -torch.inf]
        rows.append((row / said.var(unbiased=False).sqrt()).log_softmax(-1))
    return torch.stack(rows)


FULL = [
    name
    for name, make in KINDS.items()
    if "student" not in name
    and "top k" not in name
    and name != "gold"
    and "softcap" not in name
    and "alpha" not in name
    and "mixture" not in name
]


@pytest.mark.parametrize("kind", FULL)
def test_it_is_the_definition(kind: str) -> None:
    """Of every kind that says something of every token; ids that are no tokens do not count."""
    of = KINDS[kind](Maker(5, 8, 3))
    assert_close(standardised(of).log_probs(), by_hand(of.log_probs()), atol=1e-10, rtol=1e-9)


def test_neither_a_constant_nor_a_factor_matters() -> None:
    """Of two models that differ in how sure they are nothing is left to learn."""
    m = Maker(5, 8, 4)
    of = m.hidden("h")
    other = Hidden(3.7 * of.hidden, of.weight)
    assert_close(standardised(of).log_probs(), standardised(other).log_probs())
    logits = m.normal("d", 5, 8)
    assert_close(standardised(Dense(logits)).log_probs(), standardised(Dense(0.2 * logits + 9)).log_probs())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("teacher", ["hidden", "dense"])
def test_gradients_flow_through_the_spread(bias: bool, teacher: str) -> None:
    """Fused on the closed form equals autograd through the definition, for states, weight and bias."""
    m = Maker(5, 9, 5)
    never = torch.tensor([2, 8])
    leaves = [m.normal("h", 5, 4), m.normal("w", 9, 4), *([m.normal("b", 9)] if bias else [])]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    learner = Hidden(leaves[0], leaves[1], leaves[2] if bias else None, scale=0.6, never=never)
    told = standardised({"hidden": m.hidden("t", never=never), "dense": m.full("t")}[teacher])
    weights = m.normal("weights", 5).abs()
    rows = standardised(learner)
    assert isinstance(rows, Hidden)
    divergence = TABLE.load("jensen_shannon")
    term = Against(divergence, told, weights, 1.7, {"beta": 0.3}, student=rows)
    found, _ = evaluate(learner, [term])
    logits = (leaves[0] @ leaves[1].T + (leaves[2] if bias else 0.0)) * 0.6
    kept = [i for i in range(9) if i not in never.tolist()]
    only = logits[:, kept]
    log_q = torch.full_like(logits, -torch.inf)
    log_q[:, kept] = (only / only.var(1, unbiased=False, keepdim=True).sqrt() / 1.7).log_softmax(-1)
    log_p = (told.log_probs() / 1.7).log_softmax(-1)
    expected = (divergence(log_q, log_p, beta=0.3) * weights).sum()
    assert_close(found, expected, atol=1e-10, rtol=1e-9)
    for fast, slow in zip(
        torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        assert_close(fast, slow, atol=1e-9, rtol=1e-8)


def test_terms_on_two_views_are_the_sum_of_each() -> None:
    """A standardised term beside a plain one: values stay in their order, gradients add up."""
    m = Maker(5, 8, 6)
    hidden, weight = m.normal("h", 5, 4).requires_grad_(), m.normal("w", 8, 4).requires_grad_()
    learner = Hidden(hidden, weight)
    rows = standardised(learner)
    assert isinstance(rows, Hidden)
    of, one = m.hidden("t"), torch.ones(5).double()
    kl = TABLE.load("forward_kl")
    terms = [
        Against(kl, of, one),
        Against(kl, standardised(of), one, student=rows),
        Against(kl, m.full("f"), one),
    ]
    total, values = evaluate(learner, terms)
    alone = [evaluate(learner, [term]) for term in terms]
    assert_close(total, torch.stack([share for share, _ in alone]).sum())
    for value, (_, (each,)) in zip(values, alone, strict=True):
        assert_close(value, each)
    together = torch.autograd.grad(total, [hidden, weight], retain_graph=True)
    each = [torch.autograd.grad(share, [hidden, weight], retain_graph=True) for share, _ in alone]
    for whole, *parts in zip(together, *each, strict=True):
        assert_close(whole, torch.stack(parts).sum(0))


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (Hidden(torch.ones(2, 3), torch.ones(4, 3), softcap=3.0), "soft-cap"),
        (interpolated(OfStudent(2, 4), Dense(torch.zeros(2, 4)), 0.5), "moves with the student"),
        (mixed([OfStudent(2, 4), Dense(torch.zeros(2, 4))], [1.0, 1.0]), "moves with the student"),
    ],
)
def test_what_has_no_spread_is_refused(of: Hidden, said: str) -> None:
    """With the reason."""
    with pytest.raises(TutelageError, match=said):
        standardised(of)


def test_of_k_tokens_and_the_rest_it_is_not_known() -> None:
    """Said when rows are read."""
    of = standardised(TopK(torch.tensor([[0, 2]]), torch.tensor([[0.5, 0.3]]).log(), 5))
    with pytest.raises(TutelageError, match="not all are known"):
        of.log_probs()


def test_logits_that_are_all_the_same_stay_so() -> None:
    """No division by nothing."""
    flat = Hidden(torch.zeros(2, 3), torch.ones(4, 3))
    assert_close(standardised(flat).log_probs().exp(), torch.full((2, 4), 0.25))
    assert_close(standardised(Dense(torch.full((2, 4), 1.5))).log_probs().exp(), torch.full((2, 4), 0.25))
