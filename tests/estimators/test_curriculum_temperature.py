"""CTKD: published numbers, the slope against finite differences, and who climbs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from strategies import pairs
from tutelage.distribution import Dense, Hidden
from tutelage.divergences import forward_kl
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.temperature import kl_by_log_temperature
from tutelage.errors import TutelageError
from tutelage.estimators import CurriculumTemperature
from tutelage.interfaces import Batch
from tutelage.objective import Term

STUDENT = torch.tensor([[0.5, -1.0, 2.0, 0.0]]).double()
TEACHER = torch.tensor([[2.0, 1.0, -1.0, 0.5]]).double()
BATCH = Batch(
    torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor([[False, True]]), ("dataset",)
)
COUNTED = {"all": 1, "all rows": 1}
KL = (Term("forward_kl"),)


def learner() -> Hidden:
    """The student's row as hidden states in front of the identity."""
    return Hidden(STUDENT.clone().requires_grad_(), torch.eye(4).double())


def test_the_published_temperature_value_and_gradient() -> None:
    """Of the row in the specification of TAID: 15.62117157, 1.86570109, and the student's gradient."""
    made, rows = CurriculumTemperature().begun(10), learner()
    assert made.temperature == pytest.approx(15.62117157, abs=5e-9)
    total, _ = evaluate(rows, made.terms(KL, BATCH, rows, Dense(TEACHER), COUNTED))
    assert float(total.detach()) == pytest.approx(1.86570109, abs=6e-9)
    (gradient,) = torch.autograd.grad(total, rows.hidden)
    listed = [[-0.32731746, -0.42305894, 0.81187462, -0.06149822]]
    expected = torch.tensor(listed, dtype=torch.float64)
    assert_close(gradient, expected, atol=6e-9, rtol=0)


def test_lambda_rises_as_half_a_cosine() -> None:
    """The published factors fall from 1 in ten epochs; here it is what is missing from 1."""
    made = CurriculumTemperature(rising=1.0, rate=0.0).begun(10)
    seen = dict.fromkeys(made.watches, 0.0)
    for step, falling in enumerate([1.0, 0.97552826, 0.9045085, 0.79389263, 0.6545085, 0.5]):
        assert made.strength == pytest.approx(1 - falling, abs=6e-9)
        made.stepped(step, seen)
    for step in range(6, 20):
        made.stepped(step, seen)
    assert made.strength == 1


@given(pair=pairs(never=False), temperature=st.floats(0.3, 20))
@settings(max_examples=100)
def test_the_slope_is_that_of_kl_by_the_logarithm_of_the_temperature(pair: Any, temperature: float) -> None:
    """Central differences, both rows tempered alike."""

    def at(log_temperature: float) -> float:
        rows = [(row / math.exp(log_temperature)).log_softmax(-1) for row in pair]
        return float(forward_kl(*rows))

    here = math.log(temperature)
    expected = (at(here + 1e-5) - at(here - 1e-5)) / 2e-5
    student, teacher = ((row / temperature).log_softmax(-1) for row in pair)
    assert float(kl_by_log_temperature(student, teacher)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_it_climbs_the_loss_that_the_student_descends() -> None:
    """One step moves theta by the rate times the gradient of the squared-temperature loss by theta."""
    made = CurriculumTemperature(begin=-1.0, rate=0.05, rising=0.1).begun(10)
    made.state["step"] = 5.0  # lambda is 1
    rows, teacher = learner(), Dense(TEACHER)
    watched = made.watched(KL, BATCH, rows, teacher, COUNTED)
    assert all(term.watched for term in watched)
    _, values = evaluate(rows, [*made.terms(KL, BATCH, rows, teacher, COUNTED), *watched])
    seen = {name: float(v) for name, v in zip(made.watches, values[1:], strict=True)}

    def loss(theta: float) -> float:
        warm = 1 + 20 / (1 + math.exp(-theta))
        both = [(row / warm).log_softmax(-1) for row in (STUDENT, TEACHER)]
        return warm**2 * float(forward_kl(*both))

    slope = (loss(-1 + 1e-5) - loss(-1 - 1e-5)) / 2e-5
    made.stepped(5, seen)
    assert made.state["theta"] == pytest.approx(-1 + 0.05 * slope, rel=1e-6)
    assert loss(made.state["theta"]) > loss(-1.0)


def test_what_is_not_a_number_moves_nothing() -> None:
    """And the state goes in and out."""
    made = CurriculumTemperature().begun(10)
    made.stepped(0, dict.fromkeys(made.watches, math.nan))
    assert made.state == {"theta": 1.0, "step": 1.0, "steps": 10.0}
    again = CurriculumTemperature().begun(10)
    again.load_state_dict(made.state_dict())
    assert again.state == made.state
    assert again.state is not made.state


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ((Term("reverse_kl"),), "at a learned temperature"),
        ((Term("forward_kl", temperature=2.0),), "at a learned temperature"),
        ((Term("forward_kl", standardise=True),), "at a learned temperature"),
        ((Term("cross_entropy", against="gold"),), "no term compares"),
    ],
)
def test_other_objectives_are_refused(objective: tuple[Term, ...], said: str) -> None:
    """Their change with the temperature is not known."""
    with pytest.raises(TutelageError, match=said):
        CurriculumTemperature().suits(objective)


def test_gold_tokens_are_never_tempered() -> None:
    """Cross-entropy beside it stays what it is."""
    both = (*KL, Term("cross_entropy", against="gold", weight=0.3))
    rows = learner()
    made: list[Against] = CurriculumTemperature().terms(both, BATCH, rows, Dense(TEACHER), COUNTED)
    assert [term.temperature for term in made] == [pytest.approx(15.62117157), 1.0]
    assert float(made[1].weights[0]) == pytest.approx(0.3)
