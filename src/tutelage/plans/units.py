"""Numbers of a plan: read from text with their suffixes, checked for their unit, told to people.

Everything inside is raw: parameters without embeddings, tokens, FLOP. Whoever writes 0.3 and means billions
would get an answer that looks like one, so such numbers are refused.
"""

from __future__ import annotations

import math
import re

from tutelage.errors import OutOfRange
from tutelage.plans.law import Laws

SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12, "p": 1e15}
_NUMBER = re.compile(r"\s*([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*([kmbgtp]?)\s*", re.IGNORECASE)
HIGHEST_LOSS = 15.0
"""Nats per token; nobody's vocabulary has three million tokens, so a number above is a perplexity."""


def number(text: str, what: str = "the number") -> float:
    """A number with an optional suffix: ``300M``, ``1.5B``, ``2e20``, ``512B``.

    Raises:
        OutOfRange: it is none.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise OutOfRange(
            f"{what} is {text!r}",
            expected="a number above 0, with K, M, B, T or P behind it if you like",
            fix="write for instance 300M, 1.5B, 512B or 2e20",
        )
    return float(found[1].replace("_", "") + (found[2] or "")) * SUFFIXES[found[3].lower()]


def parameters(value: float, what: str, laws: Laws) -> float:
    """A count of parameters without embeddings, or the error that says what it was taken for."""
    _finite(value, what, "parameters")
    if value < laws.smallest_parameters:
        raise OutOfRange(
            f"{what} is {value:g}: parameters or billions of parameters?",
            expected=f"raw parameters without embeddings, at least {told(laws.smallest_parameters)}",
            fix=f"write {value:g}B if it is billions, {value:g}M if it is millions",
        )
    return float(value)


def tokens(value: float, what: str, laws: Laws) -> float:
    """A count of tokens, or the error that says what it was taken for."""
    _finite(value, what, "tokens")
    if value < laws.smallest_tokens:
        raise OutOfRange(
            f"{what} is {value:g}: tokens or billions of tokens?",
            expected=f"raw tokens, at least {told(laws.smallest_tokens)}",
            fix=f"write {value:g}B if it is billions, {value:g}M if it is millions",
        )
    return float(value)


def flops(value: float, what: str) -> float:
    """A count of floating-point operations, finite and above zero."""
    _finite(value, what, "FLOP")
    return float(value)


def share(value: float, what: str) -> float:
    """A number between 0 and 1, both allowed."""
    if not 0 <= value <= 1:
        raise OutOfRange(
            f"{what} is {value:g}",
            expected="a share between 0 (paid by somebody else) and 1 (paid by this student)",
            fix="write 1 divided by the number of students that share the cost",
        )
    return float(value)


def loss(value: float, what: str, laws: Laws) -> float:
    """A cross-entropy in nats per token that a model under these laws can have.

    Raises:
        OutOfRange: not above 0, below the law's irreducible loss, or above what guessing gives.
    """
    _finite(value, what, "nats per token")
    if value <= laws.supervised.E:
        raise OutOfRange(
            f"{what} is {value:g} nats per token, below the irreducible loss of this law: another tokenizer?",
            expected=f"more than E = {laws.supervised.E:g} nats per token of the law's tokenizer and text",
            fix="measure it on your own held-out text in nats per token, and use a law fitted to that text",
        )
    highest = math.log(laws.vocabulary) if laws.vocabulary else HIGHEST_LOSS
    if value > highest:
        guess = (
            f"guessing gives {highest:.2f}" if laws.vocabulary and value <= HIGHEST_LOSS else "a perplexity?"
        )
        raise OutOfRange(
            f"{what} is {value:g} nats per token: {guess}",
            expected=f"at most {highest:.2f} nats per token",
            fix=f"write its natural logarithm, {math.log(value):.3f}, if it is a perplexity",
        )
    return float(value)


def told(value: float | None, unit: str = "") -> str:
    """A count for people: ``135.8B``, ``1.36e+21 FLOP`` stays as it is beyond the suffixes."""
    if value is None:
        return "none"
    behind = f" {unit}" if unit else ""
    if not math.isfinite(value):
        return "no limit"
    for size, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size <= value < 1e3 * size:
            return f"{value / size:.3g}{suffix}{behind}" if value / size < 999.5 else f"{value:.2e}{behind}"
    return f"{value:.3g}{behind}"


def _finite(value: float, what: str, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise OutOfRange(
            f"{what} is {value:g} {unit}",
            expected=f"a finite number of {unit} above 0",
            fix="write for instance 300M, 1.5B, 512B or 2e20",
        )
