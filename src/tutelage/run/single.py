"""One student, one seed: open the words, train, save, measure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tutelage.distribution import Distribution, left_out
from tutelage.evaluation.calibration import BINS
from tutelage.evaluation.held_out import HeldOut, measure
from tutelage.files import write_text
from tutelage.interfaces import Batch, Running, Teacher
from tutelage.models import LanguageModel, merged, save_student
from tutelage.recipes import Recipe
from tutelage.run.learner import Learner, meet, recompute_activations, said_by
from tutelage.run.loop import Words, train
from tutelage.run.metrics import Metrics
from tutelage.run.opened import Shelf, constraint_of, estimator_of, meeting, only_shared, steps_of
from tutelage.teachers import moving

MEASURED = "measured.json"


@dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
        arm: its name among the arms.
        seed: of every stream of chance.
        recipe: with the arm's changes made.
        folder: where its student, metrics and state go.
        report_teacher: a teacher to measure against where the arm itself has none.
    """

    arm: str
    seed: int
    recipe: Recipe
    folder: Path
    report_teacher: Any = None

    @property
    def done(self) -> bool:
        """Whether the student is saved and measured."""
        return (self.folder / MEASURED).is_file() and (self.folder / "student" / "config.json").is_file()


def run_job(job: Job, shelf: Shelf, accelerator: Accelerator) -> None:
    """Train one student, from its last state if there is one, and leave its folder complete."""
    recipe, training = job.recipe, job.recipe.training
    job.folder.mkdir(parents=True, exist_ok=True)
    student = shelf.student(recipe, job.seed)
    if training.gradient_checkpointing:
        recompute_activations(student.model)
    teacher = shelf.teacher(recipe.teacher) if recipe.needs_teacher else None
    samples = shelf.samples(recipe.samples, student).shared_out(
        seed=job.seed,
        micro_rows=training.per_device_train_batch_size,
        micro_steps=training.gradient_accumulation_steps,
        processes=accelerator.num_processes,
        process=accelerator.process_index,
    )
    steps = steps_of(training, samples)
    running = Running(student, steps)
    followed = None if teacher is None else moving.beside(teacher, running)
    shared = meeting(student, followed)
    only_shared(samples, shared, student)
    samples = samples.written_with(shelf.writers(recipe, student, shared, teacher))
    asked = followed if recipe.compares else None  # one that only writes is not asked
    estimator = estimator_of(recipe, steps)
    learner = Learner(student, recipe.objective, estimator, shared, moving.watches(asked))
    words = Words(learner, asked, samples, constraint_of(recipe), training, steps, job.seed)
    probe = Probe(job, shelf, running, accelerator)
    metrics = Metrics(
        job.folder / "metrics.jsonl",
        steps,
        training.logging_steps,
        f"{job.arm} seed {job.seed}",
        quiet=not accelerator.is_main_process,
        track=_tracker(recipe, accelerator, job),
    )
    with metrics:
        for line in moving.warnings(asked):
            metrics.say(f"warning: {line}")
        train(words, job.folder, accelerator, metrics, probe)
    if accelerator.is_main_process:
        # Before its adapters are merged: its teacher may be the student without them.
        measured = _measured(probe.held_out()) | {"models": _models(student, teacher)}
        save_student(merged(student), job.folder / "student")
        write_text(job.folder / MEASURED, json.dumps(measured, indent=1))
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.wait_for_everyone()
    accelerator.free_memory()


class Probe:
    """Measures a student on the held-out text of its recipe.

    Args:
        job: the run.
        shelf: where teachers and text are open.
        running: its student is measured as it changes; a teacher may be made of it as it is now.
        accelerator: only the first process measures.
        trained: another student, which is measured instead of the run's.
    """

    def __init__(
        self,
        job: Job,
        shelf: Shelf,
        running: Running,
        accelerator: Accelerator,
        trained: LanguageModel | None = None,
    ) -> None:
        self.student: LanguageModel = trained or running.student
        shown = shelf.measuring(job.recipe.teacher or job.report_teacher)
        self.teacher: Teacher | None = None if shown is None else moving.beside(shown, running)
        self.shared = meeting(self.student, self.teacher)
        self._of_run = self.teacher is not shown
        self.accelerator = accelerator
        self.batches = shelf.held_out(job.recipe, self.student)
        self._shelf = shelf
        self._learner = Learner(self.student, (), None, self.shared)

    def __call__(self) -> Mapping[str, float]:
        """Means per counted token, by the names of ``metrics.jsonl``; empty without held-out text."""
        if not self.accelerator.is_main_process or not self.batches:
            return {}
        found = {f"eval_{name}": value for name, value in self.held_out().means().items()}
        return found | {f"eval_{name}": value for name, value in self.outside().items()}

    def held_out(self) -> HeldOut:
        """Every measure by row of text."""
        training = self.student.model.training
        self.student.model.eval()
        try:
            told = self._told if self.teacher is not None else None
            return measure(self.batches, self.said, told, getattr(self.teacher, "gold_log_probs", None))
        finally:
            self.student.model.train(training)

    def outside(self) -> dict[str, float]:
        """The mass that student and teacher put on tokens they do not share, on the first batch."""
        batch = self.batches[0]
        model, shared = self.student.model, self.shared
        never = shared.never_on(batch.tokens.device)
        training = model.training
        model.eval()
        with torch.no_grad():
            rows = slice(0, 64)
            found = {
                "mass_left_out_student": float(
                    left_out(said_by(model, batch), shared.width, never, rows).mean()
                )
            }
            if self.teacher is not None:
                told = self._said(self.teacher, batch)
                own = self.said(batch).log_probs(rows) if self._of_run else None
                found["mass_left_out"] = float(left_out(told, shared.width, never, rows, own).mean())
        model.train(training)
        return found

    def examined(self) -> HeldOut:
        """What else the teacher tells about itself (`tutelage.teachers.moving.examined`), by row of text."""
        nothing = torch.zeros(0).double()
        tokens, sums = [nothing], {}
        self.student.model.eval()
        with torch.no_grad():
            for batch in (batch for batch in self.batches if batch.counted):
                rows, texts = batch.positions[0].cpu(), len(batch.writers)
                tokens.append(torch.bincount(rows, minlength=texts).double())
                for name, values in moving.examined(self.teacher, batch, self.said).items():
                    by_row = torch.zeros(texts).double().index_add(0, rows, values.double().cpu())
                    sums.setdefault(name, []).append(by_row)
        joined = {name: torch.cat(parts) for name, parts in sums.items()}
        return HeldOut(torch.cat(tokens), joined, torch.zeros(0, BINS, 3).double())

    def said(self, batch: Batch) -> Distribution:
        """The student's rows on the shared tokens."""
        return self._learner.rows(batch)

    def pair(self, batch: Batch) -> tuple[Distribution, Distribution]:
        """Student's and teacher's rows at the counted positions of a batch, without gradients."""
        self.student.model.eval()
        with torch.no_grad():
            return self.said(batch), self._told(batch)

    def _told(self, batch: Batch) -> Distribution:
        assert self.teacher is not None
        return meet(self._said(self.teacher, batch), self.shared)

    def _said(self, teacher: Teacher, batch: Batch) -> Distribution:
        # One that was made for this run may move with it, and must not outlive it on the shelf.
        return teacher(batch) if self._of_run else self._shelf.told(teacher, batch)


def _measured(found: HeldOut) -> dict[str, Any]:
    return {
        "numbers": found.means(),
        "rows": len(found.tokens),
        "tokens": int(found.tokens.sum()),
        "calibration": found.bins.sum(0).tolist(),
    }


def _models(student: LanguageModel, teacher: Any) -> dict[str, Any]:
    # A scaling law speaks of parameters without embeddings and of losses per token of one vocabulary.
    def sizes(model: LanguageModel) -> dict[str, Any]:
        return {
            "parameters": model.parameters,
            "inner_parameters": model.inner_parameters,
            "vocabulary": model.vocabulary.width,
            "vocabulary_sha256": model.vocabulary.digest,
        }

    loaded = getattr(teacher, "loaded", None)
    return {"student": sizes(student)} | ({} if loaded is None else {"teacher": sizes(loaded)})


def _tracker(recipe: Recipe, accelerator: Accelerator, job: Job) -> Any:
    if not recipe.training.report_to:
        return None
    if not accelerator.trackers:
        accelerator.init_trackers("tutelage")
    name = f"{job.arm}/seed-{job.seed}"
    return lambda numbers, step: accelerator.log({f"{name}/{k}": v for k, v in numbers.items()}, step=step)
