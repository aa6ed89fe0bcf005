"""What `tutelage plan student` answers: distil this student or not, and everything around that.

Source: Busbridge et al. 2025, arXiv:2502.08606.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tutelage.errors import OutOfRange
from tutelage.plans.allocate import Optimum, optimal, with_teacher
from tutelage.plans.alternatives import Marginal, Supervised, best_size, switch, ten_percent
from tutelage.plans.answer_text import student_text
from tutelage.plans.cautions import Caution, cautions
from tutelage.plans.crossover import Crossing, in_budget, in_tokens
from tutelage.plans.flat import Flat, flat
from tutelage.plans.inverse import budget_alone, budget_distilled, checked_target
from tutelage.plans.money import Bill, Machine, Storage, bill, recomputed
from tutelage.plans.problem import Problem
from tutelage.plans.serving import Served, cheapest_sizes
from tutelage.plans.sharing import break_even
from tutelage.plans.verdict import Verdict, decide, ratio


@dataclass(frozen=True)
class Choice:
    """One of the teachers that exist.

    Attributes:
        point: what the student reaches with it.
        ratio: r, its loss over the unaided student's on the same tokens; above 1 it is worse than the text.
        verdict: on this teacher alone.
        stops_helping: tokens from which on the text alone is as good; None if it never stops or never helps.
    """

    point: Optimum
    ratio: float
    verdict: Verdict
    stops_helping: float | None

    @property
    def name(self) -> str:
        """What the answer calls the teacher."""
        return self.point.teacher.told.removeprefix("teacher ") if self.point.teacher else ""


@dataclass(frozen=True)
class Target:
    """The cheapest budgets that reach a loss, FLOP; None where an arm cannot."""

    loss: float
    distilled: float | None
    alone: float | None


@dataclass(frozen=True)
class StudentPlan:
    """The answer about one student.

    Attributes:
        problem: what was asked.
        verdict: distil, train without a teacher, or no difference.
        point: the best point with a teacher; None if none can be paid.
        flat: teachers that are as good to within a tolerance.
        choices: the teachers that exist, best first.
        crossings: budgets at which the gain changes its sign.
        crossings_margin: budgets at which it passes the law's own error.
        switch: tokens after which this teacher no longer helps.
        shared: students that must share a teacher to gain at all, and to gain more than the margin; None
            unless this student pays for the teacher's training.
        free_size: what the budget gives if the size is free and there is no teacher.
        marginal: what ten percent more budget gives.
        target: the cheapest way to a loss, if one was asked for.
        served: the cheapest sizes with a teacher and without, serving included, if that was asked for.
        bills: hours and price with a teacher and without, if a machine was told.
        storage: bytes of stored rows, price a month, price of computing them again.
        cautions: part of the answer.
    """

    problem: Problem
    verdict: Verdict
    point: Optimum | None
    flat: Flat | None
    choices: tuple[Choice, ...]
    crossings: tuple[Crossing, ...]
    crossings_margin: tuple[Crossing, ...]
    switch: float | None
    shared: tuple[int | None, int | None] | None
    free_size: Supervised | None
    marginal: Marginal | None
    target: Target | None
    served: tuple[Served | None, Served | None] | None
    bills: tuple[Bill | None, Bill] | None
    storage: tuple[float, float | None, float | None] | None
    cautions: tuple[Caution, ...]

    @property
    def exit_status(self) -> int:
        """3 where the answer is no, else 0."""
        return self.verdict.exit_status

    @property
    def unused(self) -> float:
        """FLOP of the budget that the best point leaves, because there are no more tokens."""
        left = self.problem.budget - self.point.spent if self.point and self.has_budget else 0.0
        return left if left > 1e-9 * self.problem.budget else 0.0

    @property
    def has_budget(self) -> bool:
        """Whether a budget was given, not tokens alone."""
        return math.isfinite(self.problem.budget)

    def text(self) -> str:
        """For a terminal."""
        return student_text(self)

    def to_json(self) -> dict[str, Any]:
        """One document: raw numbers with their units in the names."""
        problem, verdict = self.problem, self.verdict
        scenario = problem.scenario
        return {
            "answer": verdict.answer,
            "exit_status": self.exit_status,
            "because": verdict.because,
            "gain_nats": verdict.gain,
            "margin_nats": verdict.margin,
            "margin_from": verdict.margin_from,
            "laws": {"name": problem.laws.name, "source": problem.laws.source},
            "student": {"parameters": problem.student, "forward_flops": problem.forward},
            "budget_flops": finite(problem.budget),
            "most_tokens": finite(problem.most_tokens),
            "scenario": {"logits": scenario.logits, "training": scenario.training, "told": scenario.told},
            "alone": {
                "loss_nats": problem.alone,
                "tokens": problem.alone_tokens,
                "flops": problem.per_token * problem.alone_tokens,
            },
            "distilled": None if self.point is None else point_json(self.point),
            "unused_flops": self.unused,
            "flat": None if self.flat is None else asdict(self.flat),
            "teachers": [choice_json(choice) for choice in self.choices],
            "crossings": [asdict(crossing) for crossing in self.crossings],
            "crossings_of_margin": [asdict(crossing) for crossing in self.crossings_margin],
            "stops_helping_at_tokens": self.switch,
            "students_to_share": None
            if self.shared is None
            else dict(zip(("gain", "margin"), self.shared, strict=True)),
            "free_size": None if self.free_size is None else asdict(self.free_size),
            "ten_percent_more_nats": None if self.marginal is None else asdict(self.marginal),
            "target": None if self.target is None else asdict(self.target),
            "served": None
            if self.served is None
            else {
                arm: each and asdict(each)
                for arm, each in zip(("distilled", "alone"), self.served, strict=True)
            },
            "bills": None
            if self.bills is None
            else {"distilled": self.bills[0] and asdict(self.bills[0]), "alone": asdict(self.bills[1])},
            "storage": None
            if self.storage is None
            else dict(zip(("bytes", "price_per_month", "price_computed_again"), self.storage, strict=True)),
            "cautions": [asdict(caution) for caution in self.cautions],
        }


def plan_student(
    problem: Problem,
    *,
    target: float | None = None,
    served: float | None = None,
    rows: bool = False,
    machine: Machine | None = None,
    storage: Storage | None = None,
    more: tuple[Caution, ...] = (),
) -> StudentPlan:
    """Distil this student or train it without a teacher: which teacher, how many tokens, with what loss.

    Args:
        problem: student, budget, scenario and teachers.
        target: a loss in nats per token whose cheapest budgets are wanted too.
        served: tokens that the student will serve; with a target, the cheapest size is told too.
        rows: whether students that share a teacher would share stored logits.
        machine: what computes, for hours and money.
        storage: how rows would be stored.
        more: cautions of whoever asks.

    Raises:
        OutOfRange: the target is below what this size reaches, or is missing where tokens are served.
    """
    if served is not None and target is None:
        raise OutOfRange(
            f"{served:.3g} tokens to serve without a target",
            expected="a loss in nats per token: at a given size serving never changes the answer",
            fix="add for instance `--target-loss 2.2`",
        )
    point = optimal(problem)
    verdict = decide(problem, point)
    with_budget = math.isfinite(problem.budget)
    pays = problem.scenario.training > 0 and not problem.teachers and with_budget
    shared, gains = None, {}
    if pays:
        shared = (
            break_even(problem, rows=rows),
            break_even(problem, rows=rows, above=problem.laws.error * problem.alone),
        )
    return StudentPlan(
        problem,
        verdict,
        point,
        None if point is None else flat(problem, point),
        choices(problem),
        in_budget(problem, known=gains) if with_budget else (),
        in_budget(problem, known=gains, share=problem.laws.error) if with_budget else (),
        None if point is None else switch(problem, point),
        shared,
        best_size(problem.laws, problem.cost, problem.budget, problem.most_tokens) if with_budget else None,
        ten_percent(problem, point) if with_budget else None,
        None if target is None else _target(problem, checked_target(problem, target)),
        None if target is None or served is None else cheapest_sizes(problem, target, served),
        None if machine is None else _bills(problem, point, machine),
        None if storage is None or point is None else _stored(problem, point, storage, machine),
        (*cautions(problem, point, verdict), *more),
    )


def choices(problem: Problem) -> tuple[Choice, ...]:
    """Every teacher that exists and can be paid, the best student first."""
    found = []
    for teacher in problem.teachers:
        point = with_teacher(problem, teacher)
        if point is None:
            continue
        falls = [each.at for each in in_tokens(problem, point.teacher_loss) if each.falls]
        stops = falls[-1] if falls else None
        found.append(Choice(point, ratio(problem, point), decide(problem, point), stops))
    return tuple(sorted(found, key=lambda choice: choice.point.loss))


def point_json(point: Optimum) -> dict[str, Any]:
    """A point with units in the names."""
    return {
        "loss_nats": point.loss,
        "tokens": point.tokens,
        "teacher": point.teacher.told if point.teacher else None,
        "teacher_loss_nats": point.teacher_loss,
        "teacher_parameters": point.teacher_parameters,
        "teacher_tokens": point.teacher_tokens,
        "flops": {
            "student": point.student_flops,
            "logits": point.logits_flops,
            "teacher": point.teacher_flops,
        },
        "shares": dict(zip(("student", "logits", "teacher"), point.shares, strict=True)),
    }


def choice_json(choice: Choice) -> dict[str, Any]:
    """One of the teachers that exist."""
    return {
        **point_json(choice.point),
        "ratio": choice.ratio,
        "gain_nats": choice.verdict.gain,
        "answer": choice.verdict.answer,
        "because": choice.verdict.because,
        "stops_helping_at_tokens": choice.stops_helping,
    }


def finite(value: float) -> float | None:
    """A number, or None where it is infinite: JSON has no infinity."""
    return value if math.isfinite(value) else None


def _target(problem: Problem, loss: float) -> Target:
    return Target(loss, budget_distilled(problem, loss), budget_alone(problem, loss))


def _bills(problem: Problem, point: Optimum | None, machine: Machine) -> tuple[Bill | None, Bill]:
    distilled = None
    if point is not None:
        distilled = bill(machine, point.student_flops, point.logits_flops, point.teacher_flops)
    return distilled, bill(machine, problem.per_token * problem.alone_tokens)


def _stored(
    problem: Problem, point: Optimum, storage: Storage, machine: Machine | None
) -> tuple[float, float | None, float | None]:
    forward = point.teacher.forward(problem.cost) if point.teacher else None
    if forward is None and point.teacher_parameters is not None:
        forward = float(problem.cost.flops(point.teacher_parameters))
    again = None if machine is None else recomputed(machine, point, forward)
    return storage.bytes(point.tokens), storage.price_per_month(point.tokens), again
