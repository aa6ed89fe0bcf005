"""The likeliest tokens that two have in common."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.likeliest import top_overlap


@given(st.integers(0, 1000), st.integers(1, 12))
def test_it_is_a_share_that_is_one_beside_oneself(seed: int, k: int) -> None:
    """Symmetric, from 0 to 1, and 1 where k is the whole vocabulary."""
    one, other = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    assert top_overlap(one, one, k) == 1
    assert 0 <= top_overlap(one, other, k) == top_overlap(other, one, k) <= 1
    assert top_overlap(one, other, 9) == 1


def test_tokens_are_counted_whatever_their_order() -> None:
    """Two of three in common, in another order."""
    one = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    other = torch.tensor([[4.0, 0.0, 5.0, 3.0, 1.0]])
    assert abs(top_overlap(one, other, 3) - 2 / 3) < 1e-12
