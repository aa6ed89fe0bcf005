"""How far student and teacher are apart as writers: exposure bias, risks, and divergences of sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from torch import Tensor

from tutelage.evaluation.evidence import Evidence
from tutelage.evaluation.exposure import exposure_of
from tutelage.evaluation.found import Mean, Pooled
from tutelage.evaluation.needs import LIVE_TEACHER, TEXTS, WRITING_TEACHER, needing
from tutelage.evaluation.risks import js_terms, per_sequence, per_token, tv_terms
from tutelage.evaluation.steps import Steps


@needing(TEXTS, WRITING_TEACHER, unit="per cent", better="lower")
def exposure_bias(evidence: Evidence, *, live: Annotated[float, "(0, 1]"] = 0.1) -> Pooled:
    """Excess error that gathers on the student's own prefixes, against those of the teacher (ExAccErr).

    Args:
        live: it is taken up to the last position that this share of the texts of both writers reaches.
    """
    own = [steps["forward_kl"] for steps in evidence.on_own]
    theirs = [steps["forward_kl"] for steps in evidence.on_teachers]
    rows = len(own[0])
    whole = [exposure_of(*pair, least=math.ceil(live * rows)) for pair in zip(own, theirs, strict=True)]

    def of(seed: int, kept: Sequence[int]) -> float:
        found = exposure_of([own[seed][i] for i in kept], [theirs[seed][i] for i in kept]).percent
        return float(found[: len(whole[seed].percent)][-1])

    lengths = sorted({str(len(one.percent)) for one in whole}, key=int)
    undefined = [one.said for one in whole if bool(one.percent[-1].isnan())]
    note = undefined[0] if undefined else f"at length {' or '.join(lengths)}"
    return Pooled(of, len(own), rows, note)


@needing(TEXTS, LIVE_TEACHER, unit="nats per token", better="lower")
def likelihood_risk(evidence: Evidence) -> Mean:
    """What the teacher is surprised by in the student's texts: high where modes are averaged."""
    return _rows(evidence.on_own, lambda steps: per_token(steps["teacher_nats"]))


@needing(TEXTS, WRITING_TEACHER, unit="nats per token", better="lower")
def coverage_risk(evidence: Evidence) -> Mean:
    """What the student is surprised by in the teacher's texts: high where it leaves modes out."""
    return _rows(evidence.on_teachers, lambda steps: per_token(steps["student_nats"]))


@needing(TEXTS, LIVE_TEACHER, unit="nats per text", better="lower")
def sequence_reverse_kl(evidence: Evidence) -> Mean:
    """``KL(student || teacher)`` of whole texts: exact terms, summed over its own steps."""
    return _rows(evidence.on_own, lambda steps: per_sequence(steps["reverse_kl"]))


@needing(TEXTS, WRITING_TEACHER, unit="nats per text", better="lower")
def js_bound(evidence: Evidence) -> Mean:
    """Upper bound on the Jensen-Shannon divergence of texts: a half on each writer's prefixes."""
    return _halves(evidence, "js_teacher", "js_student")


@needing(TEXTS, WRITING_TEACHER, unit="per text", better="lower")
def tv_bound(evidence: Evidence) -> Mean:
    """Upper bound on the total variation of texts: a half on each writer's prefixes."""
    return _halves(evidence, "total_variation", "total_variation")


@needing(TEXTS, WRITING_TEACHER, unit="0 to log 2 nats", better="lower")
def sequence_js(evidence: Evidence) -> Mean:
    """Jensen-Shannon divergence of whole texts, an unbiased estimate; soon near log 2 for long texts."""
    return _of_both(evidence, js_terms)


@needing(TEXTS, WRITING_TEACHER, unit="0 to 1", better="lower")
def sequence_tv(evidence: Evidence) -> Mean:
    """Total variation of whole texts, an unbiased estimate; soon near 1 for long texts."""
    return _of_both(evidence, tv_terms)


def _rows(seeds: Sequence[Steps], of: Callable[[Steps], Tensor]) -> Mean:
    values = torch.stack([of(steps) for steps in seeds])
    return Mean(values, torch.ones_like(values))


def _halves(evidence: Evidence, on_teachers: str, on_own: str) -> Mean:
    pairs = zip(evidence.on_teachers, evidence.on_own, strict=True)
    values = [(per_sequence(a[on_teachers]) + per_sequence(b[on_own])) / 2 for a, b in pairs]
    return Mean(torch.stack(values), torch.ones(len(values), len(values[0])).double())


def _of_both(evidence: Evidence, terms: Callable[[Tensor, Tensor], Tensor]) -> Mean:
    values = []
    for of_teacher, of_student in zip(evidence.on_teachers, evidence.on_own, strict=True):
        under = [
            [per_sequence(s[name]) for name in ("student_nats", "teacher_nats")]
            for s in (of_teacher, of_student)
        ]
        values.append((terms(under[0][1], under[0][0]) + terms(under[1][0], under[1][1])) / 2)
    return Mean(torch.stack(values), torch.ones(len(values), len(values[0])).double())
