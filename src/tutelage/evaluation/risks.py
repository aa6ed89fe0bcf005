"""How far two models are apart as writers: risks, step-wise bounds and divergences of whole sequences.

``p`` is the teacher, ``q`` the student. Every function takes one tensor ``[T]`` of a quantity for each
sequence, as `tutelage.evaluation.steps.compare_said` gives them; means are over sequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Pair = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Nats of some sequences under the student, and under the teacher."""


def per_token(values: Sequence[Tensor]) -> Tensor:
    """The mean of every sequence over its tokens, ``[R]``."""
    return torch.stack([value.mean() for value in values]) if len(values) else torch.zeros(0).double()


def per_sequence(values: Sequence[Tensor]) -> Tensor:
    """The sum of every sequence over its tokens, ``[R]``."""
    return torch.stack([value.sum() for value in values]) if len(values) else torch.zeros(0).double()


def risk(nats: Sequence[Tensor]) -> float:
    """Nats per token: the mean of every sequence, then the mean over sequences.

    Of the *student's* samples under the teacher it is the likelihood risk: high where the student says what
    the teacher finds unlikely (it averages modes). Of the *teacher's* samples under the student it is the
    coverage risk: high where the student leaves out what the teacher says (it has collapsed).

    Source: Wen et al. 2023, f-DISTILL, arXiv:2307.15190, section 4.3; per token as its numbers are.
    """
    return float(per_token(nats).mean())


def step_bound(teacher_half: Sequence[Tensor], student_half: Sequence[Tensor]) -> float:
    """A step-wise upper bound on a divergence of sequences: half of it on prefixes of each writer.

        1/2 E_{y ~ p} sum_t a_t + 1/2 E_{y ~ q} sum_t b_t

    With total variation in both places it bounds the total variation of sequences (each half alone does
    too); with KL(p || m) on the teacher's and KL(q || m) on the student's prefixes, ``m = (p + q) / 2`` at
    each step, it bounds their Jensen-Shannon divergence. It grows with length and may pass 1 and log 2.

    Args:
        teacher_half: the step's term on sequences that the teacher wrote.
        student_half: the step's term on sequences that the student wrote.

    Source: Wen et al. 2023, f-DISTILL, arXiv:2307.15190, theorem 1 and equations 8, 10, 11.
    """
    return float(per_sequence(teacher_half).mean() + per_sequence(student_half).mean()) / 2


def sequence_js(
    of_teacher: Pair,
    of_student: Pair,
) -> float:
    """Jensen-Shannon divergence of whole sequences in nats, an unbiased estimate from both writers' samples.

        1/2 E_{y ~ p} log p(y) / m(y) + 1/2 E_{y ~ q} log q(y) / m(y),   m(y) = (p(y) + q(y)) / 2

    It is at most log 2 and close to it as soon as sequences are long: writers are easy to tell apart.

    Args:
        of_teacher: nats of the teacher's sequences under student and teacher.
        of_student: nats of the student's sequences under student and teacher.
    """
    return _halves(js_terms, of_teacher, of_student)


def sequence_tv(
    of_teacher: Pair,
    of_student: Pair,
) -> float:
    """Total variation of whole sequences, 0 to 1, an unbiased estimate from both writers' samples.

        1/2 E_{y ~ p} max(0, 1 - q(y) / p(y)) + 1/2 E_{y ~ q} max(0, 1 - p(y) / q(y))

    Each half is the total variation; their mean is steadier.

    Args:
        of_teacher: nats of the teacher's sequences under student and teacher.
        of_student: nats of the student's sequences under student and teacher.
    """
    return _halves(tv_terms, of_teacher, of_student)


def js_terms(own: Tensor, other: Tensor) -> Tensor:
    """``log own(y) / m(y)`` of a writer's own sequences, from their nats ``[R]`` under both writers."""
    return math.log(2) - own - torch.logaddexp(-own, -other)


def tv_terms(own: Tensor, other: Tensor) -> Tensor:
    """``max(0, 1 - other(y) / own(y))`` of a writer's own sequences, from their nats ``[R]`` under both."""
    return (1 - (own - other).exp()).clamp(min=0)


def _halves(terms: Callable[[Tensor, Tensor], Tensor], of_teacher: Pair, of_student: Pair) -> float:
    (student_p, teacher_p), (student_q, teacher_q) = (
        [per_sequence(values) for values in pair] for pair in (of_teacher, of_student)
    )
    return float(terms(teacher_p, student_p).mean() + terms(student_q, teacher_q).mean()) / 2
