"""Where distillation stops paying, and what a loss costs, against the paper and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.errors import OutOfRange
from tutelage.plans.allocate import losses_at, losses_of_size, optimal
from tutelage.plans.crossover import in_budget, in_tokens
from tutelage.plans.flat import flat
from tutelage.plans.inverse import budget_alone, budget_distilled, checked_target
from tutelage.plans.problem import Problem
from tutelage.plans.published import published
from tutelage.plans.scenario import SCENARIOS, Scenario, Teacher
from tutelage.plans.search import sign_changes

LAWS = published("reconciled")

TABLE = [
    # Student, scenario, ahead up to, ahead by more than 0.01 nats up to; None for always (section 2.6).
    (3e8, "free", None, 5.9e21),
    (3e8, "inference", None, 4.1e20),
    (5e8, "free", 5.0e23, 3.9e21),
    (5e8, "inference", 8.2e21, 4.2e20),
    (1e9, "free", 8.8e22, 5.5e21),
    (1e9, "inference", 4.2e21, 7.9e20),
    (3e9, "free", 2.9e23, 2.3e22),
    (3e9, "inference", 1.7e22, 4.0e21),
    (1e10, "free", 2.2e25, 2.9e23),
    (1e10, "inference", 3.0e23, 4.1e22),
    (3e10, "free", None, 1.3e25),
    (3e10, "inference", None, 5.7e23),
]


@pytest.mark.parametrize(("student", "case", "ahead", "clearly"), TABLE)
def test_crossovers_are_those_of_an_independent_scan(student, case, ahead, clearly):
    """Two digits of every budget at which the curves meet, and at which 0.01 nats are left."""
    problem = Problem(LAWS, student, 1e22, SCENARIOS[case])
    met = in_budget(problem, within=(1e19, 1e28))
    assert [each.falls for each in met] == [True] * (ahead is not None)
    if ahead is not None:
        assert met[0].at == pytest.approx(ahead, rel=0.03)
    (left,) = in_budget(problem, threshold=0.01, within=(1e19, 1e28))
    assert left.at == pytest.approx(clearly, rel=0.03)


@pytest.mark.parametrize(("size", "tokens", "read_off"), [(4.82e9, 37e9, 35e9), (7.75e9, 75e9, 56e9)])
def test_a_teacher_stops_helping_near_where_figure_6_has_it(size, tokens, read_off):
    """A 10B student; zero crossings are differences of nearly equal losses, so within a factor of 1.4."""
    problem = Problem(LAWS, 1e10, 1e22, SCENARIOS["free"])
    *_, last = in_tokens(problem, float(LAWS.supervised.loss(size, 20 * size)))
    assert last.falls
    assert last.at == pytest.approx(tokens, rel=0.02)
    assert 1 / 1.4 < last.at / read_off < 1.4


@pytest.mark.parametrize(
    ("student", "target", "compute", "tokens"), [(5e8, 2.4, 0.749, 0.57), (1e10, 2.2, 0.514, 0.44)]
)
def test_reaching_a_loss_costs_the_shares_of_the_text(student, target, compute, tokens):
    """With a teacher that exists: about 3/4 and 1/2 of the compute (appendix D.5), fewer tokens still."""
    problem = Problem(LAWS, student, 1e21, SCENARIOS["inference"])
    alone, distilled = budget_alone(problem, target), budget_distilled(problem, target)
    assert alone is not None
    assert distilled is not None
    assert distilled / alone == pytest.approx(compute, abs=0.002)
    point = optimal(problem.with_budget(distilled))
    assert point is not None
    assert point.tokens / (alone / problem.per_token) == pytest.approx(tokens, abs=0.006)


@pytest.mark.parametrize("case", [*SCENARIOS, "fraction", "teachers"])
@pytest.mark.parametrize(("student", "budget"), [(3e8, 1e20), (1e10, 1e22)])
def test_the_budget_of_a_loss_is_the_budget_that_gave_it(case, student, budget):
    """The inverse is solved without the forward search, so that each checks the other."""
    scenario = SCENARIOS.get(case, Scenario(0.5, 0.1))
    teachers = (Teacher(loss=2.2, parameters=2e9), Teacher(loss=2.0, parameters=7e9))
    if case == "teachers":
        problem = Problem(LAWS, student, budget, SCENARIOS["inference"], teachers)
    else:
        problem = Problem(LAWS, student, budget, scenario)
    point = optimal(problem)
    assert point is not None
    assert budget_distilled(problem, point.loss) == pytest.approx(budget, rel=1e-6)
    assert budget_distilled(problem, point.loss, quick=True) == pytest.approx(budget, rel=1e-4)
    assert budget_alone(problem, problem.alone) == pytest.approx(budget, rel=1e-9)


def test_a_loss_that_no_amount_of_compute_reaches_is_refused():
    """The limit of the size is in the error."""
    problem = Problem(LAWS, 1e9, 1e21)
    assert budget_alone(problem, 2.0) is None
    with pytest.raises(OutOfRange, match=r"below what this size reaches"):
        checked_target(problem, 2.0)
    assert checked_target(problem, 2.3) == 2.3


def test_a_loss_that_needs_more_text_than_there_is_is_refused():
    """What is reached with the text there is decides, not what could be reached with more."""
    problem = Problem(LAWS, 1e9, 1e21, SCENARIOS["free"], most_tokens=1e10)
    with pytest.raises(OutOfRange, match="below what this size reaches"):
        checked_target(problem, 2.3)


def test_two_crossings_are_both_found():
    """Curves may meet twice; a bisection alone would find one of them, or none."""
    found = sign_changes(lambda x: (x - 0.31) * (x - 0.77), [i / 10 for i in range(11)])
    assert [round(place, 6) for place, _ in found] == [0.31, 0.77]
    assert [falls for _, falls in found] == [True, False]
    assert sign_changes(lambda x: math.nan, [0.0, 1.0]) == []


@pytest.mark.parametrize("case", SCENARIOS)
def test_everything_within_a_flat_range_is_as_good_as_it_says(case):
    """At the ends the loss is exactly the tolerance above the best; inside, below it."""
    problem = Problem(LAWS, 2e9, 1e21, SCENARIOS[case])
    best = optimal(problem)
    assert best is not None
    found = flat(problem, best, 0.002)
    if found.teacher_loss is not None:
        ends = np.log(np.array([found.teacher_loss]) - LAWS.supervised.E)
        assert losses_at(problem, ends)[0] == pytest.approx(best.loss + 0.002, abs=1e-6)
        assert found.teacher_loss[0] < best.teacher_loss < found.teacher_loss[1]
    if found.teacher_parameters is not None:
        ends = np.log(np.array([found.teacher_parameters]))
        assert losses_of_size(problem, ends)[0] == pytest.approx(best.loss + 0.002, abs=1e-6)
        # A checkpoint may be off by half and still do.
        assert found.teacher_parameters[1] / found.teacher_parameters[0] > 1.5
    assert found.teacher_loss or found.teacher_parameters
