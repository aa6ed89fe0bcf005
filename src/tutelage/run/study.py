"""A whole recipe: every arm and seed, beside the untouched student, then what came out of them.

A recipe without arms is a study of one arm called ``student``. Every (arm, seed) has a folder of its
own and is skipped when it is complete, so a killed study goes on where it was.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration

from tutelage.compiled import NOT_COMPILED
from tutelage.errors import MissingExtra, TutelageError
from tutelage.files import write_text
from tutelage.interfaces import Running
from tutelage.recipes import Recipe
from tutelage.run import provenance
from tutelage.run.opened import Shelf, open_words, try_objective
from tutelage.run.results import heat, results, texts
from tutelage.run.single import MEASURED, Job, Probe, run_job

UNTOUCHED = "untouched"


def distil(recipe: Recipe, *, command: str = "") -> Path:
    """Do what a recipe says, or go on with it; the folder it leaves is described in the README.

    Args:
        recipe: what to run.
        command: how it was asked for, for the record.

    Returns:
        The run's folder.

    Raises:
        TutelageError: something the user gave cannot be used, or the folder holds another recipe's run.
    """
    out = Path(recipe.out)
    for _, _, arm in recipe.runs():
        try_objective(arm)
    accelerator = make_accelerator(recipe)
    began = time.monotonic()
    record = _found(out, recipe)
    if "finished" in record and all(job.done for job in jobs_of(recipe)):
        return out
    accelerator.wait_for_everyone()  # nobody writes the record before all have looked for it
    shelf = Shelf(accelerator, out)
    jobs = jobs_of(recipe)
    if not record:
        # Only a run that can begin takes its folder: a mended recipe must not meet its own failed attempt.
        for job in jobs:
            open_words(job.recipe, shelf)
        record = _claim(out, recipe, shelf, command)
    else:
        _same_caches(out, record, jobs, shelf)
    measure_untouched(recipe, jobs, shelf, accelerator)
    for job in jobs:
        if not job.done:
            shelf.accelerator = accelerator = make_accelerator(job.recipe)
            run_job(job, shelf, accelerator)
    if accelerator.is_main_process:
        conclude(out, recipe, jobs, shelf, accelerator)
        record["minutes"] = round(record.get("minutes", 0) + (time.monotonic() - began) / 60, 2)
        record["finished"] = provenance.now()
        record |= _opened(recipe, jobs, shelf)
        if NOT_COMPILED:
            record["not_compiled"] = NOT_COMPILED
        _write_json(out / "run.json", record)
    return out


def jobs_of(recipe: Recipe) -> list[Job]:
    """All (arm, seed) runs of a recipe with their folders."""
    reference = recipe.teacher
    return [Job(arm, seed, single, Path(single.out), reference) for arm, seed, single in recipe.runs()]


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Processes, device and precision of a run; one thread a core and no more."""
    training = recipe.training
    for tracker in training.report_to:
        # Accelerate leaves a tracker out without a word when its library is missing.
        if importlib.util.find_spec(tracker) is None:
            raise MissingExtra(tracker, "trackers")
    if not torch.cuda.is_available():
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        threads = os.environ.get("OMP_NUM_THREADS")
        torch.set_num_threads(int(threads) if threads else max(1, (os.cpu_count() or 1) // processes))
    # Accelerate remembers the first precision it was asked for; an arm, or the next run, may want another.
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="bf16" if training.bf16 else "no",
        log_with=list(training.report_to) or None,
        project_config=ProjectConfiguration(project_dir=recipe.out, logging_dir=recipe.out),
    )


def _found(out: Path, recipe: Recipe) -> dict[str, Any]:
    """The record that this recipe left in the folder before; empty in a new or empty folder."""
    path = out / "run.json"
    if path.exists():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            before = record["recipe_hash"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TutelageError(
                f"{path}: not the record of a run ({error})",
                expected="the run.json that tutelage wrote, or a folder without one",
                fix="choose another folder under `out:`",
            ) from error
        if before != recipe.hash:
            changed = recipe.difference(record["recipe"])
            raise TutelageError(
                f"{out}: holds the run of another recipe ({'; '.join(changed[:4]) or 'another version'})",
                expected="the recipe that began in this folder, or a new folder",
                fix="choose another folder with `out=...`, or remove this one",
            )
        return record
    if out.exists() and (not out.is_dir() or any(path.name != ".run.json.writing" for path in out.iterdir())):
        raise TutelageError(
            f"{out}: is not empty (or not a folder) and holds no run",
            expected="a new or empty folder, or the folder of this run",
            fix="choose another folder under `out:`; nothing in this one was touched",
        )
    return {}


def _same_caches(out: Path, record: dict[str, Any], jobs: list[Job], shelf: Shelf) -> None:
    """Refuse to go on with a cache that is not the one that the run began with."""
    for job in jobs:
        if job.recipe.needs_teacher and not job.done:
            shelf.teacher(job.recipe.teacher)
    before = record.get("caches", {})
    for place, identity in shelf.caches().items():
        if before.get(place, identity) != identity:
            raise TutelageError(
                f"{out}: the cache '{place}' is not the one that this run began with "
                f"({identity[:12]} now, {before[place][:12]} then)",
                expected="the same cache until the run has ended",
                fix="put the old one back, or choose another folder with `out=...`",
            )


def _claim(out: Path, recipe: Recipe, shelf: Shelf, command: str) -> dict[str, Any]:
    """Take a new folder for this recipe."""
    accelerator = shelf.accelerator
    record = {
        "sentence": recipe.sentence(),
        "recipe": recipe.resolved(),
        "recipe_hash": recipe.hash,
        "seeds": sorted({seed for _, seed, _ in recipe.runs()}),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "machine": provenance.machine(str(accelerator.device)) | {"processes": accelerator.num_processes},
        "data": [],
        **({"caches": shelf.caches()} if shelf.caches() else {}),
        "papers": list(recipe.papers),
        "command": command,
        "started": provenance.now(),
    }
    if accelerator.is_main_process:
        _write_json(out / "run.json", record)
    accelerator.wait_for_everyone()
    return record


def measure_untouched(recipe: Recipe, jobs: list[Job], shelf: Shelf, accelerator: Accelerator) -> None:
    """Measure the student as it is before training, once for every student that there is."""
    if recipe.evaluation is None or not accelerator.is_main_process:
        return
    # A student that exists is the same for every seed; a new one is drawn anew.
    seeds = sorted({job.seed for job in jobs})
    for seed in seeds if recipe.student.config is not None else seeds[:1]:
        path = _untouched(Path(recipe.out), seed)
        if not path.exists():
            job = Job(UNTOUCHED, seed, recipe, path.parent, recipe.teacher)
            probe = Probe(job, shelf, Running(shelf.student(recipe, seed)), accelerator)
            found = probe.held_out()
            write_text(
                path,
                json.dumps(
                    {"numbers": found.means(), "rows": len(found.tokens), "tokens": int(found.tokens.sum())}
                ),
            )


def _untouched(out: Path, seed: int) -> Path:
    return out / "state" / UNTOUCHED / f"seed-{seed}" / MEASURED


def conclude(out: Path, recipe: Recipe, jobs: list[Job], shelf: Shelf, accelerator: Accelerator) -> None:
    """Write what came out of complete jobs: the table, what the models write, where they differ."""
    untouched = {
        job.seed: json.loads(_untouched(out, job.seed).read_text(encoding="utf-8"))
        for job in jobs
        if _untouched(out, job.seed).exists()
    }
    _write_json(out / "results.json", results(recipe, jobs, untouched))
    if recipe.evaluation is not None:
        _write_json(out / "texts.json", texts(recipe, jobs, shelf))
        drawn = heat(jobs, shelf, accelerator)
        if drawn:
            _write_json(out / "heat.json", drawn)


def _opened(recipe: Recipe, jobs: list[Job], shelf: Shelf) -> dict[str, Any]:
    """How large the models are, and what was read."""
    # Where only arms name a teacher, that of the first that does stands for them.
    words = [recipe.teacher, *(job.recipe.teacher for job in jobs)]
    teacher = shelf.teacher(next((word for word in words if word is not None), None))
    told = {"parameters": getattr(teacher, "parameters", None), **getattr(teacher, "record", {})}
    known = {name: value for name, value in told.items() if value is not None}
    return {
        "student": {"parameters": shelf.student(recipe, 0).parameters},
        **({"teacher": known} if known else {}),
        "data": shelf.data_read(),
    }


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, default=dataclasses.asdict) + "\n")
