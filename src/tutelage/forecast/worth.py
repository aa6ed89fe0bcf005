"""Is a teacher worth it? By a law of this very text where there is one, else by what is certain without one.

A teacher whose loss is above what the student reaches by itself on the same tokens is worse than the text. No
published law holds for another text, tokenizer or size, so none is ever applied here unasked.

Source: Busbridge et al. 2025, arXiv:2502.08606, section 2; the certain evidence is ``derived``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.plans.allocate import with_teacher
from tutelage.plans.law import Laws
from tutelage.plans.problem import Problem
from tutelage.plans.scenario import SCENARIOS, Teacher
from tutelage.plans.verdict import ALONE, WORSE, decide, ratio
from tutelage.recipes import Recipe

NOT_KNOWN = "not known: no law for this text"
NO_TEACHER = "no teacher is compared with"
MOVED = "not known: the teacher is made of the student"


@dataclass(frozen=True)
class Worth:
    """Whether to distil.

    Attributes:
        answer: `WORSE`, `NOT_KNOWN`, `NO_TEACHER`, `MOVED`, or what a law says: distil, train without a
            teacher, no difference.
        why: the reason in a sentence.
        no: whether the answer is "do not".
        numbers: what it rests on, nats per token.
        cautions: what a reader must know.
    """

    answer: str
    why: str
    no: bool
    numbers: Mapping[str, Any]
    cautions: tuple[str, ...] = ()


def pilot_steps(steps: int) -> int:
    """Steps of a pilot unless told otherwise: about 5 % of the run's, from 10 to 100, never more than all."""
    return min(steps, max(10, min(100, round(0.05 * steps))))


def worth(
    recipe: Recipe, nats: Mapping[str, Any], laws: Laws | None, parameters: int | None, tokens: float
) -> Worth:
    """The verdict on the teacher of a recipe.

    Args:
        recipe: its first arm with a teacher is judged.
        nats: of the probe.
        laws: fitted to this text, or None.
        parameters: of the student without embeddings; None where its shape is not known.
        tokens: counted, that the student is trained on.
    """
    numbers = _numbers(nats)
    if "teacher_nats" not in nats or not recipe.needs_teacher:
        return Worth(NO_TEACHER, "no term of the objective is against a teacher", False, numbers)
    teacher = nats["teacher_nats"]["mean"]
    cautions = [] if nats["held_out"] else ["measured on training text, for want of `evaluation:`"]
    certain, tied = _certain(nats, teacher), _end(nats, "high") >= 0
    if certain is not None and not nats["led"]:
        return Worth(WORSE, certain, True, numbers, tuple(cautions))
    if nats["led"] and (certain is not None or tied):
        why = "it is not ahead of the student yet, and the objective has other terms that lead"
        return Worth(MOVED, why, False, numbers, tuple(cautions))
    if tied:
        cautions.append(f"{_ahead(nats)}: this text does not tell whether it knows more than the student")
    if laws is None or parameters is None:
        why = (
            f"the teacher needs {teacher:.4f} nats per token, the untouched student "
            f"{nats['student_nats']['mean']:.4f}"
        )
        if "pilot" in nats:
            pilot = nats["pilot"]
            why += f", after {pilot['steps']} steps without a teacher {pilot['student_nats']:.4f}"
        why += (
            "; `tutelage plan sweep` writes the recipes of a study, of which `tutelage plan fit` makes a law"
        )
        return Worth(NOT_KNOWN, why, False, numbers, tuple(cautions))
    return _by_law(recipe, laws, parameters, tokens, teacher, numbers, cautions)


def _certain(nats: Mapping[str, Any], teacher: float) -> str | None:
    """What proves without any law that the teacher is worse than the text, or None."""
    if _end(nats, "low") >= 0:
        return f"{WORSE}: on it {_ahead(nats)}; it does not know more than the student does"
    if teacher >= nats["unigram_nats"]:
        return (
            f"{WORSE}: it needs {teacher:.4f} nats per token, the frequencies of single tokens "
            f"{nats['unigram_nats']:.4f}"
        )
    pilot = nats.get("pilot")
    if pilot is not None and pilot["minus_teacher"]["mean"] <= 0:
        return (
            f"{WORSE}: after {pilot['steps']} steps on the text alone the student needs "
            f"{pilot['student_nats']:.4f} nats per token, the teacher {teacher:.4f}"
        )
    return None


def _end(nats: Mapping[str, Any], which: str) -> float:
    """An end of the interval of teacher minus untouched student; of one row, which has none, the mean."""
    ahead = nats["teacher_minus_student"]
    return ahead["mean"] if math.isnan(ahead[which]) else ahead[which]


def _ahead(nats: Mapping[str, Any]) -> str:
    ahead = nats["teacher_minus_student"]
    return (
        f"the teacher minus the untouched student is {ahead['mean']:+.4f} nats per token "
        f"[{ahead['low']:+.4f}, {ahead['high']:+.4f}]"
    )


def _by_law(
    recipe: Recipe,
    laws: Laws,
    parameters: int,
    tokens: float,
    teacher: float,
    numbers: dict[str, Any],
    cautions: list[str],
) -> Worth:
    problem = Problem(
        laws,
        float(parameters),
        math.inf,
        SCENARIOS["free"],
        (Teacher(loss=teacher, name="of the recipe"),),
        most_tokens=tokens,
    )
    point = with_teacher(problem, problem.teachers[0])
    verdict = decide(problem, point)
    cautions.append(f"coefficients: {laws.source}; they hold for that text and tokenizer")
    cautions += _outside(recipe, laws, parameters, tokens, teacher)
    numbers |= {
        "law": laws.name,
        "student_parameters": parameters,
        "student_tokens": tokens,
        "alone_nats": problem.alone,
        "distilled_nats": None if point is None else point.loss,
        "ratio": None if point is None else ratio(problem, point),
        "gain_nats": verdict.gain,
        "margin_nats": verdict.margin,
    }
    why = f"{verdict.because} (without a teacher {problem.alone:.4f} nats per token"
    why += "" if point is None else f", with it {point.loss:.4f}; margin {verdict.margin:.4f})"
    return Worth(verdict.answer, why, verdict.answer == ALONE, numbers, tuple(cautions))


def _outside(recipe: Recipe, laws: Laws, parameters: int, tokens: float, teacher: float) -> list[str]:
    """What of the recipe the law says nothing about."""
    found = []
    lying = {
        "student parameters": (parameters, laws.ranges.parameters),
        "tokens": (tokens, laws.ranges.tokens),
    }
    if laws.ranges.teacher_loss is not None:
        lying["nats per token of the teacher"] = (teacher, laws.ranges.teacher_loss)
    for name, (value, (low, high)) in lying.items():
        if not low <= value <= high:
            found.append(f"{value:.4g} {name} lie outside the runs behind the law ({low:.4g} to {high:.4g})")
    if recipe.student.config is None:
        found.append("the student is trained already; the law is about students that begin with nothing")
    if recipe.samples.kind != "dataset":
        found.append("text that is written during the run is outside the law")
    for term in recipe.objective:
        plain = term.divergence == "forward_kl" and term.temperature == 1 and term.against == "teacher"
        if not plain:
            found.append(f"the law is about forward KL at temperature 1; `{term}` is outside it")
    return found


def _numbers(nats: Mapping[str, Any]) -> dict[str, Any]:
    named = (
        "student_nats",
        "teacher_nats",
        "teacher_minus_student",
        "unigram_nats",
        "pilot",
        "rows",
        "tokens",
    )
    return {name: nats[name] for name in named if name in nats}
