"""Numbers in the wrong unit are refused by name, and what the user is told can be read back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OutOfRange
from tutelage.plans.problem import Problem
from tutelage.plans.published import published
from tutelage.plans.scenario import SCENARIOS, Teacher
from tutelage.plans.units import number, told

LAWS = published("reconciled")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("300M", 3e8),
        ("1.5B", 1.5e9),
        ("2e20", 2e20),
        ("512b", 5.12e11),
        ("4T", 4e12),
        ("1P", 1e15),
        ("64K", 6.4e4),
        ("1_000_000", 1e6),
        (".5B", 5e8),
        ("2E20", 2e20),
    ],
)
def test_numbers_are_read_with_their_suffixes(text, value):
    """Letters as people write them, in either case."""
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "B", "1X", "-3M", "1,5B", "nan", "inf", "3 00", "1e", "12 tokens"])
def test_what_is_no_number_is_refused(text):
    """With an example of one."""
    with pytest.raises(OutOfRange, match="write for instance 300M"):
        number(text)


@given(value=st.floats(min_value=1e3, max_value=1e17))
def test_what_is_told_can_be_read_back(value):
    """Three figures of it."""
    assert number(told(value)) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize("size", [0.3, 1.0, 7.0, 300.0])
def test_billions_and_millions_of_parameters_are_asked_about(size):
    """A number that small was meant in another unit."""
    with pytest.raises(OutOfRange, match="parameters or billions of parameters"):
        Problem(LAWS, size, 1e21)


@pytest.mark.parametrize("tokens", [20.0, 512.0, 1e5])
def test_billions_of_tokens_are_asked_about(tokens):
    """Of the student, of a bound, of a teacher."""
    with pytest.raises(OutOfRange, match="tokens or billions of tokens"):
        Problem(LAWS, 1e9, 1e21, most_tokens=tokens)
    with pytest.raises(OutOfRange, match="tokens or billions of tokens"):
        Problem(LAWS, 1e9, 1e21, teacher_tokens=tokens)
    with pytest.raises(OutOfRange, match="tokens or billions of tokens"):
        Teacher(parameters=1e9, tokens=tokens).measured(LAWS)


@pytest.mark.parametrize("value", [0.0, -1e9, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_and_positive_is_refused(value):
    """Sizes, budgets, tokens and losses alike."""
    with pytest.raises(OutOfRange, match="the student is"):
        Problem(LAWS, value, 1e21)
    if value != math.inf:
        with pytest.raises(OutOfRange, match="the budget is"):
            Problem(LAWS, 1e9, value)
    with pytest.raises(OutOfRange, match="the loss of teacher"):
        Teacher(loss=value, parameters=1e9).measured(LAWS)


def test_a_budget_that_pays_no_token_is_refused():
    """In FLOP somebody may have meant exaFLOP."""
    with pytest.raises(OutOfRange, match="too small for one token"):
        Problem(LAWS, 1e9, 300.0)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (1.1, "below the irreducible loss of this law: another tokenizer"),
        (12.0, "guessing gives 10.40"),
        (17.5, "a perplexity"),
    ],
)
def test_losses_that_cannot_be_are_asked_about(loss, said):
    """Bits, other tokenizers, perplexities."""
    with pytest.raises(OutOfRange, match=said):
        Teacher(loss=loss, parameters=1e9).measured(LAWS)


def test_a_teacher_that_cannot_be_judged_or_paid_is_refused():
    """Without a loss it needs size and tokens; without a size its logits have no price."""
    with pytest.raises(OutOfRange, match="has no loss"):
        Problem(LAWS, 1e9, 1e21, SCENARIOS["inference"], (Teacher(parameters=1e9),))
    with pytest.raises(OutOfRange, match="has no size"):
        Problem(LAWS, 1e9, 1e21, SCENARIOS["inference"], (Teacher(loss=2.0),))
    Problem(LAWS, 1e9, 1e21, SCENARIOS["free"], (Teacher(loss=2.0),))


def test_laws_without_distillation_plan_no_teacher():
    """The ones of Hoffmann and of Besiroglu are supervised."""
    with pytest.raises(OutOfRange, match="say nothing about distillation"):
        Problem(published("hoffmann"), 1e9, 1e21)
