"""On the way from the student to a teacher in log space: published rows, values and gradients.

The vectors are rounded to eight decimals, so that a number may differ by 5e-9.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tutelage.distribution import Dense, OfStudent, TopK, interpolated
from tutelage.divergences import loss
from tutelage.divergences.plain import onto_support
from tutelage.errors import OutOfRange, TutelageError

ROUNDED = 6e-9
STUDENT = [0.5, -1.0, 2.0, 0.0]
TEACHER = [2.0, 1.0, -1.0, 0.5]


def vector(*numbers: float) -> Tensor:
    """Numbers in float64."""
    return torch.tensor(numbers, dtype=torch.float64)


def moving(n: int, vocab: int) -> OfStudent:
    """The student's own rows."""
    return OfStudent(n, vocab, vector(0.0))


@pytest.mark.parametrize(
    ("t", "row", "kl", "gradient"),
    [
        (0.0, [0.15844471, 0.03535379, 0.71009992, 0.09610157], 0.0, [0.0, 0.0, 0.0, 0.0]),
        (
            0.1,
            [0.21546927, 0.05054269, 0.615736, 0.11825204],
            0.02103333,
            [-0.05702456, -0.0151889, 0.09436392, -0.02215047],
        ),
        (
            0.4,
            [0.41323686, 0.11262018, 0.30613339, 0.16800957],
            0.36289534,
            [-0.25479215, -0.07726639, 0.40396653, -0.07190799],
        ),
        (
            0.9,
            [0.59715169, 0.20896592, 0.0466266, 0.14725579],
            1.09943219,
            [-0.43870698, -0.17361212, 0.66347332, -0.05115422],
        ),
        (
            1.0,
            [0.60946004, 0.22420782, 0.03034323, 0.13598892],
            1.18673815,
            [-0.45101533, -0.18885402, 0.67975669, -0.03988734],
        ),
    ],
)
def test_the_published_row_and_the_gradient_with_a_constant_target(
    t: float, row: list[float], kl: float, gradient: list[float]
) -> None:
    """The student's share of its target is a constant: the gradient by logit is q - p_t."""
    logits = vector(*STUDENT)[None].requires_grad_()
    target = interpolated(moving(1, 4), Dense(vector(*TEACHER)[None]), t)
    shown = target.log_probs(student=logits.detach().log_softmax(-1))
    assert_close(shown.exp()[0], vector(*row), atol=ROUNDED, rtol=0)
    found = loss(logits, torch.eye(4).double(), target)
    found.backward()
    assert float(found.detach()) == pytest.approx(kl, abs=ROUNDED)
    assert logits.grad is not None
    assert_close(logits.grad[0], vector(*gradient), atol=ROUNDED, rtol=0)


@pytest.mark.parametrize(
    ("t", "mean", "gradient"),
    [
        (0.0, 0.0, [0.0, 0.0, 0.0, 0.0]),
        (0.4, 0.22046717, [0.08136301, -0.06371669, 0.008513, -0.02615933]),
        (1.0, 0.79361693, [0.15844588, -0.10540469, 0.03218413, -0.08522532]),
    ],
)
def test_three_rows_with_a_mask_give_the_published_mean(t: float, mean: float, gradient: list[float]) -> None:
    """The third row does not count; the gradient of the mean is halved at the other two."""
    logits = torch.stack([vector(*STUDENT), vector(1, 1, 0, -1), vector(0, 0, 0, 0)]).requires_grad_()
    teacher = torch.stack([vector(*TEACHER), vector(0, 2, 0, 1), vector(3, 0, 0, 0)])
    target = interpolated(moving(3, 4), Dense(teacher), t)
    found = loss(logits, torch.eye(4).double(), target, mask=torch.tensor([True, True, False]))
    found.backward()
    assert float(found.detach()) == pytest.approx(mean, abs=ROUNDED)
    assert logits.grad is not None
    assert_close(logits.grad[1], vector(*gradient), atol=ROUNDED, rtol=0)
    assert (logits.grad[2] == 0).all()


@pytest.mark.parametrize(("t", "kl"), [(0.4, 0.16492296), (1.0, 0.93840714)])
def test_a_teacher_cut_to_three_of_eight_gives_the_published_divergence(t: float, kl: float) -> None:
    """On three kept tokens and the rest, a lower bound of the full 0.31066393 and 1.06222002."""
    logits = vector(0.5, -1, 2, 0, 0.3, -0.7, 1.1, -2)[None]
    whole = vector(2, 1, -1, 0.5, 2.5, -0.5, 0.2, -1.5)[None].log_softmax(-1)
    kept = torch.tensor([[0, 1, 4]])
    cut = TopK(kept, whole.gather(1, kept), 8)
    assert cut.log_tail is not None
    assert float(cut.log_tail.exp()) == pytest.approx(0.15432666, abs=ROUNDED)
    found = loss(logits, torch.eye(8).double(), interpolated(moving(1, 8), cut, t))
    assert float(found) == pytest.approx(kl, abs=ROUNDED)


def test_the_columns_of_the_cut_teacher_are_the_published_ones() -> None:
    """At t = 0.4: probabilities of ids 0, 1, 4 and of everything else."""
    student = vector(0.5, -1, 2, 0, 0.3, -0.7, 1.1, -2)[None].log_softmax(-1)
    whole = vector(2, 1, -1, 0.5, 2.5, -0.5, 0.2, -1.5)[None].log_softmax(-1)
    kept = torch.tensor([[0, 1, 4]])
    target = interpolated(moving(1, 8), TopK(kept, whole.gather(1, kept), 8), 0.4)
    ids, columns = target.on_support(student=student)
    assert ids is not None
    assert torch.equal(ids, kept)
    expected = vector(0.20200364, 0.05505241, 0.21882793, 0.52411603)
    assert_close(columns.exp()[0], expected, atol=ROUNDED, rtol=0)
    # the student's own shape of the rest is what the columns say nothing about
    assert onto_support(student, ids).shape == (1, 4)


def test_a_share_outside_zero_to_one_is_refused() -> None:
    """Beyond the ends it would be a shift."""
    for t in (-0.1, 1.1, float("nan")):
        with pytest.raises(OutOfRange, match="t is"):
            interpolated(moving(1, 4), Dense(torch.zeros(1, 4)), t)


def test_rows_that_move_with_the_student_cannot_be_read_without_one() -> None:
    """The error says how to read them."""
    with pytest.raises(TutelageError, match="read without one"):
        moving(1, 4).log_probs()
