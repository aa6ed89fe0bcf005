"""Distil, train without a teacher, or no difference: what decides, how sure it is, and what else is said."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from tutelage.errors import OutOfRange, UnknownName
from tutelage.plans import plan_student, plan_teacher
from tutelage.plans.allocate import optimal
from tutelage.plans.answer import StudentPlan
from tutelage.plans.cautions import outside, repeated
from tutelage.plans.law import DistillationLaw
from tutelage.plans.money import Machine, Storage
from tutelage.plans.problem import Problem, tokens_there_are
from tutelage.plans.published import published
from tutelage.plans.scenario import SCENARIOS, Scenario, Teacher, scenario, shared
from tutelage.plans.verdict import ALONE, DISTIL, UNRESOLVED, WORSE, decide

LAWS = published("reconciled")


def asked(case: str = "both", **changes: object) -> Problem:
    """A 1B student with 1e21 FLOP unless told otherwise."""
    return replace(Problem(LAWS, 1e9, 1e21, SCENARIOS[case]), **changes)


def told(plan: StudentPlan, about: str) -> str:
    """All cautions about one thing."""
    return "\n".join(caution.says for caution in plan.cautions if caution.about == about)


@pytest.mark.parametrize(
    ("case", "budget", "answer", "status"),
    [
        ("free", 1e20, DISTIL, 0),
        ("inference", 1e21, UNRESOLVED, 0),
        ("free", 1e23, UNRESOLVED, 0),
        ("pretraining", 1e21, ALONE, 3),
        ("both", 1e21, ALONE, 3),
    ],
)
def test_the_answer_follows_from_gain_and_margin(case, budget, answer, status):
    """More than one percent of the loss counts; a teacher for one student alone is never worth it."""
    plan = plan_student(asked(case, budget=budget))
    assert plan.verdict.answer == answer
    assert plan.exit_status == status
    assert plan.verdict.margin == pytest.approx(0.01 * plan.problem.alone)
    assert "1 % of the loss" in plan.verdict.margin_from


def test_within_the_studied_range_a_teacher_for_one_student_never_gains_more_than_the_margin():
    """The rule "train without" needs no override there: stored or not, the gain stays below one percent."""
    for student in (1e8, 3e8, 1e9, 3e9, 1.26e10):
        for tokens in (2e9, 2e10, 5.12e11):
            for case in ("pretraining", "both"):
                problem = asked(case, student=student)
                there = problem.with_budget(tokens * problem.per_token)
                point = optimal(there, quick=True)
                assert point is None or there.alone - point.loss < 0.01 * there.alone


def test_an_overridden_gain_is_told_and_warned_of():
    """table6 puts a charged teacher ahead at 12.6B; the answer stays no, with the gain and a caution."""
    problem = Problem(published("table6"), 1.26e10, 3e20)
    plan = plan_student(problem)
    assert plan.verdict.answer == ALONE
    assert (plan.verdict.gain or 0) > plan.verdict.margin
    assert "paper finds the opposite" in told(plan, "range")


def test_a_teacher_worse_than_the_text_is_named_as_that():
    """r above one, whatever the size of the difference."""
    for loss in (2.6, 2.25, 2.31):
        teacher = Teacher(loss=loss, parameters=1e8)
        problem = asked("inference", teachers=(teacher,), budget=1e21)
        verdict = decide(problem, optimal(problem))
        assert verdict.answer == ALONE
        assert WORSE in verdict.because
        assert WORSE == "this teacher is worse than training on the text"


def test_the_best_of_several_teachers_decides_and_the_others_are_still_judged():
    """One of them is worse than the text, one helps; the plan takes that one."""
    teachers = (
        Teacher(loss=3.2, parameters=1e9, name="bad"),
        Teacher(loss=2.17, parameters=2.72e9, name="good"),
    )
    plan = plan_student(asked("inference", student=3e9, budget=1e20, teachers=teachers))
    assert plan.verdict.answer == DISTIL
    assert [choice.name for choice in plan.choices] == ["good", "bad"]
    assert WORSE in plan.choices[1].verdict.because
    assert plan.choices[0].ratio < 1 < plan.choices[1].ratio
    assert plan.choices[0].stops_helping == pytest.approx(3.08e10, rel=0.02)


def test_a_teacher_without_a_loss_gets_the_law_s_and_a_caution():
    """Its size and tokens are enough for a prediction; a measurement is asked for."""
    teacher = Teacher(parameters=7.75e9, tokens=1.55e11)
    plan = plan_student(asked("inference", teachers=(teacher,)))
    assert plan.point is not None
    assert plan.point.teacher_loss == pytest.approx(1.9986, abs=1e-3)
    assert "measure it" in told(plan, "teacher")


def test_a_budget_too_small_for_any_teacher_is_an_answer_not_a_crash():
    """Training the smallest teacher costs more than there is."""
    plan = plan_student(asked("both", student=1e6, budget=3e13))
    assert plan.point is None
    assert plan.verdict.answer == ALONE
    assert plan.verdict.gain is None
    assert "does not pay for any teacher" in plan.text()
    json.dumps(plan.to_json(), allow_nan=False)


def test_refitted_laws_give_the_margin_of_their_own_band():
    """The half width of the gain's band over the draws; draws that agree leave nothing unresolved."""
    law = LAWS.distillation
    assert isinstance(law, DistillationLaw)
    draws = tuple(
        replace(LAWS, distillation=replace(law, B=law.B * factor)) for factor in (0.5, 0.8, 1.0, 1.25, 2.0)
    )
    problem = asked("inference")
    wide = decide(replace(problem, laws=replace(LAWS, draws=draws)), optimal(problem))
    same = decide(replace(problem, laws=replace(LAWS, draws=(LAWS, LAWS))), optimal(problem))
    assert wide.margin > 0.001
    assert "resampled fits" in wide.margin_from
    assert same.margin == pytest.approx(0, abs=1e-12)
    assert same.answer == DISTIL


def test_numbers_outside_the_ranges_are_named_with_how_far():
    """Each input and each result, with the bound and the factor."""
    plan = plan_student(asked("inference", student=1e11, budget=1e25))
    said = told(plan, "range")
    assert "the student: 100B parameters, 7.69 times above the highest" in said
    assert "the teacher: 100P tokens" in said
    assert "which none has" in told(plan, "teacher")
    inside = plan_student(asked("inference", teacher_tokens=1e11))
    assert told(inside, "range") == ""


def test_every_answer_says_where_its_coefficients_are_from():
    """And that `reconciled` is not published; table6 says what is wrong with it."""
    assert "not published" in told(plan_student(asked("free")), "provenance")
    verbatim = plan_student(asked("free", laws=published("table6")))
    assert "does not give the figures" in told(verbatim, "provenance")
    assert "not published" not in told(verbatim, "provenance")


def test_little_text_caps_both_arms_and_leaves_compute_unused():
    """Unique tokens times epochs; the teacher is chosen anew and what is left is told."""
    most = tokens_there_are(5e9, 4.0, None, LAWS)
    assert most == 2e10
    plan = plan_student(asked("free", most_tokens=most))
    assert plan.point is not None
    assert plan.point.tokens == most == plan.problem.alone_tokens
    assert plan.unused == pytest.approx(1e21 - most * plan.problem.per_token)
    assert "unused" in plan.text()
    assert "unused without a teacher" in told(plan, "data")
    other = plan_student(asked("free"))
    assert other.point is not None
    assert plan.point.teacher_loss != pytest.approx(other.point.teacher_loss, abs=1e-3)
    assert "4 epochs" in repeated(4.0)[0].says
    assert repeated(1.0) == []


def test_tokens_without_a_budget_compare_at_the_same_tokens():
    """Both arms see the same text; what it costs is told, not limited."""
    plan = plan_student(asked("inference", budget=math.inf, most_tokens=2e10, teacher_tokens=3e11))
    assert plan.point is not None
    assert plan.point.tokens == plan.problem.alone_tokens == 2e10
    assert plan.to_json()["budget_flops"] is None
    with pytest.raises(OutOfRange, match="to be trained"):
        asked("both", budget=math.inf, most_tokens=2e10)
    with pytest.raises(OutOfRange, match="neither a budget nor"):
        asked("free", budget=math.inf)


def test_ten_percent_more_and_the_switch_are_told():
    """The marginal value is what the next tenth gives; the switch is where the teacher stops helping."""
    plan = plan_student(asked("free"))
    assert plan.marginal is not None
    assert plan.marginal.alone == pytest.approx(plan.problem.alone - plan.problem.with_budget(1.1e21).alone)
    assert 0 < (plan.marginal.distilled or 0) < plan.marginal.alone
    assert plan.switch is not None
    assert plan.point is not None
    there = plan.problem.unaided(plan.switch)
    assert float(LAWS.student_loss(1e9, plan.switch, plan.point.teacher_loss)) == pytest.approx(
        there, abs=1e-6
    )


def test_a_plan_as_json_has_no_infinity_and_says_the_same_as_the_text():
    """One document with raw numbers; the answer stands in both."""
    plan = plan_student(
        asked("inference", teacher_tokens=3e11),
        target=2.3,
        machine=Machine(peak=989e12, price=2.0, devices=8),
        storage=Storage(64, price=20.0),
    )
    document = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    assert document["answer"] == plan.text().splitlines()[0]
    assert document["distilled"]["flops"]["student"] == plan.point.student_flops  # type: ignore[union-attr]
    assert document["target"]["alone"] < document["target"]["distilled"] * 2
    assert document["storage"]["bytes"] == pytest.approx(64 * 6 * plan.point.tokens)  # type: ignore[union-attr]
    assert max(len(line) for line in plan.text().splitlines()) <= 104


def test_the_teacher_wanted_is_the_best_case_and_none_given_means_it_decides():
    """`plan teacher`: the best loss if it cost nothing, losses as good, and the ones that exist."""
    problem = asked(
        "inference", teachers=(Teacher(loss=2.0, parameters=7e9), Teacher(loss=3.0, parameters=7e9))
    )
    plan = plan_teacher(problem)
    best = optimal(asked("free"))
    assert best is not None
    assert plan.wanted.loss == pytest.approx(best.loss)
    assert plan.flat.teacher_loss is not None
    assert plan.flat.teacher_loss[0] < plan.wanted.teacher_loss < plan.flat.teacher_loss[1]
    assert [choice.point.teacher_loss for choice in plan.choices] == [2.0, 3.0]
    assert plan.text().splitlines()[0] == plan.to_json()["answer"] == plan.verdict.answer
    alone = plan_teacher(asked("free", budget=1e20))
    assert alone.verdict.answer == DISTIL
    worse = plan_teacher(asked("inference", teachers=(Teacher(loss=3.0, parameters=7e9),)))
    assert worse.exit_status == 3
    assert WORSE in worse.text()


def test_options_outside_the_law_are_labelled_heuristics():
    """Nothing is added to the prediction; what the paper measured is told."""
    said = outside(temperature=2.0, mixing=0.3, top_k=128, divergence="reverse_kl")
    assert len(said) == 4
    assert all("heuristic" in caution.says for caution in said)
    assert outside() == []
    with pytest.raises(OutOfRange, match="temperature 0"):
        outside(temperature=0.0)


def test_shares_are_shares_and_names_are_names():
    """Outside [0, 1] there is no meaning; an unknown scenario names the nearest."""
    with pytest.raises(OutOfRange, match=r"logits is 1\.5"):
        Scenario(1.5, 0.0)
    with pytest.raises(OutOfRange, match="training is -0"):
        Scenario(0.0, -0.5)
    with pytest.raises(UnknownName, match="'inferense'"):
        scenario("inferense")
    with pytest.raises(OutOfRange, match="number of students is 0"):
        shared(0)
    assert shared(4) == Scenario(1.0, 0.25)
    assert shared(4, rows=True) == Scenario(0.25, 0.25)
