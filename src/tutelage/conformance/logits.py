"""Hidden = logits: what is made of hidden states is what the model itself says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tutelage.conformance.found import Answers, Found
from tutelage.conformance.subject import Subject
from tutelage.distribution import Distribution
from tutelage.interfaces import Batch
from tutelage.models import LanguageModel
from tutelage.run.learner import said_by
from tutelage.teachers.fingerprint import members

STUDENT, TEACHER = "student", "teacher"


def same_logits(subject: Subject, scratch: Path) -> Answers:
    """The largest difference of a log-probability, row by row, so that both sides see the same shapes."""
    student = subject.student
    found: dict[str, Found | str] = {
        STUDENT: _apart(subject, student, lambda batch: said_by(student.model, batch))
    }
    if subject.teacher is None:
        return found | {TEACHER: "no term compares with a teacher"}
    models = {
        id(loaded): _apart(subject, loaded, member)
        for member in members(subject.teacher)
        if isinstance(loaded := getattr(member, "loaded", None), LanguageModel)
    }
    worst = max(models.values(), key=lambda one: one.apart / one.scale, default=None)
    return found | {TEACHER: worst or "the teacher is no model in this process"}


def _apart(subject: Subject, of: LanguageModel, says: Callable[[Batch], Distribution]) -> Found:
    model: Any = of.model
    apart = largest = 0.0
    with torch.no_grad():
        for batch in (subject.batch_of([row]) for row in subject.rows):
            asked = {"input_ids": batch.tokens, "attention_mask": batch.attention.long()}
            logits = model(**asked, use_cache=False).logits[batch.positions].float()
            gap = logits.log_softmax(-1) - says(batch).log_probs()
            # Written so that a NaN, which is above nothing, is not lost.
            apart = max(apart, float(gap.abs().max().nan_to_num(nan=torch.inf)))
            largest = max(largest, float(logits.abs().max()))
    said = f"largest at any token of '{of.name}', {str(model.dtype).removeprefix('torch.')}"
    return Found(apart, said, max(1.0, largest), model.dtype != torch.float32)
