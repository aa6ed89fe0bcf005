"""What must not matter to a loss: chunks, padding, micro-batches, how terms are added up, idle positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from strategies import HEADS, KINDS, TRAINABLE, Maker, beside, gradients, meeting, student
from tutelage.distribution import (
    Dense,
    Distribution,
    Hidden,
    TopK,
    interpolated,
    mixed,
    product,
    renamed,
    shifted,
    tempered,
)
from tutelage.divergences import TABLE, loss
from tutelage.divergences.fused import Against, evaluate

SEEDS = st.integers(0, 10_000)


def differentiated(
    learner: Hidden,
    teacher: Distribution,
    name: str,
    mask: Tensor | None = None,
    chunk: int | None = None,
    target: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The loss as a user calls it, with its gradients."""
    assert learner.bias is not None
    value = loss(learner.hidden, (learner.weight, learner.bias), teacher, name, mask, chunk, target=target)
    return value.detach(), gradients(value, learner)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, name=st.sampled_from(TRAINABLE), mask=st.lists(st.booleans(), min_size=7, max_size=7))
@settings(max_examples=4)
def test_chunks_of_any_size_give_one_result(kind: str, seed: int, name: str, mask: list[bool]) -> None:
    """Value and gradients are those of all positions at once, also where some do not count."""
    m = Maker(7, 6, seed)
    teacher, learner = KINDS[kind](m), student(m, "bias")
    counts = torch.tensor(mask).index_fill(0, torch.tensor([3]), True)
    value, expected = differentiated(learner, teacher, name, counts, **beside(name, m))
    if not value.isfinite():
        return
    for size in (1, 2, 5):
        again, found = differentiated(learner, teacher, name, counts, size, **beside(name, m))
        assert_close(again, value, atol=1e-12, rtol=1e-12)
        assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", TRAINABLE)
@given(seed=SEEDS, kind=st.sampled_from(["hidden", "dense"]))
@settings(max_examples=8)
def test_padding_and_dropped_positions_change_nothing(name: str, seed: int, kind: str) -> None:
    """Positions that do not count, whatever stands there (even NaN), are as if they were not there."""
    m, longer = Maker(4, 6, seed), Maker(7, 6, seed)
    short, short_teacher = student(m, "bias"), KINDS[kind](longer)
    assert isinstance(short_teacher, Hidden | Dense)
    rubbish = torch.full((3, 5), float("nan"), dtype=torch.float64)
    hidden = torch.cat([short.hidden.detach(), rubbish]).requires_grad_()
    padded = Hidden(hidden, short.weight, short.bias)
    mask = torch.tensor([True] * 4 + [False] * 3)
    cut = (
        Hidden(short_teacher.hidden[:4], short_teacher.weight)
        if isinstance(short_teacher, Hidden)
        else Dense(short_teacher.logs[:4])
    )
    told = beside(name, m)
    more = {key: torch.cat([ids, torch.tensor([-100, 6, 10**6])]) for key, ids in told.items()}
    value, expected = differentiated(short, cut, name, **told)
    again, found = differentiated(padded, short_teacher, name, mask, **more)
    if not value.isfinite():
        return
    assert_close(again, value, atol=0, rtol=1e-13)
    assert (found[0][4:] == 0).all()
    assert_close([found[0][:4], *found[1:]], expected, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("name", TRAINABLE)
@given(seed=SEEDS, cut=st.integers(1, 5))
@settings(max_examples=8)
def test_two_micro_batches_are_one_batch(name: str, seed: int, cut: int) -> None:
    """Each position weighs one over the whole step's count, so how it was cut does not matter."""
    m = Maker(6, 7, seed)
    whole, teacher = student(m, "bias"), m.full("teacher")
    divergence, told = TABLE.load(name), beside(name, m)
    total, _ = evaluate(whole, [Against(divergence, teacher, torch.full((6,), 1 / 6).double(), **told)])
    expected = gradients(total, whole)
    shares, found = [], []
    for part in (slice(0, cut), slice(cut, 6)):
        piece = Hidden(whole.hidden[part].detach().requires_grad_(), whole.weight, whole.bias)
        weights = torch.full((piece.positions,), 1 / 6).double()
        here = {key: ids[part] for key, ids in told.items()}
        share, _ = evaluate(piece, [Against(divergence, Dense(teacher.logs[part]), weights, **here)])
        shares.append(share.detach())
        found.append(gradients(share, piece))
    assert_close(sum(shares), total.detach(), atol=1e-13, rtol=1e-12)
    assert_close(torch.cat([found[0][0], found[1][0]]), expected[0], atol=1e-13, rtol=1e-12)
    for index in (1, 2):
        assert_close(found[0][index] + found[1][index], expected[index], atol=1e-13, rtol=1e-12)


@given(seed=SEEDS, kinds=st.lists(st.sampled_from(list(KINDS)), min_size=2, max_size=4), data=st.data())
@settings(max_examples=40)
def test_several_terms_at_once_are_the_sum_of_single_ones(
    seed: int, kinds: list[str], data: st.DataObject
) -> None:
    """Terms of all kinds share one walk, each with its own divergence, temperature, weights and rows."""
    m = Maker(5, 6, seed)
    learner = student(m, data.draw(st.sampled_from(["bias", "bias, scale and softcap"])))
    terms = []
    for kind in kinds:
        name = data.draw(st.sampled_from(TRAINABLE))
        divergence, told = TABLE.load(name), beside(name, m)
        counts = torch.tensor(data.draw(st.lists(st.booleans(), min_size=5, max_size=5)))
        every = Against(divergence, KINDS[kind](m), torch.ones(5).double(), **told)
        _, (values,) = evaluate(learner, [every])
        weights = torch.where(counts & values.isfinite(), m.normal(kind, 5), 0.0)
        temperature = data.draw(st.sampled_from([1.0, 1.7]))
        terms.append(Against(divergence, every.teacher, weights, temperature, **told))
    total, values = evaluate(learner, terms, chunk_rows=2)
    found = gradients(total, learner)
    singles = [evaluate(learner, [term]) for term in terms]
    assert_close(total.detach(), sum(single.detach() for single, _ in singles), atol=1e-11, rtol=1e-11)
    assert_close(values, [value for _, (value,) in singles])
    apart = [gradients(single, learner) for single, _ in singles]
    for index, gradient in enumerate(found):
        assert_close(gradient, sum(one[index] for one in apart), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize("head", HEADS)
def test_a_position_that_only_another_term_asks_for_costs_a_term_nothing(
    head: str, written_out: bool
) -> None:
    """Reverse KL is infinite against the gold token; with weight 0 there it gives 0 and no NaN."""
    m = Maker(4, 7, 2)
    learner = student(m, head)
    certain = KINDS["gold"](m)
    assert isinstance(certain, TopK)
    first, last = torch.tensor([1.0, 1, 0, 0]).double(), torch.tensor([0, 0, 1.0, 1]).double()
    # finite at the first two positions alone
    tail = torch.tensor([0.5, 0.5, 0, 0]).double().log()
    half: Distribution = TopK(certain.ids, certain.log_probs_kept - 0.7, 7, tail)
    if written_out:
        half = Dense(torch.cat([torch.zeros(2, 7).double(), certain.log_probs()[2:]]))
    terms = [
        Against(TABLE.load("reverse_kl"), meeting(half, learner), first),
        Against(TABLE.load("forward_kl"), certain, last),
    ]
    with torch.no_grad():
        _, (everywhere,) = evaluate(
            learner, [Against(TABLE.load("reverse_kl"), terms[0].teacher, torch.ones(4).double())]
        )
    assert everywhere.isfinite().tolist() == [True, True, False, False]
    total, values = evaluate(learner, terms)
    assert (values[0][2:] == 0).all()
    assert (values[1][:2] == 0).all()
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(total, learner))


def test_no_term_and_no_position_give_zero() -> None:
    """Nothing to compare is a loss of zero with zero gradient, so that every process can go backward."""
    m = Maker(3, 6, 0)
    learner = student(m, "bias")
    idle = Against(TABLE.load("forward_kl"), m.full("f"), torch.zeros(3).double())
    for terms in ([], [idle]):
        total, values = evaluate(learner, terms)
        assert float(total.detach()) == 0
        assert all((value == 0).all() for value in values)
        assert all((gradient == 0).all() for gradient in gradients(total, learner))


def same_as(learner: Hidden) -> dict[str, Distribution]:
    """The student itself, along every transport there is."""
    n, vocab = learner.positions, learner.vocab_size
    frozen = Hidden(
        learner.hidden.detach(), learner.weight.detach(), learner.bias, learner.scale, learner.softcap
    )
    rows = frozen.log_probs().detach()
    kept, ids = rows.topk(3, -1)
    from_best_to_worst = rows.sort(-1, descending=True)
    moving = Maker(n, vocab, 0).of_student()
    nowhere = torch.full((n, 1), -1)
    return {
        "in memory": Dense(rows),
        "as logits": Dense(rows + 3),
        "from hidden states": frozen,
        "kept and a rest": TopK(ids, kept, vocab),
        "all kept": TopK(from_best_to_worst.indices, from_best_to_worst.values, vocab),
        "the student at this step": moving,
        "interpolated with itself": interpolated(moving, frozen, 0.3),
        "interpolated with its kept rows": interpolated(moving, TopK(ids, kept, vocab), 0.3),
        "mixed with itself": mixed([frozen, Dense(rows)], [0.4, 0.6]),
        "product with itself": product([frozen, Dense(rows)], [0.4, 0.6]),
        "shifted by nothing": shifted(frozen, towards=Dense(rows), away_from=frozen, strength=2.0),
        "renamed nowhere": renamed(frozen, nowhere, nowhere),
        "tempered there and back": tempered(tempered(frozen, 2.0), 0.5),
    }


@pytest.mark.parametrize("transport", same_as(student(Maker(2, 6, 0), "bias")))
@pytest.mark.parametrize("name", TABLE.claiming("zero_at_equality"))
@given(seed=SEEDS, temperature=st.sampled_from([1.0, 3.0]))
@settings(max_examples=3)
def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient(
    name: str, transport: str, seed: int, temperature: float
) -> None:
    """Law 2: zero loss and zero gradient, along every transport."""
    m = Maker(4, 6, seed)
    learner = student(m, "bias, scale and softcap")
    term = Against(
        TABLE.load(name),
        same_as(learner)[transport],
        torch.full((4,), 0.25).double(),
        temperature,
        **beside(name, m),
    )
    total, _ = evaluate(learner, [term])
    assert abs(float(total.detach())) < 1e-12
    # where total variation is zero its slope is a sign, and rounding has one
    allowed = 1.0 if name == "total_variation" else 1e-12
    for gradient in gradients(total, learner):
        assert gradient.abs().max() < allowed
