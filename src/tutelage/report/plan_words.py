"""What stands on the page of a plan beside its figures: plans about a student and about teachers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tutelage.plans.answer import Choice, StudentPlan
from tutelage.plans.answer_text import facts, signed
from tutelage.plans.choosing import TeacherPlan, teacher_facts
from tutelage.plans.problem import Problem
from tutelage.plans.units import told
from tutelage.plans.verdict import ALONE, DISTIL, Verdict
from tutelage.report.curves import Figure
from tutelage.report.plan_curves import student_figures, teacher_figures
from tutelage.report.wording import ABSENT

TONES = {DISTIL: "better", ALONE: "worse"}
PREDICTED = "Predictions of a law, not measurements."


@dataclass(frozen=True)
class Table:
    """Numbers in rows, all of which have a name.

    Attributes:
        title, hint: above it.
        header, rows: the names are the first column.
        words: how many of the last columns are words, not numbers.
    """

    title: str
    hint: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 0

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers."""
        return 0 < column < len(self.header) - self.words


@dataclass(frozen=True)
class Words:
    """The page of a plan.

    Attributes:
        name: its title.
        facts: the line under the title.
        tone: ``better``, ``worse`` or ``unresolved``.
        headline, remarks: the answer and why.
        numbers: names and values.
        tables: those with rows.
        figures: what is drawn.
        cautions: part of the answer.
        footer: what all this is.
    """

    name: str
    facts: Sequence[str]
    tone: str
    headline: str
    remarks: Sequence[str]
    numbers: Sequence[tuple[str, str]]
    tables: Sequence[Table]
    figures: Sequence[Figure]
    cautions: Sequence[str]
    footer: str = PREDICTED


def student_words(plan: StudentPlan) -> Words:
    """The page of `tutelage plan student`."""
    name = f"A student of {told(plan.problem.student)} parameters"
    return _of(plan, name, facts(plan), student_figures(plan))


def teacher_words(plan: TeacherPlan) -> Words:
    """The page of `tutelage plan teacher`."""
    name = f"A teacher for a student of {told(plan.problem.student)} parameters"
    return _of(plan, name, teacher_facts(plan), teacher_figures(plan))


def _of(
    plan: StudentPlan | TeacherPlan,
    name: str,
    numbers: Iterable[tuple[str, str]],
    figures: Sequence[Figure],
) -> Words:
    """What both have in common: a problem, a verdict, teachers and cautions."""
    return Words(
        name=name,
        facts=_line(plan.problem),
        tone=TONES.get(plan.verdict.answer, "unresolved"),
        headline=sentence(plan.verdict.answer),
        remarks=_remarks(plan.verdict),
        numbers=list(numbers),
        tables=_teachers(plan.choices),
        figures=figures,
        # Without the marks that a terminal shows for code.
        cautions=[caution.says.replace("`", "") for caution in plan.cautions],
    )


def sentence(said: str) -> str:
    """A clause with a capital and a full stop."""
    return f"{said[:1].upper()}{said[1:]}."


def _remarks(verdict: Verdict) -> tuple[str, ...]:
    """Why, and how sure that is."""
    return (
        sentence(verdict.because),
        f"Gain {signed(verdict.gain)} nats, margin {verdict.margin:.4f} nats ({verdict.margin_from}).",
    )


def _line(problem: Problem) -> list[str]:
    """The line under the title."""
    finite = math.isfinite(problem.budget)
    budget = f"{problem.budget:.3g} FLOP" if finite else f"{told(problem.most_tokens)} tokens"
    return [budget, problem.scenario.told, f"law: {problem.laws.name}"]


def _teachers(choices: Sequence[Choice]) -> list[Table]:
    rows = tuple(
        (
            choice.name,
            f"{choice.point.teacher_loss:.4f}",
            f"{choice.ratio:.3f}",
            f"{choice.point.loss:.4f}",
            told(choice.point.tokens),
            signed(choice.verdict.gain),
            told(choice.stops_helping) if choice.stops_helping else ABSENT,
            choice.verdict.answer,
        )
        for choice in choices
    )
    header = ("teacher", "its loss", "r", "student", "on tokens", "gain", "stops helping at", "answer")
    return [Table("Your teachers", "the best student first", header, rows, words=1)] if rows else []
