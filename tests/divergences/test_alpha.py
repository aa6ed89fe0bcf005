"""Alpha-divergence: bounded between its ends, and both KLs at them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from strategies import pairs
from tutelage.divergences import alpha_divergence, forward_kl, reverse_kl
from tutelage.errors import OutOfRange


@given(rows=pairs(), order=st.floats(1e-3, 0.999))
def test_alpha_divergence_is_bounded(rows: tuple[Tensor, Tensor], order: float) -> None:
    """At most 1 / (order (1 - order)), reached where the rows share nothing."""
    assert float(alpha_divergence(*rows, order=order)) <= 1 / (order * (1 - order)) + 1e-9


@given(rows=pairs(), order=st.integers(0, 64).map(lambda n: n / 64))
def test_alpha_divergence_of_exchanged_rows_has_the_opposite_order(
    rows: tuple[Tensor, Tensor], order: float
) -> None:
    """D_order(q, p) = D_(1 - order)(p, q); at one half it is four times the squared Hellinger distance."""
    student, teacher = rows
    there = float(alpha_divergence(student, teacher, order=order))
    back = float(alpha_divergence(teacher, student, order=1 - order))
    assert there == pytest.approx(back, rel=1e-6, abs=1e-9)
    hellinger = ((0.5 * student).exp() - (0.5 * teacher).exp()).square().sum() / 2
    assert float(alpha_divergence(student, teacher)) == pytest.approx(4 * float(hellinger), abs=1e-12)


@given(rows=pairs(never=False))
def test_alpha_divergence_runs_into_both_kls(rows: tuple[Tensor, Tensor]) -> None:
    """Continuous in its order: the nearer to 0 or 1, the nearer to reverse or forward KL."""
    forward, reverse = float(forward_kl(*rows)), float(reverse_kl(*rows))
    assume(max(forward, reverse) < 30)
    assert float(alpha_divergence(*rows, order=1.0)) == forward
    assert float(alpha_divergence(*rows, order=0.0)) == reverse
    for near in (1e-6, 1e-9, 1e-12):
        allowed = 3e3 * near + 1e-9
        assert float(alpha_divergence(*rows, order=1 - near)) == pytest.approx(forward, abs=allowed)
        assert float(alpha_divergence(*rows, order=near)) == pytest.approx(reverse, abs=allowed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_alpha_divergence_counts_what_is_too_unlikely_for_a_float(dtype: torch.dtype) -> None:
    """q = exp(-800) is no float, and still not "never": q^0.01 = exp(-8) is far from nothing."""
    student = torch.tensor([0.0, -800.0], dtype=dtype)
    teacher = torch.tensor([0.5, 0.5], dtype=dtype).log()
    by_hand = (1 - 0.5**0.99 - 0.5**0.99 * math.exp(-8)) / (0.99 * 0.01)
    assert float(alpha_divergence(student, teacher, order=0.99)) == pytest.approx(by_hand, rel=2e-3)
    assert float(alpha_divergence(teacher, student, order=0.01)) == pytest.approx(by_hand, rel=2e-3)


@pytest.mark.parametrize("order", [-0.1, 1.1, math.nan])
def test_an_order_outside_zero_to_one_is_refused(order: float) -> None:
    """Beyond both KLs it is unbounded and not what the name promises."""
    row = torch.zeros(1)
    with pytest.raises(OutOfRange, match="order is"):
        alpha_divergence(row, row, order=order)
