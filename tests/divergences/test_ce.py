"""Cross-entropy: forward KL and the entropy of what is to be said."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from torch import Tensor

from strategies import pairs
from tutelage.divergences import cross_entropy, forward_kl


@given(rows=pairs())
def test_cross_entropy_is_forward_kl_and_the_teachers_entropy(rows: tuple[Tensor, Tensor]) -> None:
    """So both have one gradient; at equality it is the entropy and not zero."""
    student, teacher = rows
    entropy = -torch.where(teacher > -math.inf, teacher.exp() * teacher, 0.0).sum()
    expected = float(forward_kl(student, teacher) + entropy)
    assert float(cross_entropy(student, teacher)) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert torch.equal(forward_kl.density(*rows)[1], cross_entropy.density(*rows)[1])
