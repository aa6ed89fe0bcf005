"""The best a student reaches with a teacher, and what it costs: the search behind every plan.

A teacher that may be chosen freely is described by its loss L_T and by how its error is shared between size
and tokens; both are searched in logs (``derived``: a joint search in size and tokens misses the flat valley
where the teacher costs little).

Source: Busbridge et al. 2025, arXiv:2502.08606, equations 10, 27 and 28.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from tutelage.plans.law import Numbers
from tutelage.plans.problem import Problem
from tutelage.plans.scenario import Teacher
from tutelage.plans.search import lowest

Objective = Callable[[Numbers, Numbers], Numbers]
"""What is minimised over teachers of one loss, from forward FLOP per token and FLOP of their training."""

QUICK = {"points": 65, "zooms": 4}
"""Of a search whose loss alone matters: exact to about 1e-7 nats, three times faster."""


@dataclass(frozen=True)
class Optimum:
    """A student with its teacher.

    Attributes:
        loss: cross-entropy of the student, nats per token.
        teacher_loss: that of the teacher.
        tokens: the student is distilled on.
        teacher_parameters, teacher_tokens: of the teacher; None where only its loss matters or is known.
        teacher: the one that was chosen among those that exist.
        student_flops, logits_flops, teacher_flops: what this student pays, in FLOP.
    """

    loss: float
    teacher_loss: float
    tokens: float
    teacher_parameters: float | None
    teacher_tokens: float | None
    teacher: Teacher | None
    student_flops: float
    logits_flops: float
    teacher_flops: float

    @property
    def spent(self) -> float:
        """FLOP of all three."""
        return self.student_flops + self.logits_flops + self.teacher_flops

    @property
    def shares(self) -> tuple[float, float, float]:
        """Student, logits and teacher as shares of what is spent."""
        return (
            self.student_flops / self.spent,
            self.logits_flops / self.spent,
            self.teacher_flops / self.spent,
        )


def optimal(problem: Problem, *, quick: bool = False) -> Optimum | None:
    """The compute-optimal teacher and tokens of a budget, or the best of the teachers that exist.

    Args:
        problem: student, budget and whose teacher.
        quick: a coarser search, for curves; the loss is the same to about 1e-7 nats.

    Returns:
        The best point; None if the budget does not pay for any teacher.
    """
    if problem.teachers:
        found = [each for teacher in problem.teachers if (each := with_teacher(problem, teacher))]
        return min(found, key=lambda each: each.loss, default=None)
    depth = QUICK if quick else {}
    if problem.scenario.training > 0 or problem.scenario.logits == 0:
        place, value = lowest(lambda v: losses_at(problem, v, quick=quick), *loss_range(problem), **depth)
        return at_loss(problem, float(place[0])) if np.isfinite(value[0]) else None
    sizes = np.log(problem.sizes)
    place, value = lowest(lambda n: losses_of_size(problem, n), sizes[0], sizes[1], **depth)
    return of_size(problem, float(place[0])) if np.isfinite(value[0]) else None


def with_teacher(problem: Problem, teacher: Teacher) -> Optimum | None:
    """What the student reaches with one teacher that exists; None if the budget does not pay for it."""
    loss = teacher.measured(problem.laws)
    return _paid(problem, loss, teacher.parameters, teacher.tokens, teacher, teacher.forward(problem.cost))


def loss_range(problem: Problem) -> tuple[float, float]:
    """Lowest and highest ``log(L_T - E)`` that is searched."""
    law = problem.laws.supervised
    if problem.scenario.training == 0:
        highest = math.log(problem.laws.vocabulary) if problem.laws.vocabulary else 12.0
        return math.log(law.E * 1e-9), math.log(max(highest - law.E, law.E))
    low, high = problem.sizes, problem.amounts
    best, worst = law.loss(low[1], high[1]), law.loss(low[0], high[0])
    return math.log(best - law.E), math.log(worst - law.E)


def losses_at(problem: Problem, excess: Numbers, *, quick: bool = True) -> Numbers:
    """The student's loss with the cheapest teacher of every ``log(L_T - E)``; inf where none can be paid."""
    teacher_loss = problem.laws.supervised.E + np.exp(excess)
    if problem.scenario.training == 0:
        student = np.full_like(excess, problem.alone_tokens)
    else:
        student = -cheapest(problem, excess.ravel(), _fewest(problem), quick=quick)[1].reshape(excess.shape)
    return _losses(problem, np.minimum(student, problem.most_tokens), teacher_loss)


def losses_of_size(problem: Problem, log_size: Numbers) -> Numbers:
    """The student's loss with a teacher of every size at the tokens that it has seen, or may see.

    Where the teacher is trained, its tokens are the best for the size.
    """
    if problem.scenario.training > 0:
        flat = log_size.ravel()
        low, high = np.log(problem.amounts)
        _, value = lowest(
            lambda d: _of_size_and_tokens(problem, np.broadcast_to(flat[:, None], d.shape), d),
            np.full(flat.shape, low),
            np.full(flat.shape, high),
            points=65,
            zooms=5,
        )
        return value.reshape(log_size.shape)
    return _of_size_and_tokens(problem, log_size, np.full_like(log_size, math.log(problem.teacher_tokens)))


def at_loss(problem: Problem, excess: float) -> Optimum | None:
    """The whole point at one ``log(L_T - E)``, with the cheapest teacher that reaches it."""
    law = problem.laws.supervised
    teacher_loss = law.E + math.exp(excess)
    objective = _fewest(problem) if problem.scenario.training > 0 else _training_cost(problem)
    place, value = cheapest(problem, np.array([excess]), objective, quick=False)
    size = amount = None
    if np.isfinite(value[0]):
        log_size, log_tokens = split(problem, np.array([excess]), place)
        size, amount = float(np.exp(log_size[0])), float(np.exp(log_tokens[0]))
    elif problem.scenario.training > 0:
        return None
    forward = None if size is None else float(problem.cost.flops(size))
    return _paid(problem, teacher_loss, size, amount, None, forward)


def of_size(problem: Problem, log_size: float) -> Optimum | None:
    """The whole point with a teacher of one size that has seen the tokens of the problem."""
    size = math.exp(log_size)
    loss = float(problem.laws.supervised.loss(size, problem.teacher_tokens))
    return _paid(problem, loss, size, problem.teacher_tokens, None, float(problem.cost.flops(size)))


def split(problem: Problem, excess: Numbers, logit: Numbers) -> tuple[Numbers, Numbers]:
    """Log size and log tokens of the teacher that reaches a loss, by the share of its error due to size.

    Args:
        problem: whose law holds.
        excess: ``log(L_T - E)``.
        logit: of the share of ``A / N^alpha`` in ``A / N^alpha + B / D^beta``.
    """
    law = problem.laws.supervised
    error = excess / law.gamma
    size = (math.log(law.A) - error + np.logaddexp(0.0, -logit)) / law.alpha
    amount = (math.log(law.B) - error + np.logaddexp(0.0, logit)) / law.beta
    return size, amount


def cheapest(
    problem: Problem, excess: Numbers, objective: Objective, *, quick: bool
) -> tuple[Numbers, Numbers]:
    """The split of every teacher loss at which an objective is lowest.

    Args:
        problem: whose law and bounds hold.
        excess: ``log(L_T - E)``, one a row.
        objective: of forward FLOP per token and of training FLOP of the teacher.
        quick: a coarser search.

    Returns:
        Logits for `split`, and the objective there; inf where no teacher within the bounds reaches the loss.
    """
    low, high = _logits_within(problem, excess)
    valued = partial(_valued, problem, objective, excess[:, None])
    return lowest(valued, low, high, points=33 if quick else 65, zooms=5 if quick else 8)


def _valued(problem: Problem, objective: Objective, excess: Numbers, logit: Numbers) -> Numbers:
    """An objective at some splits of some teacher losses."""
    size, amount = (np.exp(each) for each in split(problem, excess, logit))
    forward = problem.cost.flops(size)
    return objective(forward, 3 * forward * amount)


def _fewest(problem: Problem) -> Objective:
    """Minus the tokens that are left for the student."""
    return partial(_minus_tokens, problem)


def _minus_tokens(problem: Problem, forward: Numbers, training: Numbers) -> Numbers:
    left = problem.budget - problem.scenario.training * training
    tokens = left / (problem.per_token + problem.scenario.logits * forward)
    return np.where(left > 0, -tokens, np.inf)


def _training_cost(problem: Problem) -> Objective:
    return lambda forward, training: training


def _logits_within(problem: Problem, excess: Numbers) -> tuple[Numbers, Numbers]:
    """The splits at which neither size nor tokens leave their bounds."""
    law = problem.laws.supervised
    error = excess / law.gamma
    sizes, amounts = np.log(problem.sizes), np.log(problem.amounts)
    size_low, size_high = (_logit(math.log(law.A) - error - law.alpha * sizes[i]) for i in (1, 0))
    rest_low, rest_high = (_logit(math.log(law.B) - error - law.beta * amounts[i]) for i in (1, 0))
    return np.maximum(size_low, -rest_high), np.minimum(size_high, -rest_low)


def _logit(log_share: Numbers) -> Numbers:
    """``log(s / (1 - s))`` from ``log s``; 60, which is one in double precision, from one on."""
    inside = np.minimum(log_share, -1e-25)
    return np.where(log_share < -1e-25, np.minimum(inside - np.log(-np.expm1(inside)), 60.0), 60.0)


def _of_size_and_tokens(problem: Problem, log_size: Numbers, log_tokens: Numbers) -> Numbers:
    teacher_loss = problem.laws.supervised.loss(np.exp(log_size), np.exp(log_tokens))
    forward = problem.cost.flops(np.exp(log_size))
    student = -_fewest(problem)(forward, 3 * forward * np.exp(log_tokens))
    return _losses(problem, np.minimum(student, problem.most_tokens), teacher_loss)


def _losses(problem: Problem, student_tokens: Numbers, teacher_loss: Numbers) -> Numbers:
    """Losses of the student; inf where no token is left for it."""
    some = np.maximum(student_tokens, 1.0)
    found = problem.laws.student_loss(problem.student, some, teacher_loss)
    return np.where(student_tokens >= 1.0, found, np.inf)


def _paid(
    problem: Problem,
    teacher_loss: float,
    size: float | None,
    amount: float | None,
    teacher: Teacher | None,
    forward: float | None,
) -> Optimum | None:
    """The point that a teacher gives: as many tokens as are left, and what each part costs."""
    scenario, training = problem.scenario, 0.0
    if scenario.training > 0 and forward is not None and amount is not None:
        training = scenario.training * 3 * forward * amount
    logits = scenario.logits * (forward or 0.0)
    tokens = min((problem.budget - training) / (problem.per_token + logits), problem.most_tokens)
    if tokens < 1:
        return None
    loss = float(problem.laws.student_loss(problem.student, tokens, teacher_loss))
    return Optimum(
        loss,
        teacher_loss,
        tokens,
        size,
        amount,
        teacher,
        problem.per_token * tokens,
        logits * tokens,
        training,
    )
