"""Optima agree with an independent computation, with another optimiser, and with the paper's figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plan_oracle import REFERENCE, slsqp

from tutelage.plans.allocate import Optimum, losses_at, optimal, with_teacher
from tutelage.plans.flops import Family
from tutelage.plans.problem import Problem
from tutelage.plans.published import published
from tutelage.plans.scenario import SCENARIOS, Scenario, Teacher, shared
from tutelage.plans.search import lowest
from tutelage.plans.verdict import ALONE, DISTIL, UNRESOLVED, decide


def str_or_place(value: str | list) -> str:
    """Name of a test: the law, and student and budget."""
    return value if isinstance(value, str) else f"{value[0]:g}-{value[1]:g}"


SETS = ("reconciled", "table6")
ROWS = [(name, row) for name in SETS for row in REFERENCE["optimal"][name]["rows"]]


def best(student: float, budget: float, case: str | Scenario = "both", law: str = "reconciled") -> Optimum:
    """The optimum of a scenario; there is one."""
    scenario = SCENARIOS[case] if isinstance(case, str) else case
    found = optimal(Problem(published(law), student, budget, scenario))
    assert found is not None
    return found


def agrees(found: Optimum, loss: float, teacher: float, tokens: float, size: float, amount: float) -> None:
    """Within the tolerances of the reference: 2e-6 nats, 0.5 % of L_T and D_S, 2 % of N_T and D_T."""
    assert found.loss == pytest.approx(loss, abs=2e-6)
    assert found.teacher_loss == pytest.approx(teacher, rel=0.005)
    assert found.tokens == pytest.approx(tokens, rel=0.005)
    assert found.teacher_parameters == pytest.approx(size, rel=0.02)
    assert found.teacher_tokens == pytest.approx(amount, rel=0.02)


@pytest.mark.parametrize(("law", "row"), ROWS, ids=str_or_place)
def test_optima_are_those_of_an_independent_search(law, row):
    """All four scenarios, seven budgets, four sizes, both sets of coefficients."""
    student, budget, alone, free, inference, pretraining, both = row
    problem = Problem(published(law), student, budget)
    assert problem.alone == pytest.approx(alone[0], abs=2e-6)
    assert problem.alone_tokens == pytest.approx(alone[1], rel=1e-4)
    agrees(best(student, budget, "free", law), *free)
    agrees(best(student, budget, "inference", law), *inference, 1e17)
    agrees(best(student, budget, "pretraining", law), *pretraining)
    found = best(student, budget, "both", law)
    agrees(found, *both[:5])
    if len(both) > 5:
        assert found.shares == pytest.approx(both[5:], abs=2e-3)


@pytest.mark.parametrize("case", ["inference", "pretraining", "both"])
@pytest.mark.parametrize(("student", "budget"), [(3e8, 1e20), (1e9, 1e21), (1e10, 1e22)])
def test_slsqp_on_the_whole_problem_finds_no_better_point(case, student, budget):
    """Another method, the laws written out as printed, all three unknowns at once: the same loss to 1e-6."""
    other = slsqp(published("reconciled"), student, budget, SCENARIOS[case])
    assert best(student, budget, case).loss == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("shares", [(0.25, 0.25), (1.0, 0.125), (0.5, 0.01)])
def test_slsqp_agrees_where_costs_are_shared(shares):
    """Amortisation in part is the same problem with smaller costs."""
    scenario = Scenario(*shares)
    other = slsqp(published("reconciled"), 1e9, 1e21, scenario)
    assert best(1e9, 1e21, scenario).loss == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("row", REFERENCE["shared_teacher"]["rows"], ids=lambda row: f"{row[0]:g}-{row[1]:g}")
def test_a_shared_teacher_costs_each_student_its_share(row):
    """Logits paid by each, training by k together."""
    student, budget, _, *points = row
    for students, loss, size, amount, tokens in points:
        found = best(student, budget, shared(int(students)))
        assert found.loss == pytest.approx(loss, abs=2e-6)
        assert found.teacher_parameters == pytest.approx(size, rel=0.02)
        assert found.teacher_tokens == pytest.approx(amount, rel=0.02)
        assert found.tokens == pytest.approx(tokens, rel=0.005)


@pytest.mark.parametrize("row", REFERENCE["shared_teacher_and_rows"]["rows"], ids=lambda row: f"{row[0]:g}")
def test_sharing_rows_too_is_cheaper(row):
    """Stored logits are shared as well."""
    student, budget, *points = row
    for students, loss in points:
        assert best(student, budget, shared(int(students), rows=True)).loss == pytest.approx(loss, abs=2e-6)


@pytest.mark.parametrize(
    "row", REFERENCE["existing_teachers"]["rows"], ids=lambda row: f"{row[0]:g}-{row[1]:g}"
)
def test_existing_teachers_are_compared_at_the_same_budget(row):
    """Tokens, losses and the verdict at one percent, as computed independently."""
    student, budget, alone, points, verdict = row
    known = REFERENCE["existing_teachers"]["teachers [N_T, L_T]"]
    teachers = tuple(Teacher(loss=loss, parameters=size) for size, loss in known)
    problem = Problem(published("reconciled"), student, budget, SCENARIOS["inference"], teachers)
    for teacher, (tokens, loss) in zip(teachers, points, strict=True):
        found = with_teacher(problem, teacher)
        assert found is not None
        assert found.tokens == pytest.approx(tokens, rel=1e-4)
        assert found.loss == pytest.approx(loss, abs=2e-6)
    chosen = optimal(problem)
    assert chosen is not None
    assert chosen.loss == pytest.approx(min(loss for _, loss in points), abs=2e-6)
    assert problem.alone == pytest.approx(alone, abs=2e-6)
    expected = {"no difference": UNRESOLVED, "supervised": ALONE, "distil, teacher 2.72B": DISTIL}[verdict]
    assert decide(problem, chosen).answer == expected
    if expected == DISTIL:
        assert chosen.teacher == teachers[1]


@pytest.mark.parametrize("row", REFERENCE["fixed_tokens"]["rows"], ids=lambda row: f"{row[0]:g}-{row[1]:g}")
def test_the_best_teacher_loss_on_given_tokens(row):
    """A token limit without a budget: the teacher's loss alone is free (figure 7)."""
    student, tokens, *expected = row
    for law, (teacher, loss) in zip(("table6", "reconciled"), (expected[:2], expected[2:]), strict=True):
        problem = Problem(published(law), student, math.inf, SCENARIOS["free"], most_tokens=tokens)
        found = optimal(problem)
        assert found is not None
        assert found.loss == pytest.approx(loss, abs=2e-6)
        assert found.teacher_loss == pytest.approx(teacher, rel=0.005)


FIGURE_8 = [
    # Student, budget, curve, loss as read off the published figure.
    (3e8, 1e21, "alone", 2.358),
    (1e9, 1e21, "alone", 2.216),
    (3e9, 1e21, "alone", 2.171),
    (1e10, 1e21, "alone", 2.224),
    (3e8, 1e21, "free", 2.336),
    (1e9, 1e21, "free", 2.194),
    (3e9, 1e21, "free", 2.122),
    (1e10, 1e21, "free", 2.107),
    (1e10, 3.16e20, "free", 2.258),
    (1e10, 1e22, "free", 1.936),
    (1e10, 1e23, "free", 1.844),
    (3e8, 1e20, "free", 2.427),
    (3e8, 1e20, "inference", 2.448),
    (3e8, 1e20, "pretraining", 2.541),
    (3e8, 1e20, "both", 2.563),
]


@pytest.mark.parametrize(("student", "budget", "curve", "read_off"), FIGURE_8)
def test_losses_are_those_of_figure_8(student, budget, curve, read_off):
    """Within 0.008 nats of what can be read off the paper's curves."""
    problem = Problem(published("reconciled"), student, budget)
    found = problem.alone if curve == "alone" else best(student, budget, curve).loss
    assert found == pytest.approx(read_off, abs=0.008)


FIGURE_9 = [
    (1e10, 1e20, 0.44e9, 7.4e9, 1.13e9),
    (1e10, 1e22, 6.0e9, 129e9, 56e9),
    (1e10, 1e24, 34e9, 1.89e12, 4.1e12),
    (1e10, 1e26, 46e9, 38e12, 540e12),
    (3e8, 1e20, 0.451e9, 13.1e9, 13.1e9),
    (3e8, 1e22, 1.09e9, 230e9, 1.45e12),
    (3e8, 1e26, 0.69e9, 127e12, 24e15),
]


@pytest.mark.parametrize(("student", "budget", "size", "amount", "tokens"), FIGURE_9)
def test_sizes_and_tokens_are_those_of_figure_9(student, budget, size, amount, tokens):
    """Within nine percent of what can be read off the paper's figure, over six orders of magnitude."""
    found = best(student, budget)
    assert found.teacher_parameters == pytest.approx(size, rel=0.09)
    assert found.teacher_tokens == pytest.approx(amount, rel=0.09)
    assert found.tokens == pytest.approx(tokens, rel=0.09)


def test_where_the_compute_goes_is_as_in_table_3():
    """Mostly teacher training for small students, student training for large ones, thirds at the far end."""
    assert best(3e8, 1e20).shares[2] > 0.5
    assert best(1e10, 1e20).shares[0] > 0.7
    student, logits, teacher = best(1e9, 1e25).shares
    assert abs(student - logits) < 0.1
    assert teacher < 0.05
    assert all(0.2 < share < 0.5 for share in best(1e10, 1e25).shares)


@pytest.mark.parametrize("student", [3e8, 1e9, 3e9])
def test_a_teacher_that_is_trained_has_the_tokens_of_a_supervised_optimum(student):
    """With stored logits its tokens per parameter do not move with the budget (appendix D.4.5)."""
    for budget in (1e20, 1e21, 1e22, 1e23):
        found = best(student, budget, "pretraining")
        assert found.teacher_tokens is not None
        assert found.teacher_parameters is not None
        assert 15.1 < found.teacher_tokens / found.teacher_parameters < 15.9


def test_the_student_falls_and_then_rises_with_its_teacher():
    """The capacity gap: one valley over the teacher's loss, and both its sides are higher."""
    problem = Problem(published("reconciled"), 1e9, 1e21, SCENARIOS["free"])
    losses = losses_at(problem, np.linspace(-4, 1, 200)[None, :])[0]
    turns = np.sum(np.diff(np.sign(np.diff(losses))) != 0)
    assert turns == 1
    assert losses[0] > losses.min() + 0.05
    assert losses[-1] > losses.min() + 0.05


def test_the_quick_search_differs_in_the_loss_by_a_millionth():
    """Curves and crossings are made with it."""
    for case in SCENARIOS:
        problem = Problem(published("reconciled"), 2e9, 5e20, SCENARIOS[case])
        quick, exact = optimal(problem, quick=True), optimal(problem)
        assert quick is not None
        assert exact is not None
        assert 0 <= quick.loss - exact.loss < 1e-6


def test_the_search_finds_the_deeper_of_two_valleys_in_every_row():
    """A bracket would find the one it starts in."""
    depth = np.array([[0.5], [-0.5]])

    def valleys(x: np.ndarray) -> np.ndarray:
        return (x**2 - 1) ** 2 + depth * x

    place, value = lowest(valleys, [-2.0, -2.0], [2.0, 2.0])
    assert np.sign(place).tolist() == [-1, 1]
    assert value == pytest.approx(valleys(place[:, None])[:, 0])


def test_a_search_without_a_possible_point_says_so():
    """An empty interval, and a function that is nowhere finite."""
    _, empty = lowest(lambda x: x, [1.0], [0.0])
    _, nowhere = lowest(lambda x: x * np.nan, [0.0], [1.0])
    assert np.isinf(empty[0])
    assert np.isinf(nowhere[0])


def test_the_cost_of_a_family_is_that_of_the_oracle():
    """The same constants, spelt in two ways."""
    assert Family().flops(1e9) == pytest.approx(2454385317, rel=1e-9)
