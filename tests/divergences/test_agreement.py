"""Agreement: how often both would say the same thing first."""

from __future__ import annotations

import torch
from hypothesis import given
from torch import Tensor

from strategies import rows
from tutelage.divergences import top1_agreement


@given(row=rows(6))
def test_agreement_is_a_measure_of_the_best_token(row: Tensor) -> None:
    """1 with itself; ties go to the lower id; a row of zeros and ones for a batch."""
    assert float(top1_agreement(row, row)) == 1.0
    tied = torch.tensor([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]).log_softmax(-1)
    assert top1_agreement(tied, tied.flip(0)).tolist() == [0.0, 0.0]
    assert top1_agreement(tied, torch.tensor([[0.0, -1.0, -1.0], [-1.0, 0.0, -1.0]])).tolist() == [1.0, 1.0]
