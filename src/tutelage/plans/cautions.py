"""What a reader of a plan must know: numbers outside the law's ranges, options outside the law, provenance.

Cautions are part of the answer, not of a log.

Source: Busbridge et al. 2025, arXiv:2502.08606; the penalties of section G are heuristics here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tutelage.errors import OutOfRange
from tutelage.plans.allocate import Optimum
from tutelage.plans.law import Laws
from tutelage.plans.problem import MOST, Problem
from tutelage.plans.units import told
from tutelage.plans.verdict import Verdict


@dataclass(frozen=True)
class Caution:
    """One of them.

    Attributes:
        about: a word for programs, such as ``range``, ``provenance`` or ``data``.
        says: a sentence for people.
    """

    about: str
    says: str


def cautions(problem: Problem, point: Optimum | None, verdict: Verdict) -> tuple[Caution, ...]:
    """Everything there is to say about one answer."""
    found = [*provenance(problem.laws), *ranges(problem, point)]
    if point is not None:
        found += _teacher(problem, point, verdict)
    if math.isfinite(problem.most_tokens):
        limited = problem.alone_tokens >= problem.most_tokens
        if limited and math.isfinite(problem.budget):
            unused = problem.budget - problem.per_token * problem.alone_tokens
            found.append(
                Caution(
                    "data",
                    f"the {told(problem.most_tokens)} tokens there are leave {unused:.3g} FLOP "
                    f"({100 * unused / problem.budget:.0f} %) unused without a teacher",
                )
            )
    return tuple(found)


def provenance(laws: Laws) -> list[Caution]:
    """Where the coefficients are from; laws are those of one architecture, tokenizer and text."""
    found = [Caution("provenance", f"coefficients: {laws.source}; they hold for that text and tokenizer")]
    if laws.name == "reconciled":
        found.append(
            Caution(
                "provenance",
                "`reconciled` is not published: B' was taken from the paper's figures, because table 6 as "
                "printed does not give them (uncertain: why)",
            )
        )
    return found


def ranges(problem: Problem, point: Optimum | None) -> list[Caution]:
    """Every number that lies outside the runs that the law was fitted to, and by how much."""
    known, law = problem.laws.ranges, f"the runs behind `{problem.laws.name}`"
    checks: list[tuple[str, float | None, tuple[float, float] | None, str]] = [
        ("the student", problem.student, known.parameters, "parameters"),
        ("the run without a teacher", problem.alone_tokens, known.tokens, "tokens"),
        (
            "the run without a teacher",
            problem.alone_tokens / problem.student,
            known.tokens_per_parameter,
            "tokens per parameter",
        ),
    ]
    if point is not None:
        size, amount = point.teacher_parameters, point.teacher_tokens
        checks += [
            ("the teacher", size, known.parameters, "parameters"),
            ("the distilled run", point.tokens, known.tokens, "tokens"),
            ("the teacher", amount, known.tokens, "tokens"),
            (
                "the teacher",
                amount / size if size and amount else None,
                known.tokens_per_parameter,
                "tokens per parameter",
            ),
            ("the teacher", point.teacher_loss, known.teacher_loss, "nats per token"),
            ("the distilled run", point.student_flops, known.student_flops, "FLOP for the student"),
        ]
    found = []
    for who, value, limits, unit in checks:
        if value is None or limits is None or limits[0] <= value <= limits[1]:
            continue
        below = value < limits[0]
        bound = limits[0] if below else limits[1]
        times = bound / value if below else value / bound
        by = f"{100 * (times - 1):.0f} %" if times < 2 else f"{times:.3g} times"
        number, end = (f"{each:.3f}" if "nats" in unit else told(each) for each in (value, bound))
        found.append(
            Caution(
                "range",
                f"{who}: {number} {unit}, {by} {'below' if below else 'above'} the "
                f"{'lowest' if below else 'highest'} of {law} ({end})",
            )
        )
    return found


def _teacher(problem: Problem, point: Optimum, verdict: Verdict) -> list[Caution]:
    found = []
    scenario = problem.scenario
    if point.teacher_parameters is not None and point.teacher_parameters < problem.student:
        found.append(
            Caution(
                "law",
                "the teacher is smaller than the student; students that beat such a teacher have been "
                "observed, this law cannot express them",
            )
        )
    if not problem.teachers and scenario.training == 0:
        if scenario.logits > 0 and problem.teacher_tokens >= MOST:
            found.append(
                Caution(
                    "teacher",
                    f"the teacher is taken to have seen {told(MOST)} tokens, which none has; give the tokens "
                    "of yours (`--teacher-tokens`), or your teachers (`--teacher`)",
                )
            )
        elif scenario.logits == 0:
            found.append(
                Caution("teacher", "only a teacher that costs nothing at all may be chosen this freely")
            )
    if point.teacher is not None and point.teacher.loss is None:
        found.append(
            Caution(
                "teacher",
                f"the loss of {point.teacher.told} is the law's prediction; measure it on "
                "your own held-out text",
            )
        )
    if scenario.training == 1 and verdict.gain is not None and verdict.gain > 0:
        found.append(
            Caution(
                "range",
                f"the law puts distillation ahead by {verdict.gain:.4f} nats although this student pays for "
                "the teacher's training; the paper finds the opposite in general: the input is out of range, "
                "or text is short",
            )
        )
    return found


def repeated(epochs: float) -> list[Caution]:
    """What is known about text that is seen more than once."""
    if epochs <= 1:
        return []
    beyond = " and you ask for more" if epochs > 4 else ""
    return [
        Caution(
            "data",
            "up to about 4 epochs are assumed to be as good as new text (shown for supervised training alone)"
            + beyond,
        )
    ]


def outside(
    *,
    temperature: float = 1.0,
    mixing: float = 1.0,
    top_k: int | None = None,
    divergence: str = "forward_kl",
) -> list[Caution]:
    """What the law leaves out: its runs used forward KL, temperature 1, no gold tokens and whole rows.

    Args:
        temperature: of the objective.
        mixing: weight of the teacher against gold tokens, the paper's lambda.
        top_k: kept tokens of a row; None for all.
        divergence: its name.

    Raises:
        OutOfRange: a temperature not above 0, a weight outside [0, 1], or no token kept.
    """
    if not temperature > 0 or not 0 <= mixing <= 1 or (top_k is not None and top_k < 1):
        raise OutOfRange(
            f"temperature {temperature:g}, mixing {mixing:g}, top_k {top_k}",
            expected="a temperature above 0, a weight of the teacher from 0 to 1, at least one kept token",
            fix="leave them out: the law's runs used 1, 1 and whole rows",
        )
    found = []
    if temperature != 1:
        found.append(f"temperature {temperature:g}: 1 was best at every size, above 3 clearly worse")
    if mixing < 1:
        flat = "nearly as good as 1" if mixing > 0.5 else "worse, but for very weak teachers"
        found.append(f"a weight of {mixing:g} for the teacher: {flat} in the paper's sweep")
    if top_k is not None:
        found.append(
            f"rows cut to {top_k} tokens: 128 cost 0.11 nats in the paper, and less than 0.01 with a "
            "weight of 0.7"
        )
    if divergence != "forward_kl":
        found.append(f"{divergence}: the runs used forward KL; reverse KL ended 0.28 nats higher (one pair)")
    return [Caution("outside the law", f"{each} (a heuristic, not in the prediction)") for each in found]
