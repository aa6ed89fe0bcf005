"""f-DISTILL's halves against the toys of its specification: step-wise values, gradients, the exact middle."""

from __future__ import annotations

import pytest
import torch
from listed_texts import F_DISTILL, TOLERANCE, Toy, double
from torch.testing import assert_close

from tutelage.divergences.fused import evaluate
from tutelage.estimators import PerToken
from tutelage.objective import Term

TOYS = ("length_2", "length_3", "end")
HALVES = {
    "kl": (Term("forward_kl", on="teacher"),),
    "rkl": (Term("reverse_kl", on="student"),),
    "js_approx": (
        Term("skew_forward_kl", {"skew": 0.5}, weight=0.5, on="teacher"),
        Term("skew_reverse_kl", {"skew": 0.5}, weight=0.5, on="student"),
    ),
    "tvd_combined": (
        Term("total_variation", weight=0.5, on="teacher"),
        Term("total_variation", weight=0.5, on="student"),
    ),
    "tvd_teacher": (Term("total_variation", on="teacher"),),
    "tvd_student": (Term("total_variation", on="student"),),
}
SUM = PerToken(reduction="sequence_sum")


def halves(toy: Toy, estimator: PerToken, objective: tuple[Term, ...]) -> torch.Tensor:
    """Mean gradient over texts of the teacher on its terms, and of the student on its own."""
    mine = tuple(term for term in objective if term.on == "student")
    theirs = tuple(term for term in objective if term.on == "teacher")
    total = torch.zeros(12, dtype=torch.float64)
    if mine:
        total += toy.expected(estimator, mine, toy.student)
    if theirs:
        total += toy.expected(estimator, theirs, toy.teacher, "teacher")
    return total


PRINTED = [
    (kind, name) for kind in TOYS for name in HALVES if name in F_DISTILL[kind]["fdistill_stopgrad_grad"]
]


@pytest.mark.parametrize(("kind", "name"), PRINTED)
def test_the_halves_have_the_gradients_of_the_specification(kind: str, name: str) -> None:
    """Prefixes are constants, and each half is taken over its own writer's texts."""
    known = F_DISTILL[kind]["fdistill_stopgrad_grad"]
    found = halves(Toy.of(kind, F_DISTILL["models"]), SUM, HALVES[name])
    assert_close(found, double(known[name]), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", TOYS)
def test_the_exact_middle_is_known_from_what_was_written_before(kind: str) -> None:
    """Its mean gradient is the printed one."""
    exact = PerToken(reduction="sequence_sum", middle="exact")
    found = halves(Toy.of(kind, F_DISTILL["models"]), exact, HALVES["js_approx"])
    assert_close(
        found, double(F_DISTILL[kind]["fdistill_stopgrad_grad"]["js_exact_middle"]), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("kind", TOYS)
def test_with_the_exact_middle_the_steps_sum_up_to_the_divergence_of_whole_texts(kind: str) -> None:
    """Exactly, where the step-wise middle gives an upper bound; all other totals are the printed ones."""
    toy, known = Toy.of(kind, F_DISTILL["models"]), F_DISTILL[kind]
    for name, printed in (
        ("kl", "kl"),
        ("rkl", "rkl"),
        ("js_approx", "js_approx"),
        ("tvd_combined", "tvd_combined"),
    ):
        assert total(toy, SUM, HALVES[name]) == pytest.approx(known["stepwise_total"][printed], abs=TOLERANCE)
    exact = PerToken(reduction="sequence_sum", middle="exact")
    found = total(toy, exact, HALVES["js_approx"])
    assert found == pytest.approx(known["exact"]["js"], abs=TOLERANCE)
    assert found < known["stepwise_total"]["js_approx"]


def total(toy: Toy, estimator: PerToken, objective: tuple[Term, ...]) -> float:
    """The loss in the mean over the texts of each writer."""
    summed = 0.0
    for writer, model in (("student", toy.student), ("teacher", toy.teacher)):
        terms = tuple(term for term in objective if term.on == writer)
        for text, probability in toy.drawn(model):
            batch, student = toy.batch(text, model, writer), toy.hidden(text, toy.logits.T)
            counted = {writer: len(text), f"{writer} rows": 1}
            value, _ = evaluate(student, estimator.terms(terms, batch, student, toy.told(text), counted))
            summed += probability * float(value)
    return summed
