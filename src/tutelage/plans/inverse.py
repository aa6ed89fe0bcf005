"""The other way round: the cheapest budget that reaches a loss, with a teacher and without.

Solved at fixed teacher loss: the law gives the tokens, the tokens give the cost, and the cheapest teacher is
looked for. Nothing is bisected over budgets, so this and the forward search check each other.

Source: Busbridge et al. 2025, arXiv:2502.08606, appendix D.5.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from tutelage.errors import OutOfRange
from tutelage.plans.allocate import QUICK, Objective, cheapest, loss_range
from tutelage.plans.law import Numbers
from tutelage.plans.problem import MOST, Problem
from tutelage.plans.scenario import Teacher
from tutelage.plans.search import crossing, lowest
from tutelage.plans.units import loss as checked_loss


def budget_alone(problem: Problem, target: float) -> float | None:
    """FLOP with which the student reaches a loss without a teacher; None if no number of tokens is enough."""
    log_tokens = float(problem.laws.supervised.log_tokens(problem.student, target))
    if math.isnan(log_tokens) or log_tokens > math.log(min(problem.most_tokens, MOST)):
        return None
    return problem.per_token * max(1.0, math.exp(log_tokens))


def budget_distilled(problem: Problem, target: float, *, quick: bool = False) -> float | None:
    """FLOP with which it does so with a teacher, the problem's own or the best; None if nothing is enough.

    ``quick`` looks less finely and is exact to about one part in a million.
    """
    depth = QUICK if quick else {}
    if problem.teachers:
        costs = [_with_teacher(problem, target, teacher) for teacher in problem.teachers]
        best = min(costs)
    elif problem.scenario.training == 0 and problem.scenario.logits > 0:
        sizes = np.log(problem.sizes)
        best = float(lowest(lambda n: _of_size(problem, target, n), sizes[0], sizes[1], **depth)[1][0])
    else:
        best = float(
            lowest(lambda v: _at_loss(problem, target, v, quick), *loss_range(problem), **depth)[1][0]
        )
    return best if math.isfinite(best) else None


def checked_target(problem: Problem, target: float) -> float:
    """A loss that this size can reach, in nats per token.

    Raises:
        OutOfRange: no amount of compute reaches it, or it is no loss.
    """
    checked_loss(target, "the target", problem.laws)
    if budget_alone(problem, target) is None and budget_distilled(problem, target) is None:
        limit = float(problem.laws.supervised.loss(problem.student, min(problem.most_tokens, math.inf)))
        limited = "the text there is" if math.isfinite(problem.most_tokens) else "infinitely many tokens"
        raise OutOfRange(
            f"the target is {target:g} nats per token, below what this size reaches",
            expected=f"more than {limit:.4f}, the limit of {problem.student:.3g} parameters with {limited}",
            fix="ask for a higher loss, or for a larger student",
        )
    return target


def tokens_needed(problem: Problem, target: float, teacher_loss: Numbers, *, halvings: int = 60) -> Numbers:
    """Tokens until the distilled student reaches a loss, for every teacher loss; inf where it never does."""
    most = math.log(min(problem.most_tokens, MOST))

    above = partial(_above, problem, target, teacher_loss)
    found = crossing(above, np.zeros_like(teacher_loss), np.full_like(teacher_loss, most), halvings=halvings)
    reached = above(np.full_like(teacher_loss, most)) <= 0
    return np.where(reached, np.exp(found), np.inf)


def _above(problem: Problem, target: float, teacher_loss: Numbers, log_tokens: Numbers) -> Numbers:
    return problem.laws.student_loss(problem.student, np.exp(log_tokens), teacher_loss) - target


def _at_loss(problem: Problem, target: float, excess: Numbers, quick: bool) -> Numbers:
    teacher_loss = problem.laws.supervised.E + np.exp(excess)
    tokens = tokens_needed(problem, target, teacher_loss, halvings=32 if quick else 60)
    if problem.scenario.training == 0:
        return problem.per_token * tokens
    flat = tokens.ravel()
    _, value = cheapest(problem, excess.ravel(), _cost(problem, flat[:, None]), quick=quick)
    return value.reshape(excess.shape)


def _of_size(problem: Problem, target: float, log_size: Numbers) -> Numbers:
    size = np.exp(log_size)
    loss = problem.laws.supervised.loss(size, problem.teacher_tokens)
    forward = problem.cost.flops(size)
    return _cost(problem, tokens_needed(problem, target, loss))(forward, np.zeros_like(forward))


def _with_teacher(problem: Problem, target: float, teacher: Teacher) -> float:
    loss = teacher.measured(problem.laws)
    forward = teacher.forward(problem.cost) or 0.0
    training = 3 * forward * (teacher.tokens or 0.0)
    tokens = tokens_needed(problem, target, np.array([loss]))
    return float(_cost(problem, tokens)(np.array([forward]), np.array([training]))[0])


def _cost(problem: Problem, tokens: Numbers) -> Objective:
    """FLOP of a student with so many tokens, from its teacher's forward FLOP and training FLOP."""
    return partial(_sum, problem, tokens)


def _sum(problem: Problem, tokens: Numbers, forward: Numbers, training: Numbers) -> Numbers:
    running = problem.per_token + problem.scenario.logits * forward
    return tokens * running + problem.scenario.training * training
