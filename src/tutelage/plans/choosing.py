"""What `tutelage plan teacher` answers: how good a teacher this student wants, and which of yours to take.

Making a teacher better first helps and then hurts: the student can no longer follow it.

Source: Busbridge et al. 2025, arXiv:2502.08606, sections 4.3 and 5.1, figures 4 to 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from tutelage.plans.allocate import Optimum, optimal
from tutelage.plans.answer import Choice, choice_json, choices, finite, point_json
from tutelage.plans.answer_text import caution_lines, row, signed, verdict_lines
from tutelage.plans.cautions import Caution, cautions
from tutelage.plans.crossover import Crossing, in_tokens
from tutelage.plans.flat import Flat, flat
from tutelage.plans.problem import Problem
from tutelage.plans.scenario import SCENARIOS
from tutelage.plans.units import told
from tutelage.plans.verdict import Verdict, decide, ratio


@dataclass(frozen=True)
class TeacherPlan:
    """The answer about teachers.

    Attributes:
        problem: what was asked.
        wanted: the best teacher if it cost nothing, with the cheapest size and tokens that reach its loss.
        flat: losses that are as good.
        helps: tokens between which the wanted teacher is better than the text.
        choices: the teachers that exist, best first.
        verdict: on the best of these, or on the wanted one where none were named.
        cautions: part of the answer.
    """

    problem: Problem
    wanted: Optimum
    flat: Flat
    helps: tuple[Crossing, ...]
    choices: tuple[Choice, ...]
    verdict: Verdict
    cautions: tuple[Caution, ...]

    @property
    def exit_status(self) -> int:
        """3 where no teacher is better than the text, else 0."""
        return self.verdict.exit_status

    def to_json(self) -> dict[str, Any]:
        """One document: raw numbers with their units in the names."""
        return {
            "answer": self.verdict.answer,
            "exit_status": self.exit_status,
            "because": self.verdict.because,
            "gain_nats": self.verdict.gain,
            "margin_nats": self.verdict.margin,
            "margin_from": self.verdict.margin_from,
            "laws": {"name": self.problem.laws.name, "source": self.problem.laws.source},
            "student": {"parameters": self.problem.student, "forward_flops": self.problem.forward},
            "budget_flops": finite(self.problem.budget),
            "alone": {"loss_nats": self.problem.alone, "tokens": self.problem.alone_tokens},
            "wanted": {**point_json(self.wanted), "ratio": ratio(self.problem, self.wanted)},
            "flat": asdict(self.flat),
            "helps": [asdict(crossing) for crossing in self.helps],
            "teachers": [choice_json(choice) for choice in self.choices],
            "cautions": [asdict(caution) for caution in self.cautions],
        }

    def text(self) -> str:
        """For a terminal."""
        return teacher_text(self)


def plan_teacher(problem: Problem, *, more: tuple[Caution, ...] = ()) -> TeacherPlan:
    """How good a teacher this student wants, and which of the ones that exist is the best for it.

    Args:
        problem: student, budget or tokens, and the teachers that exist.
        more: cautions of whoever asks.
    """
    free = replace(problem, scenario=SCENARIOS["free"], teachers=())
    wanted = optimal(free)
    assert wanted is not None, "a teacher that costs nothing can always be paid"
    found = choices(problem)
    best = optimal(problem) if problem.teachers else wanted
    asked = problem if problem.teachers else free
    verdict = decide(asked, best)
    return TeacherPlan(
        problem,
        wanted,
        flat(free, wanted),
        in_tokens(problem, wanted.teacher_loss),
        found,
        verdict,
        (*cautions(asked, best, verdict), *more),
    )


def teacher_text(plan: TeacherPlan) -> str:
    """What `tutelage plan teacher` prints."""
    lines = [*verdict_lines(plan.verdict), ""]
    for name, value in teacher_facts(plan):
        lines += row(name, value)
    for choice in plan.choices:
        stops = f"; stops helping at {told(choice.stops_helping)} tokens" if choice.stops_helping else ""
        lines += row(
            choice.name,
            f"{choice.point.loss:.4f} nats on {told(choice.point.tokens)} tokens, gain "
            f"{signed(choice.verdict.gain)}, r {choice.ratio:.3f}: {choice.verdict.answer}"
            + (f" ({choice.verdict.because})" if choice.ratio > 1 else stops),
        )
    return "\n".join([*lines, *caution_lines(plan.cautions)])


def teacher_facts(plan: TeacherPlan) -> Iterator[tuple[str, str]]:
    """Name and value of what is said of the wanted teacher; those that exist are a list of their own."""
    problem, wanted = plan.problem, plan.wanted
    alone = f"{problem.alone:.4f} nats per token on {told(problem.alone_tokens)} tokens"
    yield "student", f"{told(problem.student)} parameters without embeddings; by itself {alone}"
    made = ""
    if wanted.teacher_parameters is not None:
        made = (
            f"; cheapest to train with {told(wanted.teacher_parameters)} parameters on "
            f"{told(wanted.teacher_tokens)} tokens"
        )
    yield "best teacher", f"{wanted.teacher_loss:.3f} nats, if it costs nothing{made}"
    yield "the student then", f"{wanted.loss:.4f} nats per token on {told(wanted.tokens)} tokens"
    if plan.flat.teacher_loss is not None:
        low, high = plan.flat.teacher_loss
        yield "as good", f"a loss of {low:.3f} to {high:.3f} nats (within {plan.flat.tolerance:g} nats)"
    falls = [each.at for each in plan.helps if each.falls]
    if falls:
        yield "stops helping", f"at {told(falls[-1])} tokens"
