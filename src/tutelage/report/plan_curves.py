"""The curves of a plan: which there are, and the numbers behind them.

Loss against budget is figure 8 of Busbridge et al. 2025 (arXiv:2502.08606), the optimal sizes are figure 9.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from markupsafe import Markup

from tutelage.plans.allocate import Optimum, optimal
from tutelage.plans.answer import Choice, StudentPlan
from tutelage.plans.choosing import TeacherPlan
from tutelage.plans.crossover import in_tokens
from tutelage.plans.problem import Problem
from tutelage.plans.scenario import SCENARIOS
from tutelage.plans.units import told
from tutelage.report.curves import Figure, Panel
from tutelage.report.plan_charts import Curve, Mark, Scale, bars, plan_chart
from tutelage.report.wording import plain, short

ALONE, YOURS = "no teacher", "your case"
CASES = {
    "free": "free teacher",
    "inference": "logits paid",
    "pretraining": "training paid",
    "both": "both paid",
}
STYLES = {ALONE: "control", YOURS: "teacher", **{name: f"s{i}" for i, name in enumerate(CASES.values())}}
NATS, BUDGET = Scale("nats per token"), Scale("FLOP for one student", logarithmic=True)
TOKENS = Scale("tokens that the student sees", logarithmic=True)
LESS = "The same less training alone: below zero a teacher helps, inside the band nobody can tell."
DECADES, A_DECADE = 2.0, 6


def student_figures(plan: StudentPlan) -> tuple[Figure, ...]:
    """The figures of a plan about a student, those with nothing to show left out."""
    found: list[Figure | None] = [_by_budget(plan)]
    if plan.point is not None:
        share = plan.verdict.margin / plan.problem.alone
        found.append(_by_tokens(plan.problem, plan.point, share, "this plan"))
        found.append(_by_teacher(plan.problem, plan.point, plan.choices, "this plan"))
    found += [_optima(plan), _cost(plan)]
    return tuple(figure for figure in found if figure is not None)


def teacher_figures(plan: TeacherPlan) -> tuple[Figure, ...]:
    """The figures of a plan about teachers: how good one is wanted, and how long it helps."""
    problem, ring = plan.problem, "the best teacher, if it costs nothing"
    share = plan.verdict.margin / problem.alone
    return (
        _by_teacher(problem, plan.wanted, plan.choices, ring, as_good=plan.flat.teacher_loss),
        _by_tokens(problem, plan.wanted, share, ring),
    )


def _budgets(problem: Problem) -> list[float]:
    """Budgets around that of the problem, or around what its tokens cost; none that pays no token."""
    middle = problem.budget if math.isfinite(problem.budget) else problem.per_token * problem.most_tokens
    ends = math.log10(middle) - DECADES, math.log10(middle) + DECADES
    grid = np.logspace(*ends, int(2 * DECADES * A_DECADE) + 1)
    return [float(budget) for budget in grid if budget > problem.per_token * problem.laws.smallest_tokens]


def _by_budget(plan: StudentPlan) -> Figure:
    """Every scenario against the budget, the law's own error around training alone, crossings, the plan."""
    problem = plan.problem
    budgets = _budgets(problem)
    alone = {budget: problem.with_budget(budget).alone for budget in budgets}
    curves = [Curve(ALONE, STYLES[ALONE], tuple(alone.items()))]
    for key, name in CASES.items():
        there = replace(problem, scenario=SCENARIOS[key], teachers=(), budget=budgets[-1])
        curves.append(_losses(name, there, budgets))
    if problem.teachers or problem.scenario not in SCENARIOS.values():
        curves.append(_losses(YOURS, replace(problem, budget=budgets[-1]), budgets))
    curves = [curve for curve in curves if len(curve.points) > 1]
    share = plan.verdict.margin / problem.alone
    band = [(budget, loss * (1 - share), loss * (1 + share)) for budget, loss in alone.items()]
    marks = [
        Mark(each.at, _height(each.at, alone), "crossing", f"crossing at {short(each.at)} FLOP")
        for each in plan.crossings
        if budgets[0] <= each.at <= budgets[-1]
    ]
    if plan.point is not None:
        spent = problem.budget if plan.has_budget else plan.point.spent
        marks.append(Mark(spent, plan.point.loss, "chosen", f"this plan: {plan.point.loss:.4f} nats"))
    panel = Panel("The whole picture.", _loss_chart(curves, band, marks))
    beside = Panel(LESS, _gain_chart(curves, alone, share, marks, BUDGET))
    note = (
        "What the student reaches, by who pays for the teacher. The band around training alone is what the "
        "law cannot resolve; a diamond is where your case crosses it, the ring is this plan."
    )
    return Figure("Loss against budget", note, (panel, beside), *_numbers("FLOP", curves))


def _loss_chart(
    curves: Sequence[Curve], band: Sequence[tuple[float, float, float]], marks: Sequence[Mark]
) -> Markup:
    return plan_chart(
        curves,
        along=BUDGET,
        up=NATS,
        title="Loss against budget",
        description=_told(curves),
        band=band,
        marks=marks,
    )


def _gain_chart(
    curves: Sequence[Curve], alone: dict[float, float], share: float, marks: Sequence[Mark], along: Scale
) -> Markup:
    """Every curve less that of training alone, which is the zero of this chart."""
    less = [replace(c, points=tuple((x, y - alone[x]) for x, y in c.points)) for c in curves]
    band = [(place, -share * loss, share * loss) for place, loss in alone.items()]
    lower = [replace(mark, y=mark.y - _height(mark.x, alone)) for mark in marks]
    return plan_chart(
        less,
        along=along,
        up=NATS,
        title="Difference from training alone",
        description=_told(less),
        band=band,
        marks=lower,
    )


def _by_tokens(problem: Problem, point: Optimum, share: float, ring: str) -> Figure:
    """The student's loss against its tokens with a teacher and without, and where they cross.

    Args:
        problem: whose laws and student.
        point: the teacher, and the tokens around which it is drawn.
        share: of the unaided student's loss that nobody can tell.
        ring: what the point is called.
    """
    crossings = in_tokens(problem, point.teacher_loss)
    middle = math.log10(point.tokens)
    # Where it stops helping is wanted in the picture, but not so far away that the rest is a corner.
    last = max((math.log10(each.at) + 0.5 for each in crossings), default=middle)
    high = min(max(middle + DECADES, last), middle + 2 * DECADES)
    tokens = np.logspace(middle - DECADES, high, round((high - middle + DECADES) * A_DECADE) + 1)
    tokens = tokens[tokens > problem.laws.smallest_tokens]
    alone = problem.laws.supervised.loss(problem.student, tokens)
    taught = problem.laws.student_loss(problem.student, tokens, point.teacher_loss)
    both = {ALONE: (alone, STYLES[ALONE]), "distilled": (taught, "s0")}
    curves = [
        Curve(name, style, tuple((float(x), float(y)) for x, y in zip(tokens, losses, strict=True)))
        for name, (losses, style) in both.items()
    ]
    without = dict(curves[0].points)
    marks = [
        Mark(each.at, _height(each.at, without), "crossing", f"crossing at {short(each.at)} tokens")
        for each in crossings
        if tokens[0] <= each.at <= tokens[-1]
    ]
    stops = bool(marks) and crossings[-1].falls and crossings[-1].at <= tokens[-1]
    marks.append(Mark(point.tokens, point.loss, "chosen", f"{ring}: {point.loss:.4f} nats"))
    chart = plan_chart(
        curves,
        along=TOKENS,
        up=NATS,
        title="Loss against tokens",
        description=_told(curves),
        band=[(x, y * (1 - share), y * (1 + share)) for x, y in without.items()],
        marks=marks,
    )
    note = (
        f"On equally many tokens, whatever they cost; the teacher has {point.teacher_loss:.3f} nats, and the "
        f"ring is {ring}." + (" Past the last diamond the text alone is as good." if stops else "")
    )
    beside = Panel(LESS, _gain_chart(curves, without, share, marks, TOKENS))
    panels = Panel("The whole picture.", chart), beside
    return Figure("Loss against tokens", note, panels, *_numbers("tokens", curves))


def _by_teacher(
    problem: Problem,
    point: Optimum,
    choices: Sequence[Choice],
    ring: str,
    as_good: tuple[float, float] | None = None,
) -> Figure:
    """The student's loss against the teacher's, on the tokens of a point, with the teachers that exist.

    Args:
        problem: whose laws and student.
        point: the tokens, and where the ring is.
        choices: the teachers that exist.
        ring: what the point is called.
        as_good: losses of teachers that are as good as the point's; shaded.
    """
    lowest = problem.laws.supervised.E * 1.001
    alone = problem.unaided(point.tokens)
    highest = max(1.15 * alone, 1.02 * max([point.teacher_loss, *(c.point.teacher_loss for c in choices)]))
    losses = np.linspace(lowest, highest, 81)
    reached = problem.laws.student_loss(problem.student, point.tokens, losses)
    curves = [
        Curve("distilled", "s0", tuple((float(x), float(y)) for x, y in zip(losses, reached, strict=True))),
        Curve(ALONE, "control", ((lowest, alone), (float(highest), alone))),
    ]
    yours = [
        Mark(each.point.teacher_loss, each.point.loss, "teacher", each.point.teacher.told)
        for each in choices
        if each.point.teacher is not None
    ]
    chart = plan_chart(
        curves,
        along=Scale("nats per token of the teacher"),
        up=NATS,
        title="Loss against the teacher's loss",
        description=f"lowest at a teacher of {losses[int(np.argmin(reached))]:.2f} nats",
        between=as_good,
        holds=yours,
        marks=[Mark(point.teacher_loss, point.loss, "chosen", ring)],
    )
    note = (
        f"On {told(point.tokens)} tokens. A better teacher helps, then hurts: the student can no longer "
        f"follow it. The ring is {ring}."
    )
    if yours:
        note += " Dots are your teachers, each at its own number of tokens."
    if as_good is not None:
        note += f" Shaded: teachers of {as_good[0]:.3f} to {as_good[1]:.3f} nats, which are as good."
    return Figure("Loss against the teacher\N{RIGHT SINGLE QUOTATION MARK}s loss", note, (Panel("", chart),))


def _optima(plan: StudentPlan) -> Figure | None:
    """Size and tokens of the best teacher, and tokens of the student, against the budget."""
    problem = replace(plan.problem, teachers=())
    if problem.scenario.training == 0 and (problem.scenario.logits > 0 or plan.problem.teachers):
        return None
    budgets = _budgets(plan.problem)
    points = [(b, p) for b in budgets if (p := optimal(problem.with_budget(b), quick=True)) is not None]
    curves = [
        _numbers_of("teacher size", "s0", points, "teacher_parameters"),
        _numbers_of("teacher tokens", "s1", points, "teacher_tokens"),
        _numbers_of("student tokens", "s2", points, "tokens"),
    ]
    curves = [curve for curve in curves if len(curve.points) > 1]
    if not curves:
        return None
    chart = plan_chart(
        curves,
        along=BUDGET,
        up=Scale("parameters or tokens", logarithmic=True),
        title="The best teacher against budget",
        description=_told(curves),
    )
    note = "What the search finds best; where its valley is flat, sizes wander and the loss does not."
    return Figure(
        "The best teacher against budget", note, (Panel("", chart),), *_numbers("FLOP", curves, figures=4)
    )


def _cost(plan: StudentPlan) -> Figure | None:
    """Where the compute goes, with a teacher and without."""
    point, problem = plan.point, plan.problem
    if point is None:
        return None
    alone = problem.per_token * problem.alone_tokens
    parts = (
        ("student", "s0", point.student_flops),
        ("logits", "s1", point.logits_flops),
        ("teacher", "s2", point.teacher_flops),
    )
    rows = [("with a teacher", parts), (ALONE, (("student", "s0", alone),))]
    said = ", ".join(f"{name} {short(size)} FLOP" for name, _, size in parts)
    chart = bars(rows, title="Where the compute goes", description=said)
    table = tuple((name, short(size), f"{100 * size / point.spent:.1f} %") for name, _, size in parts)
    note = "Student, teacher's logits and teacher's training, as far as this student pays for them."
    return Figure(
        "Where the compute goes", note, (Panel(f"{said}.", chart),), ("part", "FLOP", "share"), table
    )


def _losses(name: str, problem: Problem, budgets: Sequence[float]) -> Curve:
    """The best loss at every budget; those that pay for no teacher are left out."""
    points = []
    for budget in budgets:
        found = optimal(problem.with_budget(budget), quick=True)
        if found is not None:
            points.append((budget, found.loss))
    return Curve(name, STYLES[name], tuple(points))


def _numbers_of(name: str, style: str, points: Iterable[tuple[float, Optimum]], field: str) -> Curve:
    known = ((budget, getattr(point, field)) for budget, point in points)
    return Curve(name, style, tuple((budget, value) for budget, value in known if value is not None))


def _height(at: float, curve: dict[float, float]) -> float:
    """The height of a curve between two of its points."""
    return float(np.interp(math.log(at), np.log(list(curve)), list(curve.values())))


def _told(curves: Sequence[Curve]) -> str:
    return "; ".join(
        f"{curve.name} from {short(curve.points[0][1])} to {short(curve.points[-1][1])}" for curve in curves
    )


def _numbers(
    first: str, curves: Sequence[Curve], figures: int = 0
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The numbers behind a chart, as a table."""
    places = sorted({x for curve in curves for x, _ in curve.points})
    tables = [dict(curve.points) for curve in curves]

    def cell(value: float | None) -> str:
        return "" if value is None else short(value) if figures else plain(value, 4)

    rows = tuple((short(x), *(cell(table.get(x)) for table in tables)) for x in places)
    return (first, *(curve.name for curve in curves)), rows
