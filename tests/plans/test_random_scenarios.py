"""Five hundred problems drawn at random: nothing crashes, nothing is overspent, more compute never hurts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tutelage.plans.allocate import optimal
from tutelage.plans.problem import Problem
from tutelage.plans.published import published
from tutelage.plans.scenario import Scenario, Teacher
from tutelage.plans.verdict import ALONE, DISTIL, UNRESOLVED, decide

BATCHES, IN_EACH = 10, 50


def drawn(random: np.random.Generator) -> Problem:
    """Any student from 1M to 1T, any budget, any shares, sometimes teachers, sometimes little text."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(random.uniform(math.log(low), math.log(high))))

    share = [0.0, 1.0, float(random.random()), log_uniform(1e-4, 1.0)]
    scenario = Scenario(*(float(random.choice(share)) for _ in range(2)))
    teachers: tuple[Teacher, ...] = ()
    if random.random() < 0.3:
        teachers = tuple(
            Teacher(
                loss=float(random.uniform(1.25, 6.0)) if random.random() < 0.5 else None,
                parameters=log_uniform(1e6, 1e13),
                tokens=log_uniform(1e7, 1e15),
            )
            for _ in range(int(random.integers(1, 4)))
        )
    student = log_uniform(1e6, 1e12)
    return Problem(
        published(str(random.choice(["reconciled", "table6"]))),
        student,
        log_uniform(1e15, 1e28) + 10 * student,
        scenario,
        teachers,
        most_tokens=log_uniform(1e8, 1e14) if random.random() < 0.3 else math.inf,
        teacher_tokens=log_uniform(1e8, 1e17),
    )


def payable(random: np.random.Generator) -> Problem:
    """A problem whose budget pays a million tokens of the student."""
    while True:
        try:
            problem = drawn(random)
        except ValueError:
            continue
        if problem.budget > 1e6 * problem.per_token:
            return problem


@pytest.mark.parametrize("batch", range(BATCHES))
def test_any_problem_has_an_answer_that_keeps_the_books(batch):
    """Spent is at most the budget, nothing is negative, the student is never below its teacher."""
    random = np.random.default_rng(batch)
    answered = 0
    for _ in range(IN_EACH):
        problem = payable(random)
        point = optimal(problem, quick=True)
        verdict = decide(problem, point)
        assert verdict.answer in (DISTIL, ALONE, UNRESOLVED)
        assert verdict.margin > 0
        assert math.isfinite(problem.alone)
        if point is None:
            assert verdict.gain is None
            assert verdict.exit_status == 3
            continue
        answered += 1
        costs = (point.student_flops, point.logits_flops, point.teacher_flops)
        assert min(costs) >= 0
        assert 0 < point.spent <= problem.budget * (1 + 1e-9)
        assert 1 <= point.tokens <= problem.most_tokens
        assert problem.laws.supervised.E <= point.teacher_loss <= point.loss * (1 + 1e-12)
        assert verdict.gain == pytest.approx(problem.alone - point.loss)
        assert verdict.answer != DISTIL or (verdict.gain or 0) > verdict.margin
        more = optimal(problem.with_budget(1.7 * problem.budget), quick=True)
        assert more is not None
        assert more.loss <= point.loss + 1e-7
        assert problem.with_budget(1.7 * problem.budget).alone <= problem.alone
    assert answered > IN_EACH / 2


def test_paying_less_of_the_teacher_never_hurts():
    """The optimum falls with either share."""
    random = np.random.default_rng(3)
    for _ in range(25):
        problem = replace(payable(random), teachers=())
        if problem.scenario.training == 0:
            continue
        dear = optimal(problem, quick=True)
        halves = Scenario(problem.scenario.logits / 2, problem.scenario.training / 2)
        cheap = optimal(replace(problem, scenario=halves), quick=True)
        if dear is not None:
            assert cheap is not None
            assert cheap.loss <= dear.loss + 1e-7
