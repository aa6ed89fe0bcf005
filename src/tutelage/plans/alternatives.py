"""What else could be done with the budget: a model of free size, a switch to the text, ten percent more.

Source: Busbridge et al. 2025, arXiv:2502.08606, equation 2 and appendix D; the switch is the authors'
suggestion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tutelage.plans.allocate import Optimum, optimal
from tutelage.plans.crossover import in_tokens
from tutelage.plans.flops import Cost
from tutelage.plans.law import Laws, Numbers
from tutelage.plans.problem import MOST, Problem
from tutelage.plans.search import lowest


@dataclass(frozen=True)
class Supervised:
    """A model trained on text alone: parameters without embeddings, tokens, nats per token."""

    parameters: float
    tokens: float
    loss: float


def best_size(laws: Laws, cost: Cost, budget: float, most_tokens: float = math.inf) -> Supervised:
    """The compute-optimal supervised model of a budget in FLOP, its size free."""

    def tokens(log_size: Numbers) -> Numbers:
        forward = cost.flops(np.exp(log_size))
        return np.minimum(budget / (3 * forward), most_tokens)

    def loss(log_size: Numbers) -> Numbers:
        seen = tokens(log_size)
        found = laws.supervised.loss(np.exp(log_size), np.maximum(seen, 1.0))
        return np.where(seen >= 1, found, np.inf)

    low = math.log(min(1e6, laws.ranges.parameters[0]))
    place, value = lowest(loss, low, math.log(MOST))
    return Supervised(float(np.exp(place[0])), float(tokens(place)[0]), float(value[0]))


@dataclass(frozen=True)
class Marginal:
    """What ten percent more budget gives, nats per token: with a teacher (None if none is paid), without."""

    distilled: float | None
    alone: float


def ten_percent(problem: Problem, point: Optimum | None) -> Marginal:
    """How much the loss of both arms falls with a tenth more budget."""
    more = problem.with_budget(1.1 * problem.budget)
    found = optimal(more, quick=True)
    distilled = None if point is None or found is None else max(0.0, point.loss - found.loss)
    return Marginal(distilled, problem.alone - more.alone)


def switch(problem: Problem, point: Optimum) -> float | None:
    """Tokens after which this teacher no longer helps and the text alone should go on; None if never.

    The authors suggest to distil first and to switch near this count. The law does not predict the loss of
    such a run.
    """
    falls = [each.at for each in in_tokens(problem, point.teacher_loss) if each.falls]
    return falls[-1] if falls else None
