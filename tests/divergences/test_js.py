"""Jensen-Shannon: between both KLs with its scale, an entropy at most without it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from strategies import pairs
from tutelage.divergences import forward_kl, jensen_shannon, reverse_kl
from tutelage.errors import OutOfRange

SLACK = 1e-12


@given(rows=pairs(never=False))
def test_jensen_shannon_runs_into_both_kls(rows: tuple[Tensor, Tensor]) -> None:
    """Continuous in beta with its scale: forward KL at 0, reverse KL at 1."""
    forward, reverse = float(forward_kl(*rows)), float(reverse_kl(*rows))
    assume(max(forward, reverse) < 10)
    assert float(jensen_shannon(*rows, beta=0.0)) == forward
    assert float(jensen_shannon(*rows, beta=1.0)) == reverse
    for beta in (1e-3, 1e-5):  # the difference shrinks with beta times the largest ratio
        ratio = math.exp(float((rows[0] - rows[1]).abs().max()))
        allowed = 20 * beta * ratio + 1e-9
        assert float(jensen_shannon(*rows, beta=beta)) == pytest.approx(forward, abs=allowed)
        assert float(jensen_shannon(*rows, beta=1 - beta)) == pytest.approx(reverse, abs=allowed)


@given(rows=pairs(), beta=st.floats(0.0, 1.0))
def test_unscaled_jensen_shannon_is_at_most_the_entropy_of_its_weights(
    rows: tuple[Tensor, Tensor], beta: float
) -> None:
    """It is what a draw tells about who drew it, hence <= H(beta) <= log 2, and fades at both ends."""
    entropy = -sum(w * math.log(w) for w in (beta, 1 - beta) if w > 0)
    found = float(jensen_shannon(*rows, beta=beta, scaled=False))
    assert -SLACK <= found <= entropy + SLACK


@given(rows=pairs(), beta=st.floats(0.01, 0.99))
def test_jensen_shannon_of_exchanged_rows_has_the_opposite_weight(
    rows: tuple[Tensor, Tensor], beta: float
) -> None:
    """JS_beta(q, p) = JS_(1 - beta)(p, q), and the scale is one number for all rows."""
    there = float(jensen_shannon(*rows, beta=beta))
    assert there == pytest.approx(float(jensen_shannon(*reversed(rows), beta=1 - beta)), rel=1e-9, abs=1e-12)
    unscaled = float(jensen_shannon(*rows, beta=beta, scaled=False))
    assert there == pytest.approx((1 / (beta * (1 - beta)) - 3) * unscaled, rel=1e-9, abs=1e-12)


@given(rows=pairs())
def test_unscaled_jensen_shannon_at_its_ends_is_zero_with_zero_slope(rows: tuple[Tensor, Tensor]) -> None:
    """Zero times an infinite KL would be NaN; it is the limit, which is zero."""
    for beta in (0.0, 1.0):
        value, slope = jensen_shannon.density(*rows, beta=beta, scaled=False)
        assert (value == 0).all()
        assert (slope == 0).all()


@pytest.mark.parametrize("beta", [-0.1, 1.1, math.nan])
def test_a_beta_outside_zero_to_one_is_refused(beta: float) -> None:
    """Jensen-Shannon says which range it has."""
    row = torch.zeros(1)
    with pytest.raises(OutOfRange, match="beta is"):
        jensen_shannon(row, row, beta=beta)
