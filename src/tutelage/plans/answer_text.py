"""The answers of a plan for a terminal: the verdict first, then numbers, then cautions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tutelage.plans.allocate import Optimum
from tutelage.plans.cautions import Caution
from tutelage.plans.crossover import Crossing
from tutelage.plans.money import Bill
from tutelage.plans.sharing import MOST_STUDENTS
from tutelage.plans.units import told
from tutelage.plans.verdict import Verdict

if TYPE_CHECKING:
    from tutelage.plans.answer import StudentPlan

WIDTH = 100
COLUMN = 18


def student_text(plan: StudentPlan) -> str:
    """What `tutelage plan student` prints."""
    lines = [*verdict_lines(plan.verdict), ""]
    for name, value in facts(plan):
        lines += row(name, value)
    if plan.choices:
        lines += ["", "  your teachers, best first"]
        for choice in plan.choices:
            stops = f"; stops helping at {told(choice.stops_helping)} tokens" if choice.stops_helping else ""
            lines += row(
                f"  {choice.name}",
                f"{choice.point.loss:.4f} nats on {told(choice.point.tokens)} tokens, "
                f"gain {signed(choice.verdict.gain)}: {choice.verdict.answer}"
                + (f" ({choice.verdict.because})" if choice.ratio > 1 else stops),
            )
    return "\n".join([*lines, *caution_lines(plan.cautions)])


def verdict_lines(verdict: Verdict) -> list[str]:
    """The answer, the reason, and how sure it is."""
    gain = (
        f"gain {signed(verdict.gain)} nats per token" if verdict.gain is not None else "no gain to speak of"
    )
    return [
        verdict.answer,
        *textwrap.wrap(verdict.because, WIDTH, initial_indent="  ", subsequent_indent="  "),
        f"  {gain}, margin {verdict.margin:.4f} ({verdict.margin_from})",
    ]


def caution_lines(cautions: Iterable[Caution]) -> list[str]:
    """Cautions as a list."""
    found = []
    for caution in cautions:
        found += textwrap.wrap(caution.says, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return ["", "cautions", *found] if found else []


def row(name: str, value: str) -> list[str]:
    """A name on the left and what is said of it on the right."""
    first, *more = textwrap.wrap(value, WIDTH - COLUMN - 2) or [""]
    return [f"  {name:<{COLUMN}}{first}", *(" " * (COLUMN + 2) + line for line in more)]


def point_told(point: Optimum) -> str:
    """A point with a teacher, in a sentence."""
    if point.teacher is not None:
        who = f"{point.teacher.told} of {point.teacher_loss:.3f} nats"
    else:
        size = f" ({told(point.teacher_parameters)} parameters, {told(point.teacher_tokens)} tokens)"
        who = f"a teacher of {point.teacher_loss:.3f} nats{size if point.teacher_parameters else ''}"
    return f"{point.loss:.4f} nats per token on {told(point.tokens)} tokens, {who}"


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return "none" if value is None else f"{value:+.4f}"


def crossings_told(crossings: tuple[Crossing, ...], unit: str) -> str:
    """Where distillation is ahead, in words."""
    said = [f"{'up to' if each.falls else 'from'} {each.at:.2g} {unit}" for each in crossings]
    return ", ".join(said)


def facts(plan: StudentPlan) -> Iterator[tuple[str, str]]:
    """Name and value of everything that a plan says in numbers."""
    problem, point = plan.problem, plan.point
    budget = f"budget {problem.budget:.3g} FLOP" if plan.has_budget else "as many FLOP as it takes"
    yield "student", f"{told(problem.student)} parameters without embeddings, {budget}"
    yield "who pays", problem.scenario.told
    yield "without a teacher", f"{problem.alone:.4f} nats per token on {told(problem.alone_tokens)} tokens"
    if point is not None:
        yield "with a teacher", point_told(point)
        names = zip(("student", "logits", "teacher"), point.shares, strict=True)
        yield (
            "compute",
            f"{point.spent:.3g} FLOP: " + ", ".join(f"{name} {100 * s:.0f} %" for name, s in names),
        )
    if plan.unused > 0.005 * problem.budget:
        yield "unused", f"{plan.unused:.3g} FLOP ({100 * plan.unused / problem.budget:.0f} %): no more tokens"
    yield from _flat(plan)
    if plan.has_budget:
        ahead = crossings_told(plan.crossings, "FLOP") or _always(plan)
        clearly = crossings_told(plan.crossings_margin, "FLOP") or "nowhere in 1e18 to 1e27 FLOP"
        yield "distilling ahead", f"{ahead}; by more than the law's error {clearly}"
    if plan.switch is not None and point is not None:
        early = plan.switch < point.tokens
        more = "before the end: go on with the text alone" if early else "past the end of this run"
        yield "stops helping", f"at {told(plan.switch)} tokens, {more}"
    yield from _around(plan)
    if plan.bills is not None:
        for name, each in zip(("bill, teacher", "bill, without"), plan.bills, strict=True):
            if each is not None:
                yield name, bill_told(each)
    if plan.storage is not None:
        yield "stored rows", _stored_told(*plan.storage)


def _flat(plan: StudentPlan) -> Iterator[tuple[str, str]]:
    if plan.flat is None:
        return
    said = []
    if plan.flat.teacher_parameters is not None:
        low, high = (told(end) for end in plan.flat.teacher_parameters)
        said.append(f"{low} to {high} parameters")
    if plan.flat.teacher_loss is not None:
        low, high = plan.flat.teacher_loss
        said.append(f"a loss of {low:.3f} to {high:.3f} nats")
    if said:
        yield "as good a teacher", f"{' or '.join(said)} (within {plan.flat.tolerance:g} nats)"


def _around(plan: StudentPlan) -> Iterator[tuple[str, str]]:
    if plan.shared is not None:
        some, clear = (_students(each) for each in plan.shared)
        yield "shared teacher", f"gains from {some} on, by more than the law's error from {clear} on"
    if plan.free_size is not None:
        best = plan.free_size
        yield (
            "size free",
            f"{best.loss:.4f} nats without a teacher: {told(best.parameters)} on {told(best.tokens)} tokens",
        )
    if plan.marginal is not None:
        distilled = (
            "" if plan.marginal.distilled is None else f"-{plan.marginal.distilled:.4f} nats with a teacher, "
        )
        yield "10 % more budget", f"{distilled}-{plan.marginal.alone:.4f} without"
    if plan.target is not None:
        arms = ((plan.target.distilled, "with a teacher"), (plan.target.alone, "without"))
        said = [f"{flop:.3g} FLOP {arm}" if flop else f"not {arm}" for flop, arm in arms]
        yield f"to {plan.target.loss:g} nats", ", ".join(said)
    if plan.served is not None:
        for each, arm in zip(plan.served, ("with a teacher", "without"), strict=True):
            size = (
                f"{told(each.parameters)} parameters, {each.flops:.3g} FLOP, serving included"
                if each
                else "none"
            )
            yield "cheapest size", f"{arm}: {size}"


def _students(count: int | None) -> str:
    return f"more than {MOST_STUDENTS} students" if count is None else f"{count} student{'s' * (count != 1)}"


def bill_told(bill: Bill) -> str:
    """Hours and price."""
    price = "" if bill.price is None else f", price {bill.price:,.0f}"
    hours = bill.student_hours + bill.logits_hours + bill.teacher_hours
    return f"{hours:,.4g} device hours, {bill.clock_hours:,.4g} hours on the clock{price}"


def _stored_told(size: float, price: float | None, again: float | None) -> str:
    said = f"{size / 1e12:,.3g} TB"
    if price is not None:
        said += f", {price:,.0f} a month"
    return said + ("" if again is None else f"; computing them once more costs {again:,.0f}")


def _always(plan: StudentPlan) -> str:
    gain = plan.verdict.gain
    return "at every budget" if gain is not None and gain > 0 else "at no budget"
