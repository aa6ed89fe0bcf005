"""Fused evaluation equals its slow twin: every divergence, against every kind, behind every output layer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from strategies import (
    HEADS,
    KINDS,
    PARTIAL,
    TRAINABLE,
    Maker,
    beside,
    choices,
    gradients,
    meeting,
    student,
)
from tutelage.distribution import Hidden
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.plain import plain_loss
from tutelage.errors import TutelageError
from tutelage.interfaces import AfterStatistics

EVERY = KINDS | PARTIAL
LATER = [name for name in TRAINABLE if isinstance(TABLE.load(name), AfterStatistics)]
"""Divergences that are separable only after a statistic of the row."""


def compared(
    m: Maker,
    kind: str,
    head: str,
    name: str,
    temperature: float,
    chunk_rows: int | None,
    options: dict[str, Any],
) -> None:
    """Values of all positions, and gradients of a weighted sum of the finite ones, fused and plain."""
    learner = student(m, head)
    teacher, divergence = meeting(EVERY[kind](m), learner), TABLE.load(name)
    told = beside(name, m)
    by_hand = plain_loss(learner, teacher, divergence, temperature=temperature, **told, **options)
    finite = by_hand.detach().isfinite()
    weights = torch.where(finite, m.normal("weights", m.n), 0.0)
    one = torch.ones(m.n).double()
    with torch.no_grad():
        every = [Against(divergence, teacher, one, temperature, options, **told)]
        _, (values,) = evaluate(learner, every, chunk_rows=chunk_rows)
    assert_close(values, by_hand.detach(), atol=1e-10, rtol=1e-9)
    if not finite.any():
        return
    term = Against(divergence, teacher, weights, temperature, options, **told)
    total, _ = evaluate(learner, [term], chunk_rows=chunk_rows)
    expected = (torch.where(finite, by_hand, 0.0) * weights).sum()
    assert_close(total, expected, atol=1e-9, rtol=1e-9)
    for fast, slow in zip(gradients(total, learner), slow_gradients(m, head, kind, term), strict=True):
        assert_close(fast, slow, atol=1e-9, rtol=1e-9)


def slow_gradients(m: Maker, head: str, kind: str, term: Against) -> list[torch.Tensor]:
    """Autograd through the twin, on the positions of the term alone."""
    learner = student(m, head)
    teacher = meeting(EVERY[kind](m), learner)
    counts = term.weights != 0  # an infinite value elsewhere must not reach the gradient
    values = plain_loss(
        learner,
        teacher,
        term.divergence,
        mask=counts,
        temperature=term.temperature,
        target=term.target,
        **term.options,
    )
    return gradients((values * term.weights[counts]).sum(), learner)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TRAINABLE)
@given(
    seed=st.integers(0, 10_000),
    vocab=st.integers(6, 9),
    head=st.sampled_from(list(HEADS)),
    temperature=st.sampled_from([1.0, 0.5, 2.3]),
    chunk_rows=st.sampled_from([None, 1, 2, 3]),
    data=st.data(),
)
@settings(max_examples=5)
def test_value_and_gradients_equal_the_plain_twin(
    name: str,
    kind: str,
    seed: int,
    vocab: int,
    head: str,
    temperature: float,
    chunk_rows: int | None,
    data: st.DataObject,
) -> None:
    """Nats of every position, and gradients by hidden states, weight and bias, in float64."""
    options = data.draw(st.sampled_from(choices(name)), label="options")
    compared(Maker(5, vocab, seed), kind, head, name, temperature, chunk_rows, options)


@pytest.mark.parametrize("kind", PARTIAL)
@pytest.mark.parametrize("name", TRAINABLE)
@given(
    seed=st.integers(0, 10_000), vocab=st.integers(6, 9), head=st.sampled_from(list(HEADS)), data=st.data()
)
@settings(max_examples=10)
def test_kinds_of_which_some_tokens_are_known_equal_the_plain_twin(
    name: str, kind: str, seed: int, vocab: int, head: str, data: st.DataObject
) -> None:
    """Values and gradients are the weighted sum over the known tokens, or the divergence is refused."""
    options = data.draw(st.sampled_from(choices(name)), label="options")
    needs = PARTIAL[kind](Maker(1, vocab, 0)).needs
    reason = None if needs is None or needs in TABLE[name].laws else "no bounded variance"
    if isinstance(TABLE.load(name), AfterStatistics):
        reason = reason or "needs something of the whole row"
    if reason is None:
        compared(Maker(5, vocab, seed), kind, head, name, 1.0, None, options)
        return
    learner, m = student(Maker(5, vocab, seed), head), Maker(5, vocab, seed)
    term = Against(
        TABLE.load(name),
        meeting(EVERY[kind](m), learner),
        torch.ones(5).double(),
        1.0,
        options,
        **beside(name, m),
    )
    with pytest.raises(TutelageError, match=reason):
        evaluate(learner, [term])


@pytest.mark.parametrize(
    "kinds", [("hidden", "gold"), ("gold", "top k"), ("top k", "mixed", "gold"), ("drawn", "gold")]
)
@given(
    seed=st.integers(0, 10_000), vocab=st.integers(6, 9), head=st.sampled_from(list(HEADS)), data=st.data()
)
@settings(max_examples=10)
def test_several_terms_at_once_are_the_sum_of_each(
    kinds: tuple[str, ...], seed: int, vocab: int, head: str, data: st.DataObject
) -> None:
    """Terms on several teachers, two on each, with weights of their own, zero at some positions."""
    m = Maker(5, vocab, seed)
    learner = student(m, head)
    terms = []
    for place, kind in enumerate(kinds):
        teacher = meeting(EVERY[kind](m), learner)
        for name in ("forward_kl", "cross_entropy" if teacher.needs else "jensen_shannon"):
            weights = m.normal(f"{name} {place}", m.n).clamp(min=0)
            warm = 1.0 if kind in PARTIAL else data.draw(st.sampled_from([1.0, 1.5]))
            terms.append(Against(TABLE.load(name), teacher, weights, warm))
    with torch.no_grad():
        _, values = evaluate(learner, terms)
    # A position where some value is infinite has no gradient to compare.
    fit = torch.stack([v.isfinite() for v in values]).all(0)
    terms = [replace(term, weights=torch.where(fit, term.weights, 0.0)) for term in terms]
    together = gradients(evaluate(learner, terms)[0], learner)
    each = [gradients(evaluate(learner, [term])[0], learner) for term in terms]
    for whole, *parts in zip(together, *each, strict=True):
        assert_close(whole, torch.stack(parts).sum(0), atol=1e-10, rtol=1e-9)


def watching(m: Maker, kinds: tuple[str, str], head: str, temperature: float) -> None:
    """Values of watched terms are those of plain ones; sum and gradients those of the other terms alone."""
    learner = student(m, head)
    one = meeting(EVERY[kinds[0]](m), learner)
    other = one if kinds[0] == kinds[1] else meeting(EVERY[kinds[1]](m), learner)
    weights, asked = m.normal("weights", m.n).clamp(min=0), m.normal("asked", m.n).clamp(min=0)
    names = ("forward_kl", "cross_entropy") if other.needs else ("reverse_kl", "cross_entropy", "forward_kl")
    pulling = Against(TABLE.load("forward_kl"), one, weights, temperature if kinds[0] not in PARTIAL else 1.0)
    watched = [Against(TABLE.load(name), other, asked, watched=True) for name in names]
    with torch.no_grad():
        _, values = evaluate(learner, [pulling, *(replace(term, watched=False) for term in watched)])
    fit = torch.stack([v.isfinite() for v in values]).all(0)
    pulling = replace(pulling, weights=torch.where(fit, weights, 0.0))
    watched = [replace(term, weights=torch.where(fit, asked, 0.0)) for term in watched]
    alone, _ = evaluate(learner, [pulling])
    for order in ([pulling, *watched], [*watched, pulling]):
        total, seen = evaluate(learner, order)
        assert_close(total, alone, atol=1e-12, rtol=1e-12)
        assert_close(
            gradients(total, learner),
            gradients(evaluate(learner, [pulling])[0], learner),
            atol=1e-12,
            rtol=1e-12,
        )
        found = dict(zip(map(id, order), seen, strict=True))
        for term, value in zip(watched, values[1:], strict=True):
            there = term.weights != 0
            assert_close(found[id(term)][there], value[there], atol=1e-12, rtol=1e-12)
    total, _ = evaluate(learner, watched)
    assert float(total.detach()) == 0
    assert all((gradient == 0).all() for gradient in gradients(total, learner))


@pytest.mark.parametrize(
    "kinds", [(kind, kind) for kind in EVERY] + [("hidden", "gold"), ("drawn", "hidden")]
)
@given(
    seed=st.integers(0, 10_000),
    vocab=st.integers(6, 9),
    head=st.sampled_from(list(HEADS)),
    temperature=st.sampled_from([1.0, 2.3]),
)
@settings(max_examples=3)
def test_what_is_watched_moves_nothing(
    kinds: tuple[str, str], seed: int, vocab: int, head: str, temperature: float
) -> None:
    """Beside one term on the same teacher or another, in any order, tempered or not."""
    watching(Maker(5, vocab, seed), kinds, head, temperature)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_of_several_tiles_gives_the_same(kind: str) -> None:
    """With 2,500 tokens, three tiles, chunks of two positions and a warm temperature."""
    m = Maker(3, 2500, 4)
    heads = list(HEADS)
    for place, name in enumerate(("forward_kl", "reverse_kl", "jensen_shannon", "total_variation", *LATER)):
        compared(m, kind, heads[place % len(heads)], name, (1.0, 1.6)[place % 2], 2, {})


@pytest.mark.parametrize("name", TRAINABLE)
def test_ids_that_are_not_tokens_get_exactly_nothing(name: str) -> None:
    """No probability, and gradients of exactly zero for their row of the output layer and their bias."""
    m = Maker(6, 9, 3)
    never = torch.tensor([5, 7, 8])
    learner = student(m, "bias", never=never)
    assert (learner.log_probs()[:, never] == -math.inf).all()
    for kind in ("hidden", "top k", "mixed", "gold"):
        teacher = meeting(KINDS[kind](m), learner)
        half = torch.full((6,), 0.5).double()
        total, (values,) = evaluate(learner, [Against(TABLE.load(name), teacher, half, **beside(name, m, 5))])
        if not values.isfinite().all():
            continue
        _, weight, bias = gradients(total, learner)
        assert (weight[never] == 0).all()
        assert (bias[never] == 0).all()
        assert weight.abs().sum() > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "student" not in kind])
def test_rows_of_a_table_that_no_shared_token_uses_get_exactly_nothing(kind: str) -> None:
    """A student padded beyond the shared ids: its padding rows have no gradient and change no value."""
    m = Maker(4, 8, 11)
    padded = Hidden(m.normal("hidden", 4, 5), m.normal("padded", 12, 5)).restricted(8, torch.tensor([5]))
    whole = m.normal("padded", 12, 5).requires_grad_()
    learner = Hidden(padded.hidden, whole).restricted(8, torch.tensor([5]))
    teacher = meeting(KINDS[kind](m), learner)
    divergence = TABLE.load("jensen_shannon")
    total, _ = evaluate(learner, [Against(divergence, teacher, torch.ones(4).double())])
    (gradient,) = torch.autograd.grad(total, whole)
    assert (gradient[[5, 8, 9, 10, 11]] == 0).all()
    assert (gradient.abs().sum(1)[[0, 1, 2, 3, 4, 6, 7]] > 0).any()
