"""Exposure bias: how much worse a student is on its own prefixes than on its teacher's (ExAccErr)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import TutelageError

NOTHING_NATS = 1e-9
"""A mean divergence up to this is none: rounding beside oneself."""


@dataclass(frozen=True, eq=False)
class ExposureBias:
    """Excess accumulated error up to every length.

    Attributes:
        accumulated: ``R(l)``, nats summed over the steps of the student's prefixes, ``[L]``.
        per_step: ``e(l)``, the mean nats of a step on the teacher's prefixes, ``[L]``.
        percent: ``100 (R(l) - l e(l)) / (l e(l))``, ``[L]``; NaN where ``e(l)`` is 0.
    """

    accumulated: Tensor
    per_step: Tensor
    percent: Tensor

    @property
    def said(self) -> str:
        """One line for people: the value at the last length, or why there is none."""
        length = len(self.percent)
        last = float(self.percent[-1]) if length else math.nan
        if math.isnan(last):
            return "undefined: on the teacher's prefixes the two models do not differ"
        return f"{last:+.1f} % at length {length}"


def exposure_bias(on_student: Tensor, on_teacher: Tensor) -> ExposureBias:
    """ExAccErr from means by position of ``KL(teacher || student)``.

        R(l) = sum_{t <= l} E_{s_t ~ q} kl(s_t),   e(l) = 1/l sum_{t <= l} E_{s_t ~ p} kl(s_t)
        ExAccErr(l) = 100 (R(l) - l e(l)) / (l e(l))

    Args:
        on_student: ``[L]``, the mean in nats at each position of prefixes that the student drew.
        on_teacher: ``[L]``, the same on prefixes that the teacher drew.

    Returns:
        At length 1 it is 0: both stand before the same prompt. Where the teacher's prefixes show no
        difference at all it is NaN.

    Raises:
        TutelageError: not the same number of positions.

    Source: Gu et al. 2024, MiniLLM, arXiv:2306.08543, appendix B.5; Arora et al. 2022, arXiv:2204.01171.
    """
    if on_student.shape != on_teacher.shape or on_student.dim() != 1:
        raise TutelageError(
            f"means by position of shape {tuple(on_student.shape)} and {tuple(on_teacher.shape)}",
            expected="one number a position, as many for both writers",
            fix="cut the longer one (`tutelage.evaluation.exposure.position_means`)",
        )
    accumulated, expected = on_student.double().cumsum(0), on_teacher.double().cumsum(0)
    lengths = torch.arange(1, len(expected) + 1)
    nothing = expected <= NOTHING_NATS * lengths
    percent = (100 * (accumulated - expected) / expected).masked_fill(nothing, math.nan)
    return ExposureBias(accumulated, expected / lengths, percent)


def exposure_of(
    on_student: Sequence[Tensor], on_teacher: Sequence[Tensor], *, least: int = 1
) -> ExposureBias:
    """ExAccErr of sequences, over those that are live at each position.

    Args:
        on_student: ``KL(teacher || student)`` at every token of the student's sequences, ``[T]`` each.
        on_teacher: the same of the teacher's sequences.
        least: it ends where fewer sequences of one of the writers are live.
    """
    means = [position_means(values, least=least)[0] for values in (on_student, on_teacher)]
    length = min(map(len, means))
    return exposure_bias(means[0][:length], means[1][:length])


def position_means(
    values: Sequence[Tensor], *, finished: str = "left_out", least: int = 1
) -> tuple[Tensor, Tensor]:
    """The mean of a quantity at every position over sequences, ``[L]``, and over how many, ``[L]``.

    Args:
        values: one tensor ``[T]`` a sequence.
        finished: ``left_out`` takes the mean over sequences that are still live; ``zero`` lets those that
            have ended count as 0, which makes the sum over positions that of whole sequences, and makes a
            student that ends early look better.
        least: positions at which fewer sequences are live are left off at the end.

    Raises:
        TutelageError: ``finished`` is neither.
    """
    if finished not in ("left_out", "zero"):
        raise TutelageError(
            f"finished is '{finished}'", expected="left_out or zero", fix="leave it out for live sequences"
        )
    padded = torch.nn.utils.rnn.pad_sequence([value.double() for value in values], batch_first=True)
    live = torch.bincount(torch.tensor([len(value) for value in values]), minlength=padded.shape[1] + 1)
    live = live.flip(0).cumsum(0).flip(0)[1:]
    kept = int((live >= max(least, 1)).sum())
    among = live[:kept] if finished == "left_out" else torch.full((kept,), len(values))
    return padded.sum(0)[:kept] / among, live[:kept]
