"""The page of a plan: one HTML document that stands alone, in the look of a run's report."""

from __future__ import annotations

from pathlib import Path

from tutelage.citations import PAPERS
from tutelage.files import write_text
from tutelage.plans.answer import StudentPlan
from tutelage.plans.answer_text import facts, signed
from tutelage.plans.units import told
from tutelage.plans.verdict import ALONE, DISTIL
from tutelage.report.document import document
from tutelage.report.plan_curves import figures

PAPER = "distillation-scaling-laws"


def write_plan(plan: StudentPlan, path: str | Path) -> Path:
    """Write the page of a plan; the same plan gives the same bytes, and the page needs no network.

    Raises:
        TutelageError: the file cannot be written; an older one stays.
    """
    path = Path(path)
    write_text(path, plan_page(plan))
    return path


def plan_page(plan: StudentPlan) -> str:
    """The plan as one HTML document."""
    verdict, paper = plan.verdict, PAPERS[PAPER]
    name = f"A student of {told(plan.problem.student)} parameters"
    return document(
        "plan.html",
        ("page.css", "plan.css"),
        generator="tutelage",
        title=f"{name}: a plan by tutelage",
        name=name,
        facts=_line(plan),
        tone={DISTIL: "better", ALONE: "worse"}.get(verdict.answer, "unresolved"),
        headline=f"{verdict.answer[:1].upper()}{verdict.answer[1:]}.",
        remarks=(
            f"{verdict.because[:1].upper()}{verdict.because[1:]}.",
            f"Gain {signed(verdict.gain)} nats, margin {verdict.margin:.4f} nats ({verdict.margin_from}).",
        ),
        numbers=list(facts(plan)),
        teachers=_teachers(plan),
        figures=figures(plan),
        cautions=[caution.says.replace("`", "") for caution in plan.cautions],
        paper=str(paper),
        link=f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else None,
    )


def _line(plan: StudentPlan) -> list[str]:
    """The line under the title."""
    budget = (
        f"{plan.problem.budget:.3g} FLOP" if plan.has_budget else f"{told(plan.problem.most_tokens)} tokens"
    )
    return [budget, plan.problem.scenario.told, f"law: {plan.problem.laws.name}"]


def _teachers(plan: StudentPlan) -> list[tuple[str, ...]]:
    return [
        (
            choice.name,
            f"{choice.point.teacher_loss:.4f}",
            f"{choice.ratio:.3f}",
            f"{choice.point.loss:.4f}",
            signed(choice.verdict.gain),
            choice.verdict.answer,
        )
        for choice in plan.choices
    ]
