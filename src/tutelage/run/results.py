"""What came out of a study: the table of arms, what the models write, and where they differ."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from tutelage.evaluation.calibration import ece
from tutelage.evaluation.held_out import measured_positions
from tutelage.evaluation.intervals import over_seeds, spread, t95
from tutelage.interfaces import Machine, Running
from tutelage.models import load_model, write
from tutelage.recipes import Recipe, written
from tutelage.run.opened import Shelf
from tutelage.run.single import MEASURED, Job, Probe

COMPARED = ("student_nats", "forward_kl_nats", "agreement")
CURVES = ("eval_student_nats", "eval_forward_kl_nats", "loss_nats", "teacher_t", "teacher_ramp")
WRITING_TEMPERATURE = 0.7
HEAT_TOKENS = 160


def results(recipe: Recipe, jobs: list[Job], untouched: dict[int, Any]) -> dict[str, Any]:
    """The table of arms, their differences from the control arm, and the noise floor.

    Differences are paired by seed; intervals are Student's t over seeds, 95 %.
    """
    arms = []
    if untouched:
        arms.append(_arm("untouched", "the student before training", untouched, []))
    by_arm: dict[str, list[Job]] = {}
    for job in jobs:
        by_arm.setdefault(job.arm, []).append(job)
    for name, members in by_arm.items():
        measured = {
            job.seed: json.loads((job.folder / MEASURED).read_text(encoding="utf-8")) for job in members
        }
        what = " + ".join(str(term) for term in members[0].recipe.objective)
        arms.append(_arm(name, what, measured, [_curve(job) for job in members]))
    found: dict[str, Any] = {"arms": arms}
    first = next(iter(arms), None)
    measured = json.loads((jobs[0].folder / MEASURED).read_text(encoding="utf-8"))
    if recipe.evaluation is not None and measured["tokens"]:
        found["held_out"] = {
            "path": written(recipe.evaluation.data),
            "rows": measured["rows"],
            "tokens": measured["tokens"],
        }
    if "teacher_nats" in measured["numbers"]:
        found["teacher"] = {"nats_per_token": measured["numbers"]["teacher_nats"]}
    control = recipe.control or (first["name"] if first and len(arms) > 1 else None)
    if control is not None:
        found["compared_with"] = control
        found["differences"] = _differences(arms, control)
        found["noise_floor"] = _noise_floor(arms, control)
    return found


def texts(recipe: Recipe, jobs: list[Job], shelf: Shelf) -> list[dict[str, Any]]:
    """What teacher, untouched student and each arm write for every prompt, at temperature 0.7, one seed."""
    assert recipe.evaluation is not None
    prompts = list(recipe.evaluation.prompts)
    if not prompts:
        return []
    length = recipe.evaluation.max_new_tokens

    def continued(model: Any) -> list[str]:
        return write(
            model, prompts, max_new_tokens=length, seed=jobs[0].seed, temperature=WRITING_TEMPERATURE
        )

    writers: dict[str, list[str]] = {}
    teacher = shelf.teacher(recipe.teacher)
    if getattr(teacher, "loaded", None) is not None:
        writers["teacher"] = continued(teacher.loaded)  # type: ignore[union-attr]
    writers["untouched"] = continued(shelf.student(recipe, jobs[0].seed))
    for job in jobs:
        if job.arm not in writers:
            writers[job.arm] = continued(load_model(str(job.folder / "student"), machine=Machine()))
    return [
        {"prompt": prompt, "texts": [{"writer": name, "text": text[i]} for name, text in writers.items()]}
        for i, prompt in enumerate(prompts)
    ]


def heat(jobs: list[Job], shelf: Shelf, accelerator: Accelerator) -> list[dict[str, Any]]:
    """Token by token, where each arm's student and the teacher differ on the first held-out text; one seed.

    Which of them a report shows is the report's to say.
    """
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(job.arm, job)
    drawn = [_heat(job, shelf, accelerator) for job in first.values()]
    return [one for one in drawn if one is not None]


def _heat(job: Job, shelf: Shelf, accelerator: Accelerator) -> dict[str, Any] | None:
    student = load_model(str(job.folder / "student"), machine=shelf.machine)
    untouched = Running(shelf.student(job.recipe, job.seed))
    probe = Probe(job, shelf, untouched, accelerator, trained=student)
    if not probe.batches or probe.teacher is None:
        return None
    # The whole row: a teacher on disk knows rows, not beginnings of them.
    batch = probe.batches[0].first(probe.batches[0].tokens.shape[1])
    said, told = probe.pair(batch)
    nats = measured_positions(batch, said, told)["forward_kl_nats"].tolist()
    own = said.log_probs()
    best = [_first(log_probs, student.tokenizer) for log_probs in (own, told.log_probs(student=own))]
    tokens, index = [], 0
    row = zip(batch.tokens[0], batch.mask[0], batch.attention[0], strict=True)
    for token, counted, real in itertools.islice(row, HEAT_TOKENS):
        if not real:
            continue
        shown: dict[str, Any] = {"token": student.tokenizer.decode([int(token)]), "counted": bool(counted)}
        if counted:
            shown |= {"nats": max(nats[index], 0.0), "student": best[0][index], "teacher": best[1][index]}
            index += 1
        tokens.append(shown)
    return {"arm": job.arm, "seed": job.seed, "divergence": "forward_kl", "tokens": tokens}


def _first(log_probs: Tensor, tokenizer: Any) -> list[tuple[str, float]]:
    best = log_probs.max(-1)
    return [
        (tokenizer.decode([int(token)]), float(log_prob.exp()))
        for token, log_prob in zip(best.indices, best.values, strict=True)
    ]


def _arm(name: str, what: str, measured: dict[int, Any], curves: list[dict[str, Any]]) -> dict[str, Any]:
    seeds = sorted(measured)
    names = measured[seeds[0]]["numbers"]
    numbers = {
        key: [measured[seed]["numbers"][key] for seed in seeds] for key in names if key != "teacher_nats"
    }
    arm = {"name": name, "what": what, "seeds": seeds, "numbers": numbers, "curves": curves}
    # A run that went on after an older version has seeds that were measured without it.
    bins = [one["calibration"] for one in measured.values() if "calibration" in one]
    if len(bins) == len(measured) and measured[seeds[0]]["tokens"]:
        whole = torch.tensor(bins, dtype=torch.float64).sum(0)
        arm["calibration"] = {"error": ece(whole), "bins": whole.tolist()}
    return arm


def _curve(job: Job) -> dict[str, Any]:
    # One list a metric, as long as the steps; None where a step was not measured.
    path = job.folder / "metrics.jsonl"
    by_step: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        numbers = json.loads(line)
        by_step.setdefault(numbers.pop("step"), {}).update(numbers)
    names = [name for name in CURVES if any(name in numbers for numbers in by_step.values())]
    steps = sorted(by_step)
    return {"seed": job.seed, "step": steps} | {
        name: [by_step[step].get(name) for step in steps] for name in names
    }


def _differences(arms: list[dict[str, Any]], control: str) -> list[dict[str, Any]]:
    reference = next(arm for arm in arms if arm["name"] == control)
    found = []
    for arm in arms:
        if arm is reference:
            continue
        for metric in COMPARED:
            if metric not in arm["numbers"] or metric not in reference["numbers"]:
                continue
            pairs = _paired(arm, reference, metric)
            interval = over_seeds([ours - theirs for ours, theirs in pairs])
            ends = {"low": interval.low, "high": interval.high} if not math.isnan(interval.low) else {}
            found.append(
                {"arm": arm["name"], "metric": metric, "mean": interval.mean, "low": None, "high": None}
                | ends
                | {"confidence": 0.95, "seeds": len(pairs)}
            )
    return found


def _paired(arm: dict[str, Any], reference: dict[str, Any], metric: str) -> list[tuple[float, float]]:
    theirs: dict[int, float]
    ours: dict[int, float]
    # An untouched student that exists was measured once; it stands beside every seed.
    theirs = dict(zip(reference["seeds"], reference["numbers"][metric], strict=True))
    ours = dict(zip(arm["seeds"], arm["numbers"][metric], strict=True))
    if len(theirs) == 1:
        theirs = dict.fromkeys(ours, next(iter(theirs.values())))
    if len(ours) == 1:
        ours = dict.fromkeys(theirs, next(iter(ours.values())))
    return [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def _noise_floor(arms: list[dict[str, Any]], control: str) -> dict[str, Any]:
    numbers = next(arm for arm in arms if arm["name"] == control)["numbers"]
    floor: dict[str, Any] = {}
    for metric in COMPARED:
        values = numbers.get(metric, [])
        if len(values) > 1:
            floor[metric] = t95(len(values) - 1) * spread(values) * math.sqrt(2 / len(values))
    return floor | {
        "how": f"what two groups of as many seeds of '{control}' differ by in 95 of 100 cases "
        "(Student's t times the spread over its seeds)"
        if floor
        else "one seed: the noise of chance was not measured"
    }
