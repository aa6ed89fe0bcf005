"""A few steps of the actual recipe in a process of its own: what it takes, in bytes and in seconds.

`tutelage.forecast` starts it as ``python -m tutelage.run.trial FOLDER`` and reads the answer, so that the
peak of memory is that of the recipe alone. Every arm is run with its first seed by the loop that runs the
recipe itself, then measured, saved and concluded as a run is.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tutelage.errors import TutelageError
from tutelage.evaluation.held_out import HeldOut
from tutelage.evaluation.intervals import over_rows
from tutelage.interfaces import Running
from tutelage.objective import Term
from tutelage.recipes import Recipe, SamplesWord, read
from tutelage.recipes.recipe import PER_TOKEN
from tutelage.run.check import judged, led_by_others, machine_bytes, peak_resident_bytes, unigram_nats
from tutelage.run.loop import Words, train
from tutelage.run.opened import Shelf, open_words, try_objective
from tutelage.run.single import Job, Probe, leave, opened_job
from tutelage.run.stopwatch import CLOCKS, Chosen, Clock, Stopwatch, order_of_trial, sizes_of_steps, until
from tutelage.run.study import conclude, jobs_of, make_accelerator, measure_untouched
from tutelage.samples.dataset import DatasetSamples
from tutelage.teachers import moving

QUESTION, ANSWER = "question.json", "answer.json"
LEAST, MOST = 3, 16
"""Steps of an arm: one to warm up and two more, then as many as patience allows."""


def tried(
    recipe: Recipe, out: Path, patience: float, pilot: int, now: Clock = time.perf_counter
) -> dict[str, Any]:
    """Try a recipe.

    Args:
        recipe: nothing is written to its own folder.
        out: an empty folder.
        patience: seconds that are spent on the steps of an arm beyond the least.
        pilot: steps of training without a teacher, to be compared with it; 0 for none.
        now: the clock.

    Returns:
        What `tutelage.forecast.probe.Probed` holds: seconds, bytes, nats.
    """
    spent, began = time.process_time(), now()
    recipe = _apart(recipe, out)
    for _, _, arm in recipe.runs():
        try_objective(arm)
    accelerator = make_accelerator(recipe)
    shelf = Shelf(accelerator, out)
    every = jobs_of(recipe)
    jobs = [job for job in every if job.seed == every[0].seed]
    for job in every:
        open_words(job.recipe, shelf)
    opened = now()
    measure_untouched(recipe, jobs, shelf, accelerator)
    touched = now()
    arms = {job.arm: _arm(job, shelf, accelerator, patience, now) for job in jobs}
    tried_all = now()
    conclude(out, recipe, jobs, shelf, accelerator)
    ended = now()
    found: dict[str, Any] = {
        "device": accelerator.device.type,
        "peak_bytes": _peak(accelerator),
        "machine_bytes": machine_bytes(accelerator.device.type),
        "loading_processor_seconds": spent,
        "opening_seconds": opened - began,
        "untouched_seconds": touched - opened,
        "concluding_seconds": ended - tried_all,
        "jobs": len(every),
        "arms": arms,
    }
    found["nats"] = _nats(recipe, shelf, accelerator, pilot)
    return found | {"inner_seconds": now() - began}


def _apart(recipe: Recipe, out: Path) -> Recipe:
    """The recipe with another folder, text that a teacher writes kept there too, and no tracker told."""
    options = dict(recipe.samples.options)
    if "store" in options:
        options["store"] = None
    return dataclasses.replace(
        recipe,
        out=str(out),
        samples=SamplesWord(recipe.samples.kind, options),
        training=dataclasses.replace(recipe.training, report_to=()),
        arms={name: _apart(arm, out) for name, arm in recipe.arms.items()},
    )


def _arm(job: Job, shelf: Shelf, accelerator: Accelerator, patience: float, now: Clock) -> dict[str, Any]:
    """Seconds and tokens of some steps of one arm."""
    shelf.accelerator = accelerator = make_accelerator(job.recipe)
    began = now()
    words, running = opened_job(job, shelf, accelerator)
    samples: Any = words.samples
    probe = Probe(job, shelf, running, accelerator)
    order = order_of_trial(samples, words.steps, MOST)
    chosen = Chosen(samples, order, now)
    watch = Stopwatch(job.folder / "metrics.jsonl", words.steps, now)
    # Measured and saved once, after the last step of the trial.
    never = {"eval_steps": words.steps + 1, "save_steps": words.steps + 1}
    training = dataclasses.replace(words.training, **never)
    short = dataclasses.replace(words, samples=chosen, training=training)
    ready = now()
    train(short, job.folder, accelerator, watch, probe, until(patience, LEAST, len(order)))
    trained = now()
    leave(job, running, probe, shelf)
    left = now()
    assert watch.evaluated is not None
    computing = [ended - there for (_, there), ended in zip(chosen.moments, watch.stepped, strict=True)]
    accelerator.free_memory()
    return {
        "steps": words.steps,
        "order": order[: len(computing)],
        "padded_tokens": chosen.padded,
        "computing_seconds": computing,
        "writing_seconds": [there - asked for asked, there in chosen.moments],
        "counted_tokens_per_step": watch.counted / len(computing),
        "rows_per_step": samples.rows_per_step,
        "examples": len(samples.examples),
        "steps_per_collection": getattr(samples, "steps_per_collection", 1),
        "padded_tokens_of_run": _whole(words) if samples.any_order else None,
        "teacher_seconds": _teacher(words, chosen, accelerator, now),
        "beginning_seconds": ready - began,
        "evaluating_seconds": watch.evaluated - watch.stepped[-1],
        "saving_seconds": trained - watch.evaluated,
        "leaving_seconds": left - trained,
    }


def _whole(words: Words) -> float:
    sizes = sizes_of_steps(words.samples, words.steps)
    return sum(sizes.values()) / len(sizes) * words.steps


def _teacher(words: Words, chosen: Chosen, accelerator: Accelerator, now: Clock) -> float | None:
    """Seconds of its forward pass in the last step; None for one that says nothing without the student."""
    teacher = words.teacher
    if teacher is None or moving.of_student(teacher) or moving.moves(teacher):
        return None
    batches = [batch.to(accelerator.device) for batch in chosen.micro_batches(len(chosen.moments) - 1)]
    chosen.moments.pop()
    chosen.padded.pop()
    began = now()
    with torch.no_grad():
        for batch in batches:
            teacher(batch)
    return now() - began


def _nats(recipe: Recipe, shelf: Shelf, accelerator: Accelerator, pilot: int) -> dict[str, Any]:
    """What teacher, untouched student, single-token frequencies and a pilot need for the held-out text."""
    single = judged(recipe)
    student = shelf.student(single, single.seed)
    probe = Probe(Job("check", single.seed, single, Path(single.out)), shelf, Running(student), accelerator)
    samples = shelf.samples(single.samples, student)
    told: dict[str, Any] = {"held_out": bool(probe.batches), "led": led_by_others(single)}
    if not probe.batches:
        rows = single.training.per_device_train_batch_size
        probe.batches = [batch.to(accelerator.device) for batch in samples.in_order(rows, 100)]
    found = probe.held_out()
    told |= {name: dataclasses.asdict(over_rows(sums, found.tokens)) for name, sums in found.sums.items()}
    told |= {"rows": len(found.tokens), "tokens": int(found.tokens.sum())}
    told["unigram_nats"] = unigram_nats(samples.examples, probe.batches, student.vocabulary.width)
    if "teacher_nats" not in found.sums:
        return told
    told["teacher_minus_student"] = _difference(found.sums["teacher_nats"], found, "student_nats")
    if pilot and told["held_out"] and single.needs_teacher:
        began = time.perf_counter()
        after = _piloted(single, pilot, shelf, accelerator)
        told["pilot"] = {
            "steps": pilot,
            "seconds": time.perf_counter() - began,
            "student_nats": after.mean("student_nats"),
            "minus_teacher": _difference(after.sums["student_nats"], found, "teacher_nats"),
        }
    return told


def _difference(sums: torch.Tensor, found: HeldOut, other: str) -> dict[str, float]:
    return dataclasses.asdict(over_rows(sums - found.sums[other], found.tokens))


def _piloted(recipe: Recipe, steps: int, shelf: Shelf, accelerator: Accelerator) -> HeldOut:
    """The untouched student after some steps on the written tokens alone, on the held-out text."""
    known = {one.name for one in dataclasses.fields(DatasetSamples)}
    options = {name: value for name, value in recipe.samples.options.items() if name in known}
    training = dataclasses.replace(
        recipe.training,
        max_steps=steps,
        eval_steps=steps,
        save_steps=steps,
        warmup_steps=min(recipe.training.warmup_steps, steps // 10),
    )
    plain = dataclasses.replace(
        recipe,
        teacher=None,
        objective=(Term("cross_entropy", against="gold"),),
        estimator=PER_TOKEN,
        samples=SamplesWord("dataset", options),
        training=training,
    )
    job = Job("pilot", recipe.seed, plain, Path(recipe.out, "pilot"))
    words, running = opened_job(job, shelf, accelerator)
    probe = Probe(job, shelf, running, accelerator)
    train(words, job.folder, accelerator, Stopwatch(job.folder / "metrics.jsonl", steps), dict)
    return probe.held_out()


def _peak(accelerator: Accelerator) -> int:
    if accelerator.device.type == "cuda":
        return torch.cuda.max_memory_reserved()
    return peak_resident_bytes()


def main(folder: str) -> int:
    """Answer the question in a folder; the exit status."""
    place = Path(folder)
    asked = json.loads((place / QUESTION).read_text(encoding="utf-8"))
    try:
        recipe = dataclasses.replace(read(asked["recipe"]), where=asked["where"])
        answer = tried(recipe, place / "out", asked["patience"], asked["pilot"], CLOCKS[asked["clock"]])
    except TutelageError as error:
        answer = {"error": {"problem": error.problem, "expected": error.expected, "fix": error.fix}}
    (place / ANSWER).write_text(json.dumps(answer), encoding="utf-8")
    return 2 if "error" in answer else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
