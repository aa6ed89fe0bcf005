"""The page of a plan: one HTML document that stands alone, in the look of a run's report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tutelage.citations import PAPERS
from tutelage.files import write_text
from tutelage.plans.answer import StudentPlan
from tutelage.plans.choosing import TeacherPlan
from tutelage.plans.fitted import FittedPlan
from tutelage.report.document import document
from tutelage.report.fit_words import fit_words
from tutelage.report.plan_words import Words, student_words, teacher_words

PAPER = "distillation-scaling-laws"

Plan = StudentPlan | TeacherPlan | FittedPlan

KINDS: Mapping[type, Callable[[Any], Words]] = {
    StudentPlan: student_words,
    TeacherPlan: teacher_words,
    FittedPlan: fit_words,
}
"""What stands on the page of every kind of plan."""


def write_plan(plan: Plan, path: str | Path) -> Path:
    """Write the page of a plan; the same plan gives the same bytes, and the page needs no network.

    Raises:
        TutelageError: the file cannot be written; an older one stays.
    """
    path = Path(path)
    write_text(path, plan_page(plan))
    return path


def plan_page(plan: Plan) -> str:
    """The plan as one HTML document."""
    words, paper = KINDS[type(plan)](plan), PAPERS[PAPER]
    return document(
        "plan.html",
        ("page.css", "plan.css"),
        generator="tutelage",
        title=f"{words.name}: a plan by tutelage",
        **vars(words),
        paper=str(paper),
        link=f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else None,
    )
