"""Calibration: does a model that is sure of a token in 7 of 10 cases get it right in 7 of 10?"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


def binned(confidence: Tensor, correct: Tensor, *, bins: int = BINS) -> Tensor:
    """Cases, summed confidence and correct ones by bins of equal width, ``[bins, 3]`` in float64.

    A bin holds its upper end, so a confidence of 1 is in the last.

    Args:
        confidence: probability of the likeliest token, ``[N]``.
        correct: whether it was the one that was written, ``[N]``.
        bins: how many.
    """
    sure = confidence.double().cpu()
    place = ((sure * bins).ceil().long() - 1).clamp(0, bins - 1)
    rows = torch.stack([torch.ones_like(sure), sure, correct.cpu().double()], 1)
    return torch.zeros(bins, 3, dtype=torch.float64).index_add(0, place, rows)


def ece(found: Tensor) -> float:
    """Expected calibration error: ``sum_b n_b / n |accuracy_b - confidence_b|``, from 0 to 1.

    It is 0 for perfect calibration, and biased upwards by chance where bins hold few cases. NaN without any.

    Args:
        found: what `binned` gives, ``[bins, 3]``; counts of several texts may be added.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    return float((found[:, 2] - found[:, 1]).abs().sum() / found[:, 0].sum())
