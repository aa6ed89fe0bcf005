"""A control that no recipe has words for: two divergences whose weights are ``1 - t`` and ``t``.

TAID's gradient goes from a down-weighted reverse KL to forward KL while ``t`` grows. Whether the teacher in
between is needed for that can be seen beside a run that looks at the teacher itself and blends the two losses
with the same ``t``. Samples, learner and loop are those of every run.

Source: Shing et al. 2025, TAID, arXiv:2501.16937 (the schedule); the control is derived.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.distribution import Distribution, Hidden
from tutelage.divergences.fused import Against
from tutelage.estimators.per_token import PerToken
from tutelage.interfaces import Batch, Machine, Running
from tutelage.models import save_student
from tutelage.objective import Term
from tutelage.recipes import Recipe
from tutelage.run.learner import Learner
from tutelage.run.loop import Words, train
from tutelage.run.metrics import Metrics
from tutelage.run.opened import Shelf, constraint_of, meeting
from tutelage.run.study import make_accelerator
from tutelage.teachers import moving
from tutelage.teachers.interpolated import InterpolatedTeacher


@dataclass(frozen=True)
class EndOfWay:
    """The teacher at the end of a way, which carries the way's ``t`` through a run.

    Attributes:
        way: whose end it is, and whose schedule goes on with every step.
    """

    way: InterpolatedTeacher

    @property
    def vocabulary(self) -> Any:
        """What its ids mean."""
        return self.way.teacher.vocabulary

    def open(self, machine: Machine) -> EndOfWay:
        """Open the way."""
        return dataclasses.replace(self, way=self.way.open(machine))

    def __call__(self, batch: Batch) -> Distribution:
        """What the teacher itself says, whatever ``t`` is."""
        return self.way.teacher(batch)


@dataclass(frozen=True)
class Blend:
    """Two terms, of which the first weighs ``1 - t`` and the second ``t``.

    Attributes:
        teacher: says what ``t`` is in this step.
    """

    teacher: EndOfWay

    def terms(
        self,
        objective: Sequence[Term],
        batch: Batch,
        student: Hidden,
        teacher: Distribution | None,
        counted: Mapping[str, int],
    ) -> list[Against]:
        """Both terms as `tutelage.estimators.PerToken` has them, with these weights."""
        t = self.teacher.way.t
        weighed = [
            dataclasses.replace(term, weight=weight)
            for term, weight in zip(objective, (1 - t, t), strict=True)
        ]
        return PerToken().terms(weighed, batch, student, teacher, counted)


def blend(recipe: Recipe) -> float:
    """Train the student of a recipe with its two terms blended, or go on with it.

    Args:
        recipe: with an `interpolated` teacher, which says ``t`` and whose end is what both terms look at.

    Returns:
        Seconds of processor time; NaN where an earlier call had begun it.
    """
    out, training = Path(recipe.out), recipe.training
    begun, before = out.exists(), time.process_time()
    out.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(recipe)
    shelf = Shelf(accelerator)
    student = shelf.student(recipe, recipe.seed)
    way = shelf.teacher(recipe.teacher)
    assert isinstance(way, InterpolatedTeacher)
    teacher = moving.beside(EndOfWay(way), Running(student, training.max_steps))
    assert isinstance(teacher, EndOfWay)
    samples = shelf.samples(recipe.samples, student).shared_out(
        seed=recipe.seed,
        micro_rows=training.per_device_train_batch_size,
        micro_steps=training.gradient_accumulation_steps,
    )
    learner = Learner(student, recipe.objective, Blend(teacher), meeting(student, teacher))
    constraint = constraint_of(recipe)
    words = Words(learner, teacher, samples, constraint, training, training.max_steps, recipe.seed)
    logging = training.logging_steps
    with Metrics(out / "metrics.jsonl", training.max_steps, logging, "blend", quiet=False) as metrics:
        train(words, out, accelerator, metrics, dict)
    save_student(student, out / "student")
    accelerator.free_memory()
    return float("nan") if begun else time.process_time() - before
