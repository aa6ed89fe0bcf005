"""Expected calibration error on cases whose truth is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.calibration import binned, ece


def drawn(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidences, and for each whether it came true with just that chance."""
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(count, generator=generator, dtype=torch.float64)
    return confidence, torch.rand(count, generator=generator, dtype=torch.float64) < confidence


def test_perfect_calibration_has_an_error_near_zero() -> None:
    """50,000 cases in 15 bins: chance alone leaves some 0.006; four times that would be a bug."""
    assert ece(binned(*drawn(50_000))) < 0.012


def test_too_sure_by_a_fifth_is_an_error_of_a_fifth() -> None:
    """Always 0.9 sure, right in 7 of 10 cases."""
    assert ece(binned(torch.full((10,), 0.9), torch.arange(10) < 7)) == pytest.approx(0.2)


def test_a_bin_holds_its_upper_end() -> None:
    """0.5 of two bins is in the first, 1 in the last, and nothing falls out."""
    found = binned(torch.tensor([0.0, 0.5, 0.51, 1.0]), torch.tensor([0, 1, 1, 1]), bins=2)
    assert found[:, 0].tolist() == [2, 2]
    assert found[:, 2].tolist() == [1, 2]


@given(seed=st.integers(0, 99), count=st.integers(1, 50))
def test_it_is_a_share_and_the_order_of_cases_is_nothing(seed: int, count: int) -> None:
    """Bins of two halves add up to those of the whole."""
    confidence, correct = drawn(count, seed)
    whole = binned(confidence, correct)
    assert 0 <= ece(whole) <= 1
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(binned(confidence[order], correct[order]), whole)
    halves = binned(confidence[::2], correct[::2]) + binned(confidence[1::2], correct[1::2])
    torch.testing.assert_close(halves, whole)


def test_no_cases_have_no_error() -> None:
    """NaN, not 0."""
    assert math.isnan(ece(torch.zeros(15, 3)))
