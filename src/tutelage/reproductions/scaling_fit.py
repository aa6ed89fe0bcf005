"""Both laws fitted to the runs of the miniature study, and held against runs that no fit saw.

The supervised law is fitted first; it says what each student would reach by itself. The law with a teacher
has the reduced form, as in all studies of this size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.plans.fit import Effort
from tutelage.plans.fitting import Study, fit_study
from tutelage.plans.held_out import Errors, disorder, errors
from tutelage.plans.runs import Trained
from tutelage.reproductions.parts import Outcome, Piece
from tutelage.reproductions.scaling_bed import (
    LOSS,
    TEACHER_LOSS,
    Bed,
    Cell,
    distilled_name,
    name_of,
    shape,
    supervised_name,
)

DRAWS = 200
"""Of the bootstrap."""

LITTLE = Effort(screened=300, kept=4, finalists=2, deltas=(1e-2, 1e-3))
"""Of a smoke test."""

CURVE = 40
"""Points of a fitted curve."""

FIT = "fit/laws"
SUPERVISED, DISTILLED, HELD = "law/supervised", "law/distilled", "law/held_out"


def fits(bed: Bed) -> list[Piece]:
    """The fit, and what it says of each law and each student as arms."""
    runs = [piece.name for piece in (*bed.supervised(), *bed.distilled())]
    told = {"design": asdict(bed.design), "draws": DRAWS}
    fit = Piece(FIT, "fitting both laws", lambda: fitted(bed), told, tuple(runs), shown=False)
    arms = {
        SUPERVISED: "the law of models that learn from text",
        DISTILLED: "the law of students",
        HELD: "runs that no fit saw",
        **{_curve(size): f"{size} students on 1M, measured" for size in bed.design.students},
        **{_curve(size) + "_law": f"{size} students on 1M, by the law" for size in bed.design.students},
    }
    return [
        fit,
        *(
            Piece(name, what, lambda name=name: _part(bed.folder, name), told, (FIT,))
            for name, what in arms.items()
        ),
    ]


def fitted(bed: Bed) -> Outcome:
    """What is told about both laws: numbers as ``arm:number``, courses as ``arm:course``."""
    seen, held = runs_of(bed)
    little = bed.design.divide > 1
    study = fit_study(seen, form="reduced", effort=LITTLE if little else None)
    off = errors(study, held)
    numbers = {f"{SUPERVISED}:noise": noise(bed)}
    for arm, kind in ((SUPERVISED, "supervised"), (DISTILLED, "distilled")):
        told = {"runs": float(len(getattr(study, kind)))} | _told(off[kind])
        numbers |= {f"{arm}:{name}": value for name, value in told.items()}
    numbers |= {f"{DISTILLED}:disorder": disorder(study, times=1 if little else 3)}
    numbers |= _coefficients(study, 10 if little else DRAWS)
    courses = {f"{HELD}:predicted": _pairs(study, held)}
    courses[f"{SUPERVISED}:predicted"] = _pairs(study, study.supervised)
    courses[f"{DISTILLED}:predicted"] = _pairs(study, study.distilled)
    for size in bed.design.students:
        courses |= _by_teacher(bed, study, size)
    return Outcome(numbers, courses=courses)


def runs_of(bed: Bed) -> tuple[list[Trained], list[Trained]]:
    """Runs that are fitted, and runs that are held out."""
    seen: list[Trained] = []
    held: list[Trained] = []
    for cell in bed.design.supervised:
        (held if cell in bed.design.held_supervised else seen).append(_supervised(bed, cell))
    seen += [_supervised(bed, cell, "-again") for cell in bed.design.again]
    for cell, teacher in bed.design.taught:
        (held if bed.design.held(cell, teacher) else seen).append(_distilled(bed, cell, teacher))
    return seen, held


def noise(bed: Bed) -> float:
    """What another seed does to a loss, as a share of it: a standard deviation, from the cells made twice."""
    twice = [
        math.log(
            bed.numbers(supervised_name(cell))[LOSS] / bed.numbers(supervised_name(cell) + "-again")[LOSS]
        )
        for cell in bed.design.again
    ]
    return math.sqrt(sum(one**2 for one in twice) / (2 * len(twice)))


def _supervised(bed: Bed, cell: Cell, ending: str = "") -> Trained:
    found = bed.numbers(supervised_name(cell) + ending)
    return Trained(name_of(cell) + ending, found["parameters"], found["tokens"], found[LOSS])


def _distilled(bed: Bed, cell: Cell, teacher: Cell) -> Trained:
    found = bed.numbers(distilled_name(cell, teacher))
    return Trained(
        f"{name_of(cell)} of {name_of(teacher)}",
        found["parameters"],
        found["tokens"],
        found[LOSS],
        name_of(teacher),
        found[TEACHER_LOSS],
    )


def _told(off: Errors) -> dict[str, float]:
    others = {name.replace(" ", "_"): value for name, value in off.baselines.items()}
    return {
        "held_runs": float(off.runs),
        "held_median": off.median,
        "held_p90": off.p90,
        "held_worst": off.worst,
        "held_rms": off.rms,
    } | others


def _coefficients(study: Study, count: int) -> dict[str, float]:
    """What the runs determine, with the 90 % band of the bootstrap as ``_low`` and ``_high``."""
    found = {name: float(value) for name, value in _known(study).items()}
    draws = [_known(draw) for draw in study.bootstrapped(count, seed=0)]
    bands = {name: np.quantile([draw[name] for draw in draws], (0.05, 0.95)) for name in found}
    taught = study.distillation_fit
    assert taught is not None
    held = {f"{SUPERVISED}:gamma_held": study.supervised_fit.fixed, f"{DISTILLED}:gamma_held": taught.fixed}
    return (
        found
        | {f"{name}_low": float(band[0]) for name, band in bands.items()}
        | {f"{name}_high": float(band[1]) for name, band in bands.items()}
        | {name: float("gamma" in fixed) for name, fixed in held.items()}
        | {
            f"{SUPERVISED}:fit_rms": study.supervised_fit.rms,
            f"{DISTILLED}:fit_rms": taught.rms,
            f"{SUPERVISED}:at_bounds": float(len(study.supervised_fit.at_bounds)),
            f"{DISTILLED}:at_bounds": float(len(taught.at_bounds)),
        }
    )


def _known(study: Study) -> dict[str, float]:
    law, taught = study.law, study.with_teacher
    assert taught is not None
    return {
        f"{SUPERVISED}:E": law.E,
        f"{SUPERVISED}:alpha_gamma": law.alpha * law.gamma,
        f"{SUPERVISED}:beta_gamma": law.beta * law.gamma,
        f"{DISTILLED}:alpha_gamma": taught.alpha * taught.gamma,
        f"{DISTILLED}:beta_gamma": taught.beta * taught.gamma,
        f"{DISTILLED}:c0": taught.c0,
        f"{DISTILLED}:f1": taught.f1,
        f"{DISTILLED}:kappa": taught.kappa,
        f"{DISTILLED}:r50": taught.ratio_at_half,
    }


def _pairs(study: Study, runs: Any) -> list[tuple[float, float]]:
    """Measured and predicted loss of runs, in the order of the measured ones."""
    return sorted(zip((run.loss for run in runs), study.predicted(runs).tolist(), strict=True))


def _by_teacher(bed: Bed, study: Study, size: str) -> Mapping[str, list[tuple[float, float]]]:
    """Loss of a student on the most tokens by its teacher's loss, as measured and as the law has it."""
    cell = (size, bed.design.amounts[-1])
    runs = [_distilled(bed, cell, teacher) for teacher in bed.design.teachers]
    points = sorted((run.teacher_loss or math.nan, run.loss) for run in runs)
    line = np.linspace(points[0][0], points[-1][0], CURVE)
    law = study.laws("", "", error=0.0, vocabulary=None, draws=[])
    curve = law.student_loss(shape(size).parameters, runs[0].tokens, line)
    drawn = list(zip(line.tolist(), np.asarray(curve).tolist(), strict=True))
    return {f"{_curve(size)}:by_teacher": points, f"{_curve(size)}_law:by_teacher": drawn}


def _curve(size: str) -> str:
    return f"law/{size}"


def _part(folder: Path, arm: str) -> Outcome:
    """What the fit told about one arm."""
    told = json.loads((folder / "results" / f"{FIT}.json").read_text(encoding="utf-8"))

    def own(all_of_it: Mapping[str, Any]) -> dict[str, Any]:
        start = f"{arm}:"
        return {name.removeprefix(start): one for name, one in all_of_it.items() if name.startswith(start)}

    return Outcome(own(told["numbers"]), courses=own(told["courses"]))
