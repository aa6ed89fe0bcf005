"""What the tests of fits share: a small study whose losses come from planted laws."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tutelage.plans.law import CutOffLaw, Laws, Ranges, SupervisedLaw
from tutelage.plans.runs import Trained

SUPERVISED_LAW = SupervisedLaw(E=1.1, A=60.0, B=900.0, alpha=0.35, beta=0.5, gamma=0.8)
TAUGHT_LAW = CutOffLaw(A=40.0, B=5e3, alpha=0.33, beta=0.6, gamma=0.8, c0=2.0, kappa=2.3, f1=0.1)
PLANTED = Laws("planted", SUPERVISED_LAW, TAUGHT_LAW, Ranges((1e4, 1e6), (1e5, 1e7)), "made up")
SIZES, TOKENS = (12e3, 55e3, 98e3, 332e3), (0.25e6, 0.5e6, 1e6)
TEACHERS = ((332e3, 1e6), (332e3, 0.5e6), (332e3, 0.25e6), (98e3, 1e6), (12e3, 0.25e6))


def small_study(noise: float = 0.0, seed: int = 0, students: tuple[float, ...] = SIZES[:3]) -> list[Trained]:
    """15 supervised runs, and every student of five teachers on three amounts of text."""
    rng = np.random.default_rng(seed)

    def noisy(loss: object) -> float:
        return float(np.asarray(loss)) * float(np.exp(noise * rng.normal()))

    runs, reached = [], {}
    for size in SIZES:
        for tokens in TOKENS:
            reached[size, tokens] = noisy(SUPERVISED_LAW.loss(size, tokens))
            runs.append(Trained(f"s{len(runs)}", size, tokens, reached[size, tokens]))
    for size, tokens in ((12e3, 0.5e6), (55e3, 0.25e6), (98e3, 0.25e6)):
        runs.append(Trained(f"s{len(runs)}", size, tokens, noisy(SUPERVISED_LAW.loss(size, tokens))))
    for teacher in TEACHERS:
        for size in students:
            for tokens in TOKENS:
                loss = noisy(PLANTED.student_loss(size, tokens, reached[teacher]))
                name = f"t{teacher[0]:g}-{teacher[1]:g}"
                runs.append(Trained(f"d{len(runs)}", size, tokens, loss, name, reached[teacher], *teacher))
    return runs


def write_table(path: Path, runs: list[Trained]) -> Path:
    """The runs as a CSV file."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "N", "D", "L", "teacher", "L_T", "N_T", "D_T"])
        for run in runs:
            rows.writerow(
                [
                    run.name,
                    run.parameters,
                    run.tokens,
                    run.loss,
                    run.teacher,
                    *(
                        "" if x is None else x
                        for x in (run.teacher_loss, run.teacher_parameters, run.teacher_tokens)
                    ),
                ]
            )
    return path
