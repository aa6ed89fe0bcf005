"""One teacher for several students: when its cost is spread far enough, and what each then reaches.

Sharing helps less than one expects where logits must still be computed (``derived``).

Source: Busbridge et al. 2025, arXiv:2502.08606, section 5; sums are ``derived``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tutelage.errors import OutOfRange
from tutelage.plans.allocate import cheapest, loss_range, optimal, split
from tutelage.plans.flops import Cost, Family
from tutelage.plans.law import Laws, Numbers
from tutelage.plans.problem import Problem
from tutelage.plans.scenario import SCENARIOS, shared
from tutelage.plans.search import lowest

MOST_STUDENTS = 4096


def gain_shared(problem: Problem, students: int, *, rows: bool = False) -> float:
    """Gain of each of several equal students over training alone, nats per token; nan if none is paid."""
    there = replace(problem, scenario=shared(students, rows=rows), teachers=())
    found = optimal(there, quick=True)
    return math.nan if found is None else there.alone - found.loss


def break_even(
    problem: Problem, *, rows: bool = False, above: float = 0.0, most: int = MOST_STUDENTS
) -> int | None:
    """The smallest number of students that must share one teacher for each of them to gain.

    Args:
        problem: one of them; all have its size and its budget, the share of the teacher included.
        rows: whether they share stored logits too.
        above: the gain in nats per token that counts.
        most: the largest number that is tried.

    Returns:
        The number; None if even the largest is not enough.
    """

    def enough(students: int) -> bool:
        return gain_shared(problem, students, rows=rows) > above

    high = 1
    while not enough(high):
        if high >= most:
            return None
        high = min(2 * high, most)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Together:
    """Students of several sizes with one teacher that is trained for them.

    Attributes:
        teacher_loss, teacher_parameters, teacher_tokens: of the teacher that gives the lowest mean loss.
        tokens: each student is distilled on.
        losses: of the students, nats per token.
        alone: what each reaches without a teacher from an equal share of the total.
        teacher_flops: of training the teacher.
        logits_flops: of running it, once if rows are stored and all see the same
            tokens.
    """

    teacher_loss: float
    teacher_parameters: float
    teacher_tokens: float
    tokens: tuple[float, ...]
    losses: tuple[float, ...]
    alone: tuple[float, ...]
    teacher_flops: float
    logits_flops: float

    @property
    def all_gain(self) -> bool:
        """Whether every student is better than alone on an equal share."""
        return all(loss < alone for loss, alone in zip(self.losses, self.alone, strict=True))


def together(
    laws: Laws, students: tuple[float, ...], total: float, *, rows: bool = False, cost: Cost | None = None
) -> Together | None:
    """The best teacher of students of several sizes, total FLOP given.

    Without stored rows each student has an equal share of the total and runs the teacher on its own tokens;
    with them all see the same tokens, and the teacher runs over these once. Best means lowest mean loss.

    Args:
        laws: both of them.
        students: parameters without embeddings.
        total: FLOP for all students and the teacher.
        rows: whether logits are stored.
        cost: forward FLOP of a size; the paper's family unless told.

    Returns:
        The plan; None if the total pays for no teacher.

    Raises:
        OutOfRange: no student, or a number in the wrong unit.
    """
    if not students:
        raise OutOfRange("no student", expected="at least one size", fix="write for instance 300M,1B")
    cost = cost or Family()
    count = len(students)
    problems = [Problem(laws, size, total / count, SCENARIOS["both"], cost=cost) for size in students]
    per_token = np.array([problem.per_token for problem in problems])

    def tokens(forward: Numbers, training: Numbers) -> list[Numbers]:
        left = total - training
        if rows:
            return [np.asarray(left / (per_token.sum() + forward))] * count
        return [np.asarray(left / count / (each + forward)) for each in per_token]

    def losses(teacher_loss: Numbers, forward: Numbers, training: Numbers) -> list[Numbers]:
        found = []
        for problem, seen in zip(problems, tokens(forward, training), strict=True):
            loss = laws.student_loss(problem.student, np.maximum(seen, 1.0), teacher_loss)
            found.append(np.where(seen >= 1, loss, np.inf))
        return found

    def best(excess: Numbers, quick: bool = True) -> tuple[Numbers, Numbers]:
        teacher_loss = (laws.supervised.E + np.exp(excess))[:, None]
        return cheapest(
            problems[0],
            excess,
            lambda forward, training: np.sum(losses(teacher_loss, forward, training), axis=0),
            quick=quick,
        )

    place, value = lowest(lambda v: best(v.ravel())[1].reshape(v.shape), *loss_range(problems[0]))
    if not np.isfinite(value[0]):
        return None
    size, amount = (np.exp(each[0]) for each in split(problems[0], place, best(place, quick=False)[0]))
    forward = float(cost.flops(float(size)))
    training = 3 * forward * float(amount)
    teacher_loss = laws.supervised.E + math.exp(place[0])
    seen = [float(each) for each in tokens(np.asarray(forward), np.asarray(training))]
    return Together(
        teacher_loss,
        float(size),
        float(amount),
        tuple(seen),
        tuple(
            float(laws.student_loss(each, d, teacher_loss)) for each, d in zip(students, seen, strict=True)
        ),
        tuple(problem.alone for problem in problems),
        training,
        forward * (seen[0] if rows else sum(seen)),
    )
