"""How large a student: the cheapest way to a loss when the tokens it will serve are paid as well.

    minimise  training(N) + F(N) * served     where the student of N parameters reaches the target

At a given size serving never changes whether to distil: it costs the same in both arms.

Source: ``derived`` from Busbridge et al. 2025 (arXiv:2502.08606) in the manner of Sardana et al.
(arXiv:2401.00448).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tutelage.plans.inverse import budget_alone, budget_distilled
from tutelage.plans.law import Numbers
from tutelage.plans.problem import Problem
from tutelage.plans.search import lowest

SIZES = (1e6, 1e13)
ANY_BUDGET = 1e60
"""FLOP; it makes a problem of a size and has no influence on what is looked for here."""


@dataclass(frozen=True)
class Served:
    """The cheapest student of one arm.

    Attributes:
        parameters: without embeddings.
        training_flops: what reaches the target, teacher included as the scenario has it.
        serving_flops: forward passes over the tokens it serves.
    """

    parameters: float
    training_flops: float
    serving_flops: float

    @property
    def flops(self) -> float:
        """Of both."""
        return self.training_flops + self.serving_flops


def cheapest_sizes(problem: Problem, target: float, served: float) -> tuple[Served | None, Served | None]:
    """The cheapest student with a teacher and the cheapest without; None where no size reaches the target.

    Args:
        problem: its size and budget do not matter.
        target: loss in nats per token that is to be reached.
        served: tokens of prompts and answers over the model's life.
    """

    def distilled(there: Problem, loss: float) -> float | None:
        return budget_distilled(there, loss, quick=True)

    return _cheapest(problem, target, served, distilled), _cheapest(problem, target, served, budget_alone)


def _cheapest(
    problem: Problem, target: float, served: float, budget: Callable[[Problem, float], float | None]
) -> Served | None:
    def cost(log_sizes: Numbers) -> Numbers:
        return np.array(
            [[_sum(problem, math.exp(n), target, served, budget) for n in row] for row in log_sizes]
        )

    low, high = min(SIZES[0], problem.laws.ranges.parameters[0]), SIZES[1]
    place, value = lowest(cost, math.log(low), math.log(high), points=33, zooms=2)
    if not np.isfinite(value[0]):
        return None
    size = math.exp(float(place[0]))
    serving = float(problem.cost.flops(size)) * served
    return Served(size, float(value[0]) - serving, serving)


def _sum(
    problem: Problem,
    size: float,
    target: float,
    served: float,
    budget: Callable[[Problem, float], float | None],
) -> float:
    there = replace(problem, student=size, student_flops=None, budget=ANY_BUDGET)
    training = budget(there, target)
    return math.inf if training is None else training + there.forward * served
