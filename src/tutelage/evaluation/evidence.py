"""What measures are taken from, each part made when it is asked for: held-out rows, texts, comparisons."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.distribution import Distribution, restricted
from tutelage.evaluation import needs
from tutelage.evaluation.held_out import HeldOut, measure
from tutelage.evaluation.steps import DIVERGENCES, Steps, speaks, steps, token_batches
from tutelage.evaluation.writing import Generations, Questions, written
from tutelage.interfaces import Batch, Teacher
from tutelage.models import LanguageModel, Shared
from tutelage.teachers import CachedTeacher


@dataclass(frozen=True, eq=False)
class Evidence:
    """One student, and all it is measured with.

    Attributes:
        student: the model.
        teacher: a model, a teacher that answers about any text, or one that knows its own rows; or None.
        shared: the ids on which the two meet; without a teacher the student's own.
        batches: held-out text on the device.
        questions: prompts and references made of it.
        seeds: a text is written for each of them after every prompt.
        max_new_tokens: tokens of a text at most.
        teachers_texts: what the teacher wrote, kept for the next student; it is filled here.
    """

    student: LanguageModel
    teacher: LanguageModel | Teacher | None
    shared: Shared
    batches: Sequence[Batch]
    questions: Questions
    seeds: tuple[int, ...]
    max_new_tokens: int
    teachers_texts: dict[Any, tuple[Generations, ...]] = field(default_factory=dict)

    @property
    def has(self) -> frozenset[str]:
        """Which of the needs of measures are met."""
        found = {needs.HELD_OUT, needs.TEXTS}
        if self.questions.references is not None:
            found.add(needs.REFERENCES)
        if self.teacher is not None:
            found.add(needs.TEACHER)
            if getattr(self.teacher, "needs", None) is None:  # not known by drawn tokens alone
                found.add(needs.FIRST_TOKEN)
            if not isinstance(self.teacher, CachedTeacher):  # which knows only its own rows
                found.add(needs.LIVE_TEACHER)
            if isinstance(self.teacher, LanguageModel):
                found.add(needs.WRITING_TEACHER)
        return frozenset(found)

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """Nats, divergence and calibration on the held-out text."""
        gold = getattr(self.teacher, "gold_log_probs", None)
        return measure(self.batches, speaks(self.student, self.shared), self.told, gold)

    @functools.cached_property
    def texts(self) -> tuple[Generations, ...]:
        """What the student wrote, seed by seed."""
        return tuple(self._writes(self.student, seed) for seed in self.seeds)

    @property
    def teacher_texts(self) -> tuple[Generations, ...]:
        """What the teacher wrote, seed by seed."""
        assert isinstance(self.teacher, LanguageModel)
        key = (self.shared.width, self.shared.never)
        if key not in self.teachers_texts:
            self.teachers_texts[key] = tuple(self._writes(self.teacher, seed) for seed in self.seeds)
        return self.teachers_texts[key]

    @functools.cached_property
    def on_own(self) -> tuple[Steps, ...]:
        """Both models on the student's texts, seed by seed."""
        return tuple(self._compared(texts) for texts in self.texts)

    @functools.cached_property
    def on_teachers(self) -> tuple[Steps, ...]:
        """Both models on the teacher's texts, seed by seed."""
        return tuple(self._compared(texts) for texts in self.teacher_texts)

    @property
    def told(self) -> Callable[[Batch], Distribution] | None:
        """The teacher's rows at the counted positions of a batch, on shared tokens; None without one."""
        teacher, shared = self.teacher, self.shared
        if teacher is None or isinstance(teacher, LanguageModel):
            return None if teacher is None else speaks(teacher, shared)
        return lambda batch: restricted(teacher(batch), shared.width, shared.never_on(batch.tokens.device))

    def _writes(self, model: LanguageModel, seed: int) -> Generations:
        return written(
            model, self.questions, seed=seed, max_new_tokens=self.max_new_tokens, shared=self.shared
        )

    def _compared(self, texts: Generations) -> Steps:
        models = [one for one in (self.student, self.teacher) if isinstance(one, LanguageModel)]
        batches: Iterator[Batch] = token_batches(self.questions.prompts, texts.tokens, *models)
        return steps(batches, speaks(self.student, self.shared), self.told, divergences=tuple(DIVERGENCES))
