"""A recipe in, what it takes out; the machine is asked unless one says not to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tutelage.errors import OutOfRange, TutelageError
from tutelage.forecast.probe import Probed, probe
from tutelage.forecast.result import RecipePlan
from tutelage.forecast.shapes import FromShapes, from_shapes
from tutelage.forecast.worth import Worth, pilot_steps, worth
from tutelage.plans.duration import Duration, at_speed
from tutelage.plans.law import Laws
from tutelage.recipes import Recipe

STARTING = 15.0
"""Seconds of starting and ending a run of a small model, where nothing is measured."""

USUAL_STEPS = 64
"""Where neither the recipe nor its text tells how many steps a run has."""

CGROUP = Path("/sys/fs/cgroup/memory.max")


def plan_recipe(
    recipe: Recipe,
    *,
    trial: bool = True,
    memory_limit: int | None = None,
    flops_per_second: float | None = None,
    price_per_hour: float | None = None,
    laws: Laws | None = None,
    pilot: int | None = None,
) -> RecipePlan:
    """Whether a recipe fits, how long it takes, and whether its teacher is worth it.

    Args:
        recipe: nothing is written to its folder.
        trial: try a few steps on this machine; False goes by shapes alone, in a second, without torch.
        memory_limit: bytes; None takes what the machine has.
        flops_per_second: of the machine, for the time without a trial.
        price_per_hour: for a price, in any currency.
        laws: fitted to this very text; None goes by what is certain without one.
        pilot: steps of training without a teacher that the teacher has to beat; None takes about 5 % of the
            run, from 10 to 100; 0 leaves it out.

    Raises:
        TutelageError: something cannot be used, would be ignored or is out of range, or the trial failed.
    """
    _checked(memory_limit, price_per_hour, pilot)
    _told_in_vain(trial, flops_per_second, laws, pilot)
    notes: list[str] = []
    shapes = _shapes(recipe, trial, notes)
    limit = machine_bytes() if memory_limit is None else memory_limit
    probed = None
    if trial and shapes is not None and shapes.peak_bytes > limit:
        # A trial of what cannot fit ends with the whole machine out of memory.
        notes.append("not tried: from shapes it does not fit")
    elif trial:
        probed = probe(recipe, pilot=_pilot(pilot, shapes, laws))
        if probed.device != "cpu" and memory_limit is None:
            limit = probed.machine_bytes
    if probed is None:
        assert shapes is not None
        peak, duration, verdict = shapes.peak_bytes, _by_speed(shapes, flops_per_second, notes), None
    else:
        peak, duration = probed.peak_bytes, probed.duration
        verdict = _worth(recipe, probed, shapes, laws)
    found = () if peak <= limit or shapes is None else tuple(shapes.remedies(limit))
    return RecipePlan(shapes, probed, peak, limit, found, duration, price_per_hour, verdict, tuple(notes))


def machine_bytes() -> int:
    """Memory that this process may have: the machine's, or less where a control group says so."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(CGROUP.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return there


def _shapes(recipe: Recipe, trial: bool, notes: list[str]) -> FromShapes | None:
    try:
        shapes = from_shapes(recipe)
    except TutelageError as error:
        if not trial:
            raise
        notes.append(f"nothing from shapes: {error.problem}")
        return None
    if not all(arm.text.asked for arm in shapes.arms):
        notes.append("lengths of rows are uncertain: the text or its tokenizer could not be read here")
    return shapes


def _pilot(asked: int | None, shapes: FromShapes | None, laws: Laws | None) -> int:
    if asked is not None:
        return asked
    if laws is not None:
        return 0
    known = [] if shapes is None else [arm.steps for arm in shapes.arms if arm.steps is not None]
    return pilot_steps(max(known, default=USUAL_STEPS))


def _by_speed(shapes: FromShapes, speed: float | None, notes: list[str]) -> Duration | None:
    if speed is None:
        return None
    flops = shapes.flops
    if flops is None:
        notes.append("no time: how many steps there are is not known; set `training.max_steps`")
        return None
    return at_speed(flops, speed, rest=STARTING)


def _worth(recipe: Recipe, probed: Probed, shapes: FromShapes | None, laws: Laws | None) -> Worth:
    arms: Mapping[str, Mapping[str, float]] = probed.measured["arms"]
    runs = recipe.runs()
    name, _, single = next((run for run in runs if run[2].needs_teacher), runs[0])
    tokens = arms[name]["counted_tokens_per_step"] * arms[name]["steps"]
    parameters = None
    if shapes is not None:
        parameters = next(arm.step.student.parameters for arm in shapes.arms if arm.name == name)
    return worth(single, probed.nats, laws, parameters, tokens)


def _told_in_vain(trial: bool, speed: float | None, laws: Laws | None, pilot: int | None) -> None:
    """What would be ignored is refused."""
    vain = "a speed (`--flops-per-second`)" if trial and speed is not None else ""
    if not trial and (laws is not None or pilot is not None):
        vain = "a law (`--law`)" if laws is not None else "a pilot (`--pilot`)"
    if vain:
        raise TutelageError(
            f"{vain} {'beside' if trial else 'without'} a probe",
            expected="a speed where nothing is measured; a law or a pilot where the teacher is",
            fix="add `--no-probe`, or leave the speed away" if trial else "leave `--no-probe` away",
        )


def _checked(memory_limit: int | None, price: float | None, pilot: int | None) -> None:
    if memory_limit is not None and memory_limit < 2**20:
        raise OutOfRange(
            f"a memory limit of {memory_limit} bytes",
            expected="raw bytes, at least a mebibyte",
            fix=f"write {memory_limit}GiB if you mean gibibytes",
        )
    if price is not None and not 0 <= price < float("inf"):
        raise OutOfRange(
            f"{price} for an hour", expected="a price of at least 0", fix="write for instance 2.5"
        )
    if pilot is not None and pilot < 0:
        raise OutOfRange(
            f"a pilot of {pilot} steps", expected="a whole number, at least 0", fix="write 0 for no pilot"
        )
