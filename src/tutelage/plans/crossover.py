"""Where distillation and training on the text change places: at no, one or two points; first a scan.

Losses that cross are nearly equal there, so a crossing is badly determined (``derived``: two sets of
coefficients put it a factor of five apart); where the gain falls below the margin says more.

Source: Busbridge et al. 2025, arXiv:2502.08606, figures 6 and 8, appendices D.2 to D.5 and E.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tutelage.plans.allocate import optimal
from tutelage.plans.problem import Problem
from tutelage.plans.search import sign_changes

BUDGETS = (1e18, 1e27)
"""FLOP between which crossings are looked for unless told."""

TOKENS = (1e6, 1e17)
A_DECADE = 4


@dataclass(frozen=True)
class Crossing:
    """A place where the gain of distillation crosses a threshold.

    Attributes:
        at: budget in FLOP, or tokens.
        falls: whether distillation is ahead before it and not after it.
    """

    at: float
    falls: bool


def gain(problem: Problem, *, quick: bool = True) -> float:
    """Nats per token by which the student is better with a teacher; nan if none can be paid."""
    found = optimal(problem, quick=quick)
    return math.nan if found is None else problem.alone - found.loss


def in_budget(
    problem: Problem,
    *,
    threshold: float = 0.0,
    share: float = 0.0,
    within: tuple[float, float] = BUDGETS,
    known: dict[float, float] | None = None,
) -> tuple[Crossing, ...]:
    """Budgets at which the gain crosses a threshold.

    Args:
        problem: its own budget does not matter.
        threshold: in nats per token.
        share: the same as a share of the unaided student's loss; both add up.
        within: lowest and highest budget that is looked at, FLOP.
        known: gains by the log of their budget; those that are missing are added, so that a second question
            about the same problem costs less.
    """
    gains = {} if known is None else known
    low = max(within[0], problem.per_token * problem.laws.smallest_tokens)

    def above(log_budget: float) -> float:
        there = problem.with_budget(math.exp(log_budget))
        if log_budget not in gains:
            gains[log_budget] = gain(there)
        return gains[log_budget] - threshold - share * there.alone

    return _crossings(above, (low, max(within[1], 10 * low)))


def in_tokens(
    problem: Problem, teacher_loss: float, *, threshold: float = 0.0, within: tuple[float, float] = TOKENS
) -> tuple[Crossing, ...]:
    """Tokens at which a teacher's help crosses a threshold, student and text being the same in both arms.

    Args:
        problem: whose laws and student.
        teacher_loss: nats per token.
        threshold: in nats per token.
        within: fewest and most tokens that are looked at.
    """

    def above(log_tokens: float) -> float:
        seen = math.exp(log_tokens)
        distilled = float(problem.laws.student_loss(problem.student, seen, teacher_loss))
        return problem.unaided(seen) - distilled - threshold

    return _crossings(above, within)


def _crossings(above: Callable[[float], float], within: tuple[float, float]) -> tuple[Crossing, ...]:
    from_, to = (math.log(each) for each in within)
    grid = np.linspace(from_, to, max(2, round((to - from_) / math.log(10) * A_DECADE) + 1))
    return tuple(Crossing(math.exp(at), falls) for at, falls in sign_changes(above, grid))
