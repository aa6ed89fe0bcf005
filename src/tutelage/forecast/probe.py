"""A trial of a recipe on this machine, in a process of its own, carried on to the whole run."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import TutelageError
from tutelage.plans.duration import Duration
from tutelage.recipes import Recipe

TRIAL = "tutelage.run.trial"
QUESTION, ANSWER = "question.json", "answer.json"
PATIENCE = 8.0
"""Seconds that are spent on an arm's steps beyond the least, so that a busy moment does not decide."""


SETTLING = 1.04
"""A run's peak over that of its trial: what allocators add in more steps than a trial has. Measured on
recipes of the library (``benchmarks/plan.json``)."""


@dataclass(frozen=True)
class Probed:
    """What a trial measured.

    Attributes:
        device: ``cpu`` or ``cuda``.
        peak_bytes: of the run's memory (resident on a CPU, reserved by torch on a GPU): the trial's times
            `SETTLING`.
        machine_bytes: that there are.
        duration: of the whole run, by what takes it.
        seconds: that the trial itself took.
        nats: of teacher, untouched student, single-token frequencies and pilot on held-out text.
        measured: everything the trial answered.
    """

    device: str
    peak_bytes: int
    machine_bytes: int
    duration: Duration
    seconds: float
    nats: Mapping[str, Any]
    measured: Mapping[str, Any]


def probe(
    recipe: Recipe,
    *,
    pilot: int = 0,
    patience: float = PATIENCE,
    clock: Literal["wall", "processor"] = "wall",
) -> Probed:
    """Try a recipe for a few steps of every arm and carry what was measured on to the whole run.

    Args:
        recipe: nothing is written to its folder.
        pilot: steps of training without a teacher, to be compared with it; 0 for none.
        patience: seconds that are spent on the steps of an arm beyond the least.
        clock: what seconds are: those that pass, or those that processors spend on the process.

    Raises:
        TutelageError: something cannot be used, or the trial did not end (for want of memory, most likely).
    """
    with tempfile.TemporaryDirectory(prefix="tutelage-trial-") as scratch:
        folder = Path(scratch)
        asked = {
            "recipe": recipe.resolved(),
            "where": dict(recipe.where),
            "patience": patience,
            "pilot": pilot,
            "clock": clock,
        }
        (folder / QUESTION).write_text(json.dumps(asked), encoding="utf-8")
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", TRIAL, str(folder)],
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        seconds = time.perf_counter() - began
        answer = _answer(folder, done)
    wall = max(0.0, seconds - answer["inner_seconds"])
    starting = wall if clock == "wall" else answer["loading_processor_seconds"]
    return Probed(
        answer["device"],
        round(SETTLING * answer["peak_bytes"]),
        int(answer["machine_bytes"]),
        carried_on(recipe, answer, starting),
        seconds,
        answer["nats"],
        answer,
    )


def carried_on(recipe: Recipe, answer: Mapping[str, Any], starting: float) -> Duration:
    """How long the whole run takes, from what a trial measured.

    Args:
        recipe: that was tried.
        answer: of `tutelage.run.trial`.
        starting: seconds until a process is ready to open anything.
    """
    seeds: dict[str, int] = {}
    first: dict[str, Recipe] = {}
    for name, _, arm in recipe.runs():
        seeds[name] = seeds.get(name, 0) + 1
        first.setdefault(name, arm)
    total = Duration(
        training=0.0,
        evaluation=answer["untouched_seconds"],
        rest=starting + answer["opening_seconds"] + answer["concluding_seconds"],
    )
    if recipe.student.config is not None:
        # A new student is another one for every seed, and measured before training.
        again = statistics.fmean(arm["evaluating_seconds"] for arm in answer["arms"].values())
        total += Duration(0.0, evaluation=(max(seeds.values()) - 1) * again)
    for name, measured in answer["arms"].items():
        for number in range(seeds[name]):
            total += _run(first[name], measured, number)
    return total


def _run(arm: Recipe, measured: Mapping[str, Any], number: int) -> Duration:
    """One run of an arm; the ``number``-th of its seeds finds text that earlier ones had a teacher write."""
    computing, padded = measured["computing_seconds"], measured["padded_tokens"]
    steps, training = measured["steps"], arm.training
    after = slice(1, None) if len(computing) > 1 else slice(None)
    # Time of a step goes with its tokens, padding included; the first step warms up and is told apart.
    per_token = sum(computing[after]) / sum(padded[after])
    whole = measured["padded_tokens_of_run"]
    if whole is None or arm.samples.kind != "dataset":
        whole = statistics.fmean(padded[after]) * steps
    learning = per_token * whole + max(0.0, computing[0] - per_token * padded[0])
    asked = measured["teacher_seconds"]
    teacher = 0.0 if asked is None else min(0.9 * learning, asked / padded[-1] * whole)
    evaluations = math.ceil(steps / training.eval_steps)
    saves = math.ceil(steps / training.save_steps)
    return Duration(
        training=learning - teacher,
        teacher=teacher,
        writing=_writing(arm, measured, number),
        evaluation=evaluations * measured["evaluating_seconds"] + measured["leaving_seconds"],
        rest=measured["beginning_seconds"] + saves * measured["saving_seconds"],
    )


def _writing(arm: Recipe, measured: Mapping[str, Any], number: int) -> float:
    steps, each = measured["steps"], measured["steps_per_collection"]
    # A step that a trial makes again finds what a teacher wrote for it: only its first time counts.
    first = dict(reversed(list(zip(measured["order"], measured["writing_seconds"], strict=True))))
    starts = [first[place] for place in dict.fromkeys(measured["order"]) if place % each == 0]
    later = starts[1:] or starts
    collections = math.ceil(steps / each)
    options = arm.samples.options
    theirs = 1.0 if arm.samples.kind == "teacher" else float(options.get("teacher", 0.0))
    share = theirs / (theirs + float(options.get("student", 0.0))) if theirs else 0.0
    whole = statistics.fmean(later) * collections
    if not share:
        return whole
    # A teacher writes a text once; what is drawn in another order for another seed is partly there already.
    rows = measured["examples"] * float(options.get("copies", 1))
    needed = min(1.0, theirs * steps * measured["rows_per_step"] / each / rows)
    seen = 1 - (1 - needed) ** number
    once = min(1.0, rows / max(1.0, theirs * steps * measured["rows_per_step"] / each))
    return whole * (1 - share + share * once * (1 - seen))


def _answer(folder: Path, done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    path = folder / ANSWER
    if not path.is_file():
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        killed = done.returncode < 0
        raise TutelageError(
            f"the trial ended with status {done.returncode}: {said[-1] if said else 'without a word'}",
            expected="a few steps of the recipe",
            fix="killed for want of memory, most likely: plan with `--no-probe`, which says what to change"
            if killed
            else "run `tutelage check` on the recipe, or plan with `--no-probe`",
        )
    answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "error" in answer:
        raise TutelageError(**answer["error"])
    return answer
