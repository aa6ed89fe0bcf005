"""Measures on held-out text, at every counted token: nats, divergence, agreement, calibration."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.evaluation.calibration import ece
from tutelage.evaluation.evidence import Evidence
from tutelage.evaluation.found import Mean, Pooled
from tutelage.evaluation.needs import FIRST_TOKEN, HELD_OUT, TEACHER, needing


@needing(HELD_OUT, unit="nats per token", better="lower")
def student_nats(evidence: Evidence) -> Mean:
    """What the student is surprised by: ``-log q`` of the written token."""
    return _per_token(evidence, "student_nats")


@needing(HELD_OUT, TEACHER, unit="nats per token")
def teacher_nats(evidence: Evidence) -> Mean:
    """What the teacher is surprised by on the same tokens: ``-log p`` of the written token."""
    return _per_token(evidence, "teacher_nats")


@needing(HELD_OUT, TEACHER, unit="nats per token", better="lower")
def forward_kl_nats(evidence: Evidence) -> Mean:
    """Distance from the teacher: ``KL(teacher || student)``; from a top-k cache a lower bound."""
    return _per_token(evidence, "forward_kl_nats")


@needing(HELD_OUT, TEACHER, FIRST_TOKEN, unit="share of tokens", better="higher")
def agreement(evidence: Evidence) -> Mean:
    """How often student and teacher would say the same token first."""
    return _per_token(evidence, "agreement")


@needing(HELD_OUT, unit="0 to 1", better="lower")
def calibration_error(evidence: Evidence) -> Pooled:
    """How far the student's confidence in its likeliest token is from how often that is right (ECE)."""
    bins = evidence.held_out.bins

    def of(_: int, rows: Sequence[int]) -> float:
        return ece(bins[list(rows)].sum(0))

    return Pooled(of, 1, len(bins))


def _per_token(evidence: Evidence, name: str) -> Mean:
    held = evidence.held_out
    return Mean(held.sums[name][None], held.tokens[None])
