"""The slow, obvious version of both laws, and SciPy's SLSQP: the yardsticks of the search."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from tutelage.plans.law import Laws
from tutelage.plans.scenario import Scenario

REFERENCE: dict[str, Any] = json.loads(
    Path(__file__).with_name("reference_optima.json").read_text(encoding="utf-8"), parse_int=float
)


def supervised(laws: Laws, n: float, d: float) -> float:
    """The supervised law as the paper prints it."""
    law = laws.supervised
    return law.E + (law.A / n**law.alpha + law.B / d**law.beta) ** law.gamma


def distilled(laws: Laws, n: float, d: float, teacher: float) -> float:
    """The distillation law as the paper prints it."""
    law: Any = laws.distillation
    r = teacher / supervised(laws, n, d)
    fading = (1 + (r / law.d1) ** (1 / law.f1)) ** (-law.c1 * law.f1)
    return teacher + teacher**-law.c0 * fading * (law.A / n**law.alpha + law.B / d**law.beta) ** law.gamma


def forward(n: float) -> float:
    """Forward FLOP per token of the paper's family."""
    return 2 * n * (1 + 155.061 * n ** (-1 / 3) + 72131.7 * n ** (-2 / 3))


def slsqp(laws: Laws, student: float, budget: float, scenario: Scenario) -> float:
    """The lowest loss that SLSQP finds in log N_T, log D_T, log D_S under the budget, from several starts."""

    def loss(x: np.ndarray) -> float:
        n_t, d_t, d_s = np.exp(x)
        return distilled(laws, student, d_s, supervised(laws, n_t, d_t))

    def left(x: np.ndarray) -> float:
        n_t, d_t, d_s = np.exp(x)
        spent = 3 * forward(student) * d_s
        spent += forward(n_t) * (scenario.logits * d_s + scenario.training * 3 * d_t)
        return math.log(budget) - math.log(spent)

    own = math.log(budget / 3 / forward(student))
    best = math.inf
    for size, amount in ((student / 2, 20), (student * 2, 20), (1e9, 100), (student * 8, 15)):
        start = np.array([math.log(size), math.log(size * amount), own - 1])
        found = minimize(
            loss,
            start,
            method="SLSQP",
            bounds=[(math.log(1e6), math.log(1e17))] * 3,
            constraints=[{"type": "eq", "fun": left}],
            options={"maxiter": 500, "ftol": 1e-14},
        )
        if abs(left(found.x)) < 1e-8:
            best = min(best, float(found.fun))
    return best
