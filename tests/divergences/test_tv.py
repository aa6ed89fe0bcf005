"""Total variation: between the others, and with a small gradient."""

from __future__ import annotations

import math

from hypothesis import given
from torch import Tensor

from strategies import pairs
from tutelage.divergences import forward_kl, jensen_shannon, reverse_kl, total_variation

LOG_2 = math.log(2)
SLACK = 1e-12


@given(rows=pairs())
def test_total_variation_lies_between_the_others(rows: tuple[Tensor, Tensor]) -> None:
    """TV <= sqrt(KL / 2) both ways (Pinsker), and TV^2 / 2 <= JS <= log 2 * TV."""
    moved, middle = float(total_variation(*rows)), float(jensen_shannon(*rows))
    for kl in (forward_kl(*rows), reverse_kl(*rows)):
        assert moved <= math.sqrt(max(0.0, float(kl)) / 2) + 1e-7
    assert moved**2 / 2 <= middle + SLACK
    assert middle <= LOG_2 * moved + SLACK


@given(rows=pairs())
def test_no_gradient_of_total_variation_exceeds_a_quarter(rows: tuple[Tensor, Tensor]) -> None:
    """By logit it is at most q (1 - q)."""
    student, teacher = rows
    _, slope = total_variation.density(student, teacher)
    gradient = slope - student.exp() * slope.sum()
    assert (gradient.abs() <= (student.exp() * (1 - student.exp())) + SLACK).all()
    assert gradient.abs().max() <= 0.25 + SLACK
