"""Decoupled distillation: two parts that add up to forward KL, each with a weight of its own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from strategies import Maker, density, gradients, pairs, rows, student
from tutelage.distribution import Dense, TopK
from tutelage.divergences import decoupled, forward_kl, loss
from tutelage.divergences.fused import Against, evaluate
from tutelage.errors import OutOfRange, TutelageError

# A row that TAID's companion losses are specified by; printed to eight decimals.
STUDENT = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
TEACHER = torch.tensor([2.0, 1.0, -1.0, 0.5], dtype=torch.float64)
PRINTED = {
    0: {"p_target": 0.60946004, "tckd": 0.52121897, "nckd": 1.70410006, "total_1_0.5": 1.37326901},
    2: {"p_target": 0.03034323, "tckd": 1.07510216, "nckd": 0.11512939, "total_1_0.5": 1.13266685},
}
FORWARD_KL = 1.18673815
TOLERANCE = 5e-9 + 1e-9

TCKD = {"target_weight": 1.0, "non_target_weight": 0.0}
NCKD = {"target_weight": 0.0, "non_target_weight": 1.0}


def both_parts(q: Tensor, p: Tensor, target: int) -> tuple[float, float]:
    """TCKD and NCKD of two rows."""
    ids = torch.tensor(target)
    return tuple(float(decoupled(q, p, target=ids, **part)) for part in (TCKD, NCKD))  # type: ignore[return-value]


@pytest.mark.parametrize("target", PRINTED)
def test_the_printed_row(target: int) -> None:
    """Both parts, their sum with the weights 1 and 1/2, and what adds up to forward KL."""
    q, p = STUDENT.log_softmax(-1), TEACHER.log_softmax(-1)
    printed = PRINTED[target]
    tckd, nckd = both_parts(q, p, target)
    assert float(p[target].exp()) == pytest.approx(printed["p_target"], abs=TOLERANCE)
    assert tckd == pytest.approx(printed["tckd"], abs=TOLERANCE)
    assert nckd == pytest.approx(printed["nckd"], abs=TOLERANCE)
    total = decoupled(q, p, target=torch.tensor(target), non_target_weight=0.5)
    assert float(total) == pytest.approx(printed["total_1_0.5"], abs=TOLERANCE)
    assert tckd + (1 - printed["p_target"]) * nckd == pytest.approx(FORWARD_KL, abs=2 * TOLERANCE)


@pytest.mark.parametrize("target", PRINTED)
def test_the_fused_evaluation_gives_the_printed_value(target: int) -> None:
    """An output layer that is the identity makes the hidden states the logits."""
    ids = torch.tensor([target])
    value = loss(
        STUDENT[None],
        torch.eye(4).double(),
        Dense(TEACHER[None]),
        "decoupled",
        target=ids,
        non_target_weight=0.5,
    )
    assert float(value) == pytest.approx(PRINTED[target]["total_1_0.5"], abs=TOLERANCE)


@given(pair=pairs())
def test_the_parts_add_up_to_forward_kl_whatever_the_target(pair: tuple[Tensor, Tensor]) -> None:
    """TCKD + (1 - p(target)) NCKD = KL(teacher || student)."""
    student, teacher = pair
    whole = float(forward_kl(student, teacher))
    assume(math.isfinite(whole))
    for target in range(len(student)):
        tckd, nckd = both_parts(student, teacher, target)
        others = float(teacher.exp().sum() - teacher[target].exp())
        assert tckd + (others * nckd if others > 0 else 0) == pytest.approx(whole, rel=1e-9, abs=1e-12)


@given(pair=pairs(never=False))
def test_the_slopes_are_the_closed_form(pair: tuple[Tensor, Tensor]) -> None:
    """TCKD: -p at the target, the teacher's others shared as the student does; NCKD: their difference."""
    q, p = (row.exp() for row in pair)
    for target in range(len(q)):
        is_target = torch.arange(len(q)) == target
        of_q, of_p = (row.masked_fill(is_target, 0.0) for row in (q, p))
        among_q, among_p = of_q / of_q.sum(), of_p / of_p.sum()
        _, first = density("decoupled", *pair, torch.tensor([target]), **TCKD)
        _, second = density("decoupled", *pair, torch.tensor([target]), **NCKD)
        assert_close(first, torch.where(is_target, -p, -of_p.sum() * among_q), atol=1e-12, rtol=1e-9)
        assert_close(second, among_q - among_p, atol=1e-12, rtol=1e-9)


@given(row=rows(5), other=rows(4))
def test_where_the_teacher_says_nothing_else_the_others_have_nothing_to_tell(
    row: Tensor, other: Tensor
) -> None:
    """p(target) = 1: NCKD and its slope are 0, TCKD is the target's nats."""
    teacher = torch.full((5,), -math.inf).double()
    teacher[2] = 0.0
    tckd, nckd = both_parts(row, teacher, 2)
    assert nckd == 0
    assert tckd == pytest.approx(-float(row[2]), abs=1e-12)
    _, slope = density("decoupled", row, teacher, torch.tensor([2]), **NCKD)
    assert (slope == 0).all()


def test_a_target_that_the_teacher_never_says_leaves_the_rows_without_it() -> None:
    """p(target) = 0: TCKD is what the student wastes on it, NCKD the KL of the rest."""
    q = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    p = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
    tckd, nckd = both_parts(q.log(), p.log(), 0)
    assert tckd == pytest.approx(-math.log(0.75))
    assert nckd == pytest.approx(float(forward_kl((q[1:] / 0.75).log(), p[1:].log())))


def test_a_student_that_never_says_another_token_is_infinitely_far() -> None:
    """q(target) = 1 while the teacher says others: both parts are infinite, and nothing is NaN."""
    student = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).log()
    teacher = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()
    assert both_parts(student, teacher, 0) == (math.inf, math.inf)
    assert both_parts(student, student.clone(), 0) == (0, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_student_that_is_nearly_sure_of_the_target_still_has_others(dtype: torch.dtype) -> None:
    """1 - q(target) = e^-200 cannot be had from q(target), and in float32 is no number but a logarithm."""
    logits = torch.tensor([[200.0, 0.0, 1.0, -math.inf]], dtype=dtype).requires_grad_()
    teacher = torch.tensor([[190.0, 1.0, 0.0, -math.inf]], dtype=dtype)
    value = decoupled(logits.log_softmax(-1), teacher.log_softmax(-1), target=torch.tensor([0]))
    # among the others: (e, 1) against (1, e), whose KL is (e - 1) / (e + 1)
    expected = 8 * (math.e - 1) / (math.e + 1)
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_target_that_was_not_kept_is_the_rest() -> None:
    """Top-k: the forward KL of the buckets is made of both parts, also for a target in the rest."""
    m = Maker(4, 9, 3)
    learner, teacher = student(m, "bias"), m.top_k("k")
    everywhere = torch.ones(4).double()
    kept = teacher.ids[:, 0]
    lost = torch.tensor([next(i for i in range(9) if i not in row) for row in teacher.ids.tolist()])
    assert isinstance(teacher, TopK)
    _, logs = teacher.on_support()
    for target, column in ((kept, 0), (lost, -1)):
        terms = [Against(decoupled, teacher, everywhere, 1.0, part, target=target) for part in (TCKD, NCKD)]
        _, (tckd, nckd, whole) = evaluate(learner, [*terms, Against(forward_kl, teacher, everywhere)])
        assert_close(tckd + (1 - logs[:, column].exp()) * nckd, whole, atol=1e-12, rtol=1e-10)


def test_at_a_temperature_the_rows_are_tempered_first() -> None:
    """Statistics too are those of the tempered rows."""
    m = Maker(3, 6, 1)
    learner, teacher, ids = student(m), m.full("f"), torch.tensor([5, 0, 2])
    _, (values,) = evaluate(learner, [Against(decoupled, teacher, torch.ones(3).double(), 2.0, target=ids)])
    by_hand = decoupled(
        (learner.log_probs() / 2).log_softmax(-1), (teacher.log_probs() / 2).log_softmax(-1), target=ids
    )
    assert_close(values, by_hand.detach(), atol=1e-12, rtol=1e-12)


def test_two_terms_on_one_teacher_have_targets_of_their_own() -> None:
    """Their gradients add up to those of each alone."""
    m = Maker(4, 6, 2)
    learner, teacher = student(m, "bias"), m.full("f")
    share = torch.full((4,), 0.25).double()
    terms = [Against(decoupled, teacher, share, target=torch.tensor([place, 1, 2, 3])) for place in (0, 5)]
    together = gradients(evaluate(learner, terms)[0], learner)
    each = [gradients(evaluate(learner, [term])[0], learner) for term in terms]
    for whole, *parts in zip(together, *each, strict=True):
        assert_close(whole, parts[0] + parts[1], atol=1e-12, rtol=1e-10)


@given(target=st.sampled_from([4, -1, 2**40]))
def test_an_id_that_is_no_token_is_refused(target: int) -> None:
    """Where the position counts; see the laws for those that do not."""
    row = torch.zeros(4).log_softmax(-1)
    with pytest.raises(TutelageError, match=f"decoupled got targets from {target} to {target}"):
        decoupled(row, row, target=torch.tensor(target))


def test_a_target_that_is_missing_misshapen_or_unasked_is_refused() -> None:
    """And the error says what to pass."""
    row, m = torch.zeros(2, 4).log_softmax(-1), Maker(3, 6, 0)
    with pytest.raises(TutelageError, match="decoupled was not given a target") as caught:
        decoupled(row, row)
    assert caught.value.fix == "pass `target=ids`"
    for wrong in (torch.tensor(0), torch.tensor([0.0, 1.0])):
        with pytest.raises(TutelageError, match="decoupled got a target of shape"):
            decoupled(row, row, target=wrong)
    hidden, weight = m.normal("hidden", 3, 5), m.normal("weight", 6, 5)
    with pytest.raises(TutelageError, match="decoupled was not given a target"):
        loss(hidden, weight, m.full("f"), "decoupled")
    with pytest.raises(TutelageError, match="forward_kl was given a target"):
        loss(hidden, weight, m.full("f"), "forward_kl", target=torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    "weights",
    [
        {"target_weight": -0.1},
        {"non_target_weight": math.inf},
        {"target_weight": 0.0, "non_target_weight": 0.0},
    ],
)
def test_weights_that_make_no_divergence_are_refused(weights: dict[str, float]) -> None:
    """Negative, infinite, or none above 0."""
    row = torch.zeros(4).log_softmax(-1)
    with pytest.raises(OutOfRange, match="weight"):
        decoupled(row, row, target=torch.tensor(0), **weights)
