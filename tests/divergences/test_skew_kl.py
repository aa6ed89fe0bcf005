"""Skew KL: bounded by the share that is mixed in, and the plain KL without it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from strategies import pairs
from tutelage.divergences import forward_kl, reverse_kl, skew_forward_kl, skew_reverse_kl
from tutelage.errors import OutOfRange

SLACK = 1e-12


@given(rows=pairs(), skew=st.floats(1e-4, 0.9999))
def test_skew_kl_is_at_most_minus_log_skew(rows: tuple[Tensor, Tensor], skew: float) -> None:
    """The share mixed in bounds the ratio, so the loss stays finite whatever is never said."""
    for divergence in (skew_forward_kl, skew_reverse_kl):
        assert float(divergence(*rows, skew=skew)) <= -math.log(skew) + SLACK


@given(rows=pairs(never=False), skew=st.sampled_from([1e-5, 1e-7]))
def test_skew_kl_runs_into_the_kl(rows: tuple[Tensor, Tensor], skew: float) -> None:
    """With hardly any share of the other side it is the plain KL, where that is not large."""
    for skewed, plain in ((skew_forward_kl, forward_kl), (skew_reverse_kl, reverse_kl)):
        expected = float(plain(*rows))
        assume(expected < 5)
        assert float(skewed(*rows, skew=skew)) == pytest.approx(expected, abs=3e-2)
        assert float(skewed(*rows, skew=skew)) <= expected + SLACK


@pytest.mark.parametrize("skew", [0.0, 1.0, -0.1, math.nan])
def test_a_skew_of_nothing_or_all_is_refused(skew: float) -> None:
    """The plain KL is a divergence of its own."""
    row = torch.zeros(1)
    for divergence, plain in ((skew_forward_kl, "forward_kl"), (skew_reverse_kl, "reverse_kl")):
        with pytest.raises(OutOfRange, match="skew is") as caught:
            divergence(row, row, skew=skew)
        assert f"`{plain}`" in caught.value.fix
