"""What must not matter to a step: micro-batches, padding, the order of rows, chunks of positions."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from pathlib import Path

import torch

from tutelage.conformance.found import Answers, Found, NotChecked
from tutelage.conformance.subject import Step, Subject
from tutelage.distribution import Distribution
from tutelage.interfaces import Batch

LOSS, GRADIENT = "loss", "gradient"
LONGER = 5
"""Columns of padding that are added."""


def micro_batches(subject: Subject, scratch: Path) -> Answers:
    """One row at a time, the teacher asked for each, against all rows at once."""
    _several(subject)
    batches = [subject.batch_of([row]) for row in subject.rows]
    return steps_apart(subject, _added(subject.step(batch, told_of(subject, batch)) for batch in batches))


def padding(subject: Subject, scratch: Path) -> Answers:
    """Rows padded with five columns more, in which tokens stand that nobody may look at."""
    batch = subject.batch_of(subject.rows, LONGER)
    return steps_apart(subject, subject.step(batch, told_of(subject, batch)))


def order(subject: Subject, scratch: Path) -> Answers:
    """The longest row first instead of the shortest."""
    _several(subject)
    batch = subject.batch_of(subject.rows[::-1])
    return steps_apart(subject, subject.step(batch, told_of(subject, batch)))


def chunks(subject: Subject, scratch: Path) -> Answers:
    """Positions evaluated in three uneven chunks; hidden states are the same ones."""
    size = -(-subject.batch.counted // 3) + 1
    told = subject.told if subject.from_teacher else None
    return steps_apart(subject, subject.step(subject.batch, told, chunk_rows=size))


def told_of(subject: Subject, batch: Batch) -> Distribution | None:
    """What the teacher says about other batches than the subject's own; None where no term asks for it."""
    if not subject.from_teacher:
        return None
    assert subject.teacher is not None
    with torch.no_grad():
        return subject.teacher(batch)


def steps_apart(subject: Subject, step: Step) -> dict[str, Found]:
    """How far a step is from the one of all rows at once."""
    whole = subject.whole
    longest = max(float(whole.gradient.norm()), subject.steepness)
    return {
        LOSS: Found(abs(step.loss - whole.loss), f"of {whole.loss:.4g}", max(1.0, abs(whole.loss))),
        GRADIENT: Found(float((step.gradient - whole.gradient).norm()) / longest),
    }


def _added(steps: Iterable[Step]) -> Step:
    return functools.reduce(operator.add, steps)


def _several(subject: Subject) -> None:
    if len(subject.rows) < 2:
        raise NotChecked("there is one row of text only")
