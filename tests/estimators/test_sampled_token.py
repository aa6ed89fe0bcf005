"""Estimators from drawn tokens alone: what each is in the mean, over every token that can be drawn."""

from __future__ import annotations

import pytest
import torch
from listed_texts import Toy
from torch.testing import assert_close

from tutelage.divergences import forward_kl, reverse_kl
from tutelage.errors import TutelageError
from tutelage.estimators import SampledToken
from tutelage.objective import Term

OWN = (Term("reverse_kl", on="student"),)


def stepwise(toy: Toy, name: str) -> torch.Tensor:
    """The gradient of a divergence summed over the positions of own text, prefixes held constant."""
    divergence = {"forward": forward_kl, "reverse": reverse_kl}[name]
    logits = toy.logits.clone().requires_grad_()
    values = divergence(logits.log_softmax(1), toy.teacher)
    total = torch.zeros((), dtype=torch.float64)
    for text, probability in toy.drawn(toy.student):
        total = total + probability * values[toy.states(text)].sum()
    (found,) = torch.autograd.grad(total, logits)
    return found.flatten()


@pytest.mark.parametrize(("form", "which"), [("k1", "reverse"), ("k2", "reverse"), ("k3", "forward")])
def test_the_mean_gradient_is_that_of_a_kl(form: str, which: str) -> None:
    """k1 as an advantage and k2 differentiated: the reverse KL; k3 differentiated: the forward KL."""
    toy = Toy.of("length_3")
    estimator = SampledToken(form=form, clip=None, reduction="sequence_sum")
    assert_close(toy.expected(estimator, OWN, toy.student), stepwise(toy, which), atol=1e-12, rtol=0)


def test_k1_corrects_for_what_the_text_was_drawn_from() -> None:
    """At one position, drawn from a mixture with the teacher, its mean is still the reverse KL's gradient."""
    toy = Toy.of("length_2")
    first = Toy(toy.teacher, toy.logits, ((0,), (1,), (2,)))
    estimator = SampledToken(clip=None, reduction="sequence_sum")
    found = first.expected(estimator, OWN, first.mixed(0.4))
    assert_close(found, first.expected(estimator, OWN, first.student), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "objective",
    [(Term("forward_kl", on="student"),), (Term("reverse_kl"),), (Term("cross_entropy", against="gold"),)],
)
def test_terms_that_drawn_tokens_say_nothing_about_are_refused(objective: tuple[Term, ...]) -> None:
    """Only the reverse KL on own text has such an estimate."""
    with pytest.raises(TutelageError, match="drawn tokens"):
        SampledToken().suits(objective)
