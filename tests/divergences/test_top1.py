"""Hard labels: the teacher's most likely token, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.testing import assert_close

from strategies import Maker, gradients, pairs, student
from tutelage.distribution import TopK, gold
from tutelage.divergences import cross_entropy, top1_cross_entropy
from tutelage.divergences.fused import Against, evaluate


@given(pair=pairs())
def test_it_is_the_nats_of_the_most_likely_token(pair: tuple[Tensor, Tensor]) -> None:
    """-log q there; the mean of them where several are equally likely."""
    log_q, log_p = pair
    nats = -log_q[log_p == log_p.max()]
    assert float(top1_cross_entropy(log_q, log_p)) == pytest.approx(float(nats.mean()), abs=1e-12)


def test_ties_share_the_label_equally() -> None:
    """Two of four tokens: half a label each, in the value and in the gradient."""
    logits = torch.tensor([[0.1, 0.7, -0.3, 0.2]], dtype=torch.float64).requires_grad_()
    teacher = torch.tensor([[0.4, 0.1, 0.4, 0.1]], dtype=torch.float64).log()
    top1_cross_entropy(logits.log_softmax(-1), teacher).sum().backward()
    assert logits.grad is not None
    label = torch.tensor([[0.5, 0.0, 0.5, 0.0]], dtype=torch.float64)
    assert_close(logits.grad, logits.detach().softmax(-1) - label, atol=1e-12, rtol=0)


def test_it_is_fine_tuning_on_the_teachers_first_choice() -> None:
    """Value and gradients are those of cross-entropy with that token as gold."""
    m = Maker(5, 9, 6)
    learner, teacher, share = student(m, "bias"), m.full("f"), torch.full((5,), 0.2).double()
    labels = gold(teacher.log_probs().argmax(-1), 9, share)
    total, _ = evaluate(learner, [Against(top1_cross_entropy, teacher, share)])
    expected, _ = evaluate(learner, [Against(cross_entropy, labels, share)])
    assert_close(total, expected, atol=1e-12, rtol=1e-12)
    assert_close(gradients(total, learner), gradients(expected, learner), atol=1e-12, rtol=1e-10)


def test_a_temperature_tempers_the_student_and_leaves_the_label() -> None:
    """The order of the teacher's tokens is the same at any temperature."""
    m = Maker(4, 7, 2)
    learner, teacher = student(m), m.full("f")
    _, (values,) = evaluate(learner, [Against(top1_cross_entropy, teacher, torch.ones(4).double(), 3.0)])
    warm = (learner.log_probs() / 3).log_softmax(-1)
    labels = teacher.log_probs().argmax(-1)
    assert_close(values, -warm.detach().gather(1, labels[:, None])[:, 0], atol=1e-12, rtol=1e-12)


def test_a_likely_rest_is_no_token() -> None:
    """Two kept tokens hold little: the label is the better of them, not all that was not kept."""
    learner = student(Maker(1, 8, 4))
    kept = TopK(torch.tensor([[5, 1]]), torch.tensor([[0.2, 0.1]], dtype=torch.float64).log(), 8)
    _, (value,) = evaluate(learner, [Against(top1_cross_entropy, kept, torch.ones(1).double())])
    assert float(value) == pytest.approx(-float(learner.log_probs()[0, 5].detach()), rel=1e-12)


def test_a_student_that_never_says_the_label_is_infinitely_far() -> None:
    """And nothing is NaN."""
    student = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64).log()
    teacher = torch.tensor([0.8, 0.2, 0.0], dtype=torch.float64).log()
    assert float(top1_cross_entropy(student, teacher)) == math.inf
