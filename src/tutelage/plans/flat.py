"""How wide the best is: which teachers are as good as the optimum to within a few thousandths of a nat.

An optimum is often flat over a factor of two or three in size, and then a checkpoint that exists is as good
as one that would have to be trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tutelage.plans.allocate import Optimum, loss_range, losses_at, losses_of_size
from tutelage.plans.law import Numbers
from tutelage.plans.problem import Problem

TOLERANCE = 0.002
"""Nats per token within which two plans are taken to be as good as one another."""


@dataclass(frozen=True)
class Flat:
    """Teachers that are as good as the best one.

    Attributes:
        tolerance: nats per token above the best.
        teacher_loss: lowest and highest L_T; None where the teachers are given.
        teacher_parameters: smallest and largest, with the best tokens for each; None where only L_T matters.
    """

    tolerance: float
    teacher_loss: tuple[float, float] | None
    teacher_parameters: tuple[float, float] | None


def flat(problem: Problem, best: Optimum, tolerance: float = TOLERANCE) -> Flat:
    """The ranges around an optimum in which the student loses less than a tolerance."""
    if problem.teachers:
        return Flat(tolerance, None, None)
    law, limit = problem.laws.supervised, best.loss + tolerance
    losses = sizes = None
    if problem.scenario.training > 0 or problem.scenario.logits == 0:
        at = math.log(best.teacher_loss - law.E)
        found = _around(lambda v: losses_at(problem, v), at, loss_range(problem), limit)
        losses = (law.E + math.exp(found[0]), law.E + math.exp(found[1]))
    paid = problem.scenario.training > 0 or problem.scenario.logits > 0
    if paid and best.teacher_parameters is not None:
        at = math.log(best.teacher_parameters)
        low, high = np.log(problem.sizes)
        found = _around(lambda n: losses_of_size(problem, n), at, (low, high), limit)
        sizes = (math.exp(found[0]), math.exp(found[1]))
    return Flat(tolerance, losses, sizes)


def _around(
    function: Callable[[Numbers], Numbers], best: float, within: tuple[float, float], limit: float
) -> tuple[float, float]:
    """The ends of the stretch around the best place on which a function stays below a limit."""
    ends = []
    for end in within:
        # Finer near the optimum than far from it: a sharp valley must not fall between two points.
        places = best + (end - best) * np.linspace(0.0, 1.0, 129) ** 2
        beyond = np.flatnonzero(function(places[None, :])[0] > limit)
        if not len(beyond):
            ends.append(end)
            continue
        inside, outside = places[max(beyond[0] - 1, 0)], places[beyond[0]]
        for _ in range(20):
            middle = (inside + outside) / 2
            if function(np.array([[middle]]))[0, 0] > limit:
                outside = middle
            else:
                inside = middle
        ends.append(float(inside))
    return ends[0], ends[1]
