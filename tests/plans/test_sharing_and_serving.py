"""Several students, free sizes, money: sums that must come out, and limits that must be met."""

from __future__ import annotations

import pytest

from tutelage.errors import OutOfRange
from tutelage.plans import plan_student
from tutelage.plans.allocate import optimal
from tutelage.plans.alternatives import best_size
from tutelage.plans.flops import Family
from tutelage.plans.inverse import budget_alone, budget_distilled
from tutelage.plans.money import Machine, Storage, bill
from tutelage.plans.problem import Problem
from tutelage.plans.published import published
from tutelage.plans.scenario import SCENARIOS
from tutelage.plans.serving import cheapest_sizes
from tutelage.plans.sharing import break_even, gain_shared, together

LAWS = published("reconciled")


@pytest.mark.parametrize(
    ("budget", "size"), [(3e19, 0.50e9), (1e20, 0.93e9), (3e20, 1.64e9), (1e21, 3.04e9), (1e22, 9.93e9)]
)
def test_the_supervised_optimum_has_some_fifteen_tokens_a_parameter(budget, size):
    """Sizes of an independent computation; with the exact cost the ratio hardly moves."""
    found = best_size(LAWS, Family(), budget)
    assert found.parameters == pytest.approx(size, rel=0.01)
    assert 15 < found.tokens / found.parameters < 16
    assert 3 * Family().flops(found.parameters) * found.tokens == pytest.approx(budget)


def test_other_supervised_laws_have_the_same_interface():
    """Hoffmann's puts about twenty tokens on a parameter at such budgets, in its own units."""
    found = best_size(published("besiroglu"), Family(), 1e21)
    assert 10 < found.tokens / found.parameters < 40


@pytest.mark.parametrize(
    ("student", "budget", "power"),
    [
        (3e8, 1e20, 64),
        (1e9, 1e20, 32),
        (3e9, 1e20, 8),
        (1e10, 1e20, 2),
        (1e10, 1e21, 8),
    ],
)
def test_students_that_must_share_are_as_many_as_an_independent_search_says(student, budget, power):
    """The reference has powers of two; the exact count lies in the half above the one before."""
    problem = Problem(LAWS, student, budget)
    found = break_even(problem)
    assert found is not None
    assert power / 2 < found <= power
    assert gain_shared(problem, found) > 0 >= gain_shared(problem, found - 1)


def test_sharing_rows_needs_fewer_students():
    """And a gain that no number of students brings is said to be none."""
    problem = Problem(LAWS, 1e9, 1e20)
    assert (break_even(problem, rows=True) or 0) < (break_even(problem) or 0)
    assert break_even(Problem(LAWS, 1e9, 1e22), above=0.1) is None


def test_equal_students_together_are_one_student_at_its_share():
    """Four of one size from four budgets is the shared-teacher problem."""
    found = together(LAWS, (1e9,) * 4, 4e21)
    assert found is not None
    assert found.losses == pytest.approx((2.252904,) * 4, abs=2e-6)
    assert found.alone == pytest.approx((2.215968,) * 4, abs=2e-6)
    assert not found.all_gain
    rows = together(LAWS, (1e9,) * 4, 4e21, rows=True)
    assert rows is not None
    assert rows.losses == pytest.approx((2.237067,) * 4, abs=2e-6)


@pytest.mark.parametrize("rows", [False, True])
def test_students_of_several_sizes_spend_the_total_and_nothing_else(rows):
    """Teacher once, logits per token or once, every student three forward passes a token."""
    sizes, total = (3e8, 1e9, 3e9), 6e20
    found = together(LAWS, sizes, total, rows=rows)
    assert found is not None
    students = sum(3 * Family().flops(size) * seen for size, seen in zip(sizes, found.tokens, strict=True))
    assert students + found.teacher_flops + found.logits_flops == pytest.approx(total)
    assert all(loss >= found.teacher_loss for loss in found.losses)
    with pytest.raises(OutOfRange, match="no student"):
        together(LAWS, (), 1e21)


def test_the_cheapest_size_to_serve_beats_its_neighbours():
    """Training and serving together, in both arms."""
    problem = Problem(LAWS, 1e9, 1e21, SCENARIOS["inference"])
    target, served = 2.4, 1e12
    arms = cheapest_sizes(problem, target, served)
    for found, budget in zip(arms, (budget_distilled, budget_alone), strict=True):
        assert found is not None
        for factor in (0.8, 1.25):
            size = factor * found.parameters
            training = budget(Problem(LAWS, size, 1e21, SCENARIOS["inference"]), target)
            assert training is None or training + Family().flops(size) * served > 0.9999 * found.flops


def test_serving_needs_a_target():
    """At a given size it never changes the answer."""
    with pytest.raises(OutOfRange, match="without a target"):
        plan_student(Problem(LAWS, 1e9, 1e21), served=1e12)


def test_hours_are_flop_over_throughput():
    """A measured throughput replaces peak times utilisation; the price is by device hour."""
    machine = Machine(peak=1e15, utilisation=0.4, teacher_utilisation=0.5, devices=8, price=2.0)
    found = bill(machine, student=3.6 * 4e17, logits=3.6 * 5e17, teacher=3.6 * 8e17)
    assert (found.student_hours, found.logits_hours, found.teacher_hours) == pytest.approx(
        (1, 1, 2), rel=1e-12
    )
    assert found.clock_hours == pytest.approx(0.5)
    assert found.price == pytest.approx(8.0)
    measured = bill(Machine(training=1e14), student=3.6e17)
    assert measured.student_hours == pytest.approx(1.0)
    assert measured.price is None


def test_what_a_machine_or_a_store_cannot_be_is_refused():
    """Shares above one, prices below zero, a price without a throughput."""
    with pytest.raises(OutOfRange, match=r"utilisation is 1\.4"):
        Machine(peak=1e15, utilisation=1.4)
    with pytest.raises(OutOfRange, match="price is -1"):
        Machine(peak=1e15, price=-1.0)
    with pytest.raises(OutOfRange, match="without a throughput"):
        Machine(price=2.0)
    with pytest.raises(OutOfRange, match="entries is 0"):
        Storage(0)


def test_stored_rows_are_entries_times_bytes():
    """A whole row of the paper's vocabulary in single precision is its 129 KB."""
    assert Storage(32168, 4.0).bytes(1.0) == 128672
    assert Storage(64, 6.0, 20.0).price_per_month(1e12) == pytest.approx(64 * 6 * 20)


def test_a_plan_bills_what_it_spends():
    """FLOP of the three parts, each at its own rate."""
    problem = Problem(LAWS, 1e9, 1e21)
    plan = plan_student(problem, machine=Machine(peak=1e15, price=1.0))
    point = optimal(problem)
    assert point is not None
    assert plan.bills is not None
    assert plan.bills[0] is not None
    assert plan.bills[0].student_hours == pytest.approx(point.student_flops / 4e14 / 3600)
    assert plan.bills[0].logits_hours == pytest.approx(point.logits_flops / 5e14 / 3600)
    assert plan.bills[1].price == pytest.approx(1e21 / 4e14 / 3600)
