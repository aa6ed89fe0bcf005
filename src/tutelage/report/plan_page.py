"""The page of a plan: one HTML document that stands alone, in the look of a run's report."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tutelage.citations import PAPERS
from tutelage.files import write_text
from tutelage.plans.answer import StudentPlan
from tutelage.plans.answer_text import facts, signed
from tutelage.plans.units import told
from tutelage.plans.verdict import ALONE, DISTIL
from tutelage.report.plan_curves import figures
from tutelage.report.wording import clean

HERE = Path(__file__).parent
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
    css = "".join(HERE.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "plan.css"))
    script = HERE.joinpath("page.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    verdict, paper = plan.verdict, PAPERS[PAPER]
    html = environment.get_template("plan.html").render(
        css=Markup(css),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(css)}; script-src {_hash(script)}",
        name=f"A student of {told(plan.problem.student)} parameters",
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
    return clean(html)


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


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
