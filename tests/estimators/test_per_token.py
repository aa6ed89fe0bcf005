"""The default estimator: every counted token of a writer weighs the same in the whole step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tutelage.distribution import Dense, Hidden
from tutelage.divergences import TABLE
from tutelage.divergences.fused import evaluate
from tutelage.divergences.plain import plain_loss
from tutelage.errors import TutelageError
from tutelage.estimators import PerToken
from tutelage.interfaces import Batch
from tutelage.objective import Term

VOCAB, WIDTH = 7, 4
WRITERS = ("all", "dataset", "teacher", "student")

HALVES = (  # f-DISTILL's Jensen-Shannon: each half on the text of its own writer
    Term("skew_forward_kl", {"skew": 0.5}, weight=0.5, on="teacher"),
    Term("skew_reverse_kl", {"skew": 0.5}, weight=0.5, on="student"),
)
SOFT_AND_HARD = (Term("forward_kl", weight=0.9), Term("cross_entropy", weight=0.1, against="gold"))
OBJECTIVES = {
    "after a statistic": (
        Term("decoupled", temperature=1.5),
        Term("adaptive_kl", weight=0.5),
        Term("top1_cross_entropy", on="student"),
    ),
    "one term": (Term("reverse_kl", temperature=2.0),),
    "soft and hard": SOFT_AND_HARD,
    "halves by writer": HALVES,
    "all kinds": (*HALVES, Term("cross_entropy", on="dataset", against="gold"), Term("total_variation")),
}


def numbers(name: str, *shape: int) -> Tensor:
    """Standard normal float64 numbers that depend on the name."""
    made = torch.Generator().manual_seed(sum(name.encode()))
    return torch.randn(shape, generator=made, dtype=torch.float64)


def batch_of(writers: Sequence[str], lengths: Sequence[int], padding: int = 0) -> Batch:
    """One row a writer: a prompt of one token, and all else of its length counts."""
    longest = max(lengths) + padding
    place = torch.arange(longest).expand(len(writers), longest)
    attention = place < torch.tensor(lengths)[:, None]
    seeds = torch.tensor([3 * len(writer) + 5 * row for row, writer in enumerate(writers)])
    tokens = (place * place + seeds[:, None]) % VOCAB
    return Batch(tokens.masked_fill(~attention, 0), attention, attention & (place > 0), tuple(writers))


def part(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch, cut to the longest of them as a batcher would."""
    length = int(batch.attention[rows].sum(1).max())
    kept = (rows, slice(0, length))
    return Batch(batch.tokens[kept], batch.attention[kept], batch.mask[kept], batch.writers[rows])


class Reader:
    """A student and a teacher that look at a token and its place: rows of two small tables."""

    def __init__(self) -> None:
        self.table = numbers("table", VOCAB, WIDTH).requires_grad_()
        self.head = numbers("head", VOCAB, WIDTH).requires_grad_()

    def student(self, batch: Batch) -> Hidden:
        """Hidden states at the counted positions."""
        rows, columns = batch.positions
        return Hidden(torch.sin(self.table[batch.tokens[rows, columns]] + columns[:, None]), self.head)

    def teacher(self, batch: Batch) -> Dense:
        """Rows written out, at the same positions."""
        rows, columns = batch.positions
        return Dense(numbers("told", VOCAB, VOCAB)[batch.tokens[rows, columns]] * (1 + columns[:, None]))

    def step(self, objective: Sequence[Term], batches: Sequence[Batch]) -> tuple[float, list[Tensor]]:
        """Loss and gradients of one optimiser step over all its micro-batches."""
        counted = dict.fromkeys(WRITERS, 0)
        for batch in batches:
            for writer in WRITERS:
                of_writer = batch.counted if writer == "all" else int(batch.written_by(writer).sum())
                counted[writer] += of_writer
        total, gradients = 0.0, [torch.zeros_like(t) for t in (self.table, self.head)]
        for batch in batches:
            terms = PerToken().terms(objective, batch, self.student(batch), self.teacher(batch), counted)
            share, _ = evaluate(self.student(batch), terms)
            total += float(share.detach())
            found = torch.autograd.grad(share, (self.table, self.head))
            gradients = [sum_ + one for sum_, one in zip(gradients, found, strict=True)]
        return total, gradients


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@given(
    rows=st.lists(st.tuples(st.sampled_from(WRITERS[1:]), st.integers(2, 6)), min_size=2, max_size=5),
    cut=st.integers(1, 4),
)
@settings(max_examples=12)
def test_a_step_is_the_same_however_it_is_cut_into_micro_batches(
    objective: tuple[Term, ...], rows: list[tuple[str, int]], cut: int
) -> None:
    """One batch, two micro-batches, or one row at a time: one loss and one gradient."""
    writers, lengths = zip(*rows, strict=True)
    whole, reader = batch_of(writers, lengths), Reader()
    expected, gradients = reader.step(objective, [whole])
    ways = [
        [part(whole, slice(row, row + 1)) for row in range(len(rows))],
        [part(whole, slice(0, cut)), *([part(whole, slice(cut, None))] if cut < len(rows) else [])],
        [part(whole, slice(row, row + 1)) for row in reversed(range(len(rows)))],
    ]
    for batches in ways:
        total, found = reader.step(objective, batches)
        assert total == pytest.approx(expected, rel=1e-12, abs=1e-13)
        assert_close(found, gradients, atol=1e-13, rtol=1e-11)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_padding_changes_nothing(objective: tuple[Term, ...]) -> None:
    """Columns of padding behind every row are no tokens of anyone."""
    writers, lengths = ("teacher", "student", "dataset"), (3, 5, 2)
    reader = Reader()
    expected, gradients = reader.step(objective, [batch_of(writers, lengths)])
    total, found = reader.step(objective, [batch_of(writers, lengths, padding=4)])
    assert total == expected
    assert_close(found, gradients, atol=0, rtol=0)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_term_is_the_mean_over_the_tokens_of_its_writer(writer: str) -> None:
    """Not over the tokens of all, and not a mean of means over rows."""
    batch = batch_of(("teacher", "student", "teacher", "dataset"), (3, 6, 5, 4))
    reader = Reader()
    total, _ = reader.step((Term("forward_kl", on=writer),), [batch])  # type: ignore[arg-type]
    each = plain_loss(reader.student(batch), reader.teacher(batch), TABLE.load("forward_kl"))
    rows = torch.tensor([writer in ("all", name) for name in batch.writers])[batch.positions[0]]
    assert total == pytest.approx(float(each[rows].mean().detach()), rel=1e-12)


def test_weights_of_terms_multiply_their_means() -> None:
    """0.9 of the divergence from the teacher and 0.1 of the surprise at the gold tokens."""
    batch, reader = batch_of(("dataset", "dataset"), (4, 6)), Reader()
    total, _ = reader.step(SOFT_AND_HARD, [batch])
    student = reader.student(batch)
    soft = plain_loss(student, reader.teacher(batch), TABLE.load("forward_kl")).mean()
    rows, columns = batch.positions
    hard = -student.log_probs().detach()[torch.arange(batch.counted), batch.tokens[rows, columns + 1]].mean()
    assert total == pytest.approx(float((0.9 * soft + 0.1 * hard).detach()), rel=1e-12)


def test_a_term_whose_writer_wrote_nothing_is_left_out() -> None:
    """In a whole step without such rows the term is zero; with another term the rest is as it was."""
    batch, reader = batch_of(("dataset",), (5,)), Reader()
    alone, gradients = reader.step((Term("forward_kl", on="student"),), [batch])
    assert alone == 0
    assert all((gradient == 0).all() for gradient in gradients)
    both, _ = reader.step((Term("forward_kl", on="student"), Term("forward_kl")), [batch])
    assert both == reader.step((Term("forward_kl"),), [batch])[0]


def test_a_micro_batch_without_rows_of_a_writer_is_a_share_of_zero() -> None:
    """Its writer's tokens are in other micro-batches of the step."""
    ours, theirs, reader = batch_of(("teacher",), (4,)), batch_of(("dataset",), (4,)), Reader()
    apart, _ = reader.step((Term("reverse_kl", on="teacher"),), [ours, theirs])
    assert apart == pytest.approx(reader.step((Term("reverse_kl", on="teacher"),), [ours])[0], rel=1e-13)


def test_temperature_and_options_of_a_term_reach_its_divergence() -> None:
    """What the objective says is what is evaluated."""
    batch, reader = batch_of(("student",), (6,)), Reader()
    term = Term("jensen_shannon", {"beta": 0.2}, temperature=3.0, on="student")
    total, _ = reader.step((term,), [batch])
    each = plain_loss(
        reader.student(batch), reader.teacher(batch), TABLE.load("jensen_shannon"), temperature=3.0, beta=0.2
    )
    assert total == pytest.approx(float(each.mean().detach()), rel=1e-12)


def test_fine_tuning_needs_no_teacher_and_distilling_does() -> None:
    """Against the gold tokens None will do; else the error names the term."""
    batch, reader = batch_of(("dataset",), (4,)), Reader()
    counted = {"all": batch.counted}
    gold_only = (Term("cross_entropy", against="gold"),)
    assert len(PerToken().terms(gold_only, batch, reader.student(batch), None, counted)) == 1
    with pytest.raises(
        TutelageError, match="the term 'forward kl' compares with a teacher and there is none"
    ):
        PerToken().terms((Term("forward_kl"),), batch, reader.student(batch), None, counted)
