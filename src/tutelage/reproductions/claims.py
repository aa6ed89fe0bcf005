"""A claim of a paper as inequalities between measured numbers, and the verdict that seeds give.

A *margin* is by how much an inequality holds on one seed: above 0 it holds. A claim holds on a seed if every
one of its margins does. Nothing here is tuned: criteria are fixed before anything is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REPRODUCED, NOT_REPRODUCED, TOO_SMALL = "reproduced", "not reproduced", "too small to tell"
FEWEST_SEEDS = 3

Numbers = Mapping[str, Mapping[str, float]]
"""Of one seed: name of an arm, such as ``strong/minillm``, to its numbers by name."""

Margin = Callable[[Numbers], float]


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what would show it here.

    Attributes:
        name: a short name, for JSON.
        says: the claim, in one sentence.
        criterion: when it counts as reproduced, in words.
        margins: what has to be above 0 on every seed, by what it compares.
        note: a sentence for the reader, such as what cannot be told at this scale.
    """

    name: str
    says: str
    criterion: str
    margins: Mapping[str, Margin]
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """What came out of a claim.

    Attributes:
        claim: what was asked.
        seeds: which were measured.
        margins: of every inequality its margin by seed; NaN where a number is not defined.
        verdict: one of the three.
    """

    claim: Claim
    seeds: tuple[int, ...]
    margins: Mapping[str, tuple[float, ...]]
    verdict: str

    @property
    def holds(self) -> tuple[bool, ...]:
        """Seed by seed, whether every inequality holds."""
        return tuple(all(margin > 0 for margin in one) for one in zip(*self.margins.values(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """As `reproductions/NAME.json` has it; a margin that is not defined is null."""
        return {
            "name": self.claim.name,
            "claim": self.claim.says,
            "criterion": self.claim.criterion,
            "verdict": self.verdict,
            "seeds": list(self.seeds),
            "holds": list(self.holds),
            "margins": {
                what: [value if math.isfinite(value) else None for value in values]
                for what, values in self.margins.items()
            },
            **({"note": self.claim.note} if self.claim.note else {}),
        }


def judged(claim: Claim, found: Mapping[int, Numbers]) -> Finding:
    """Hold a claim against the numbers of every seed."""
    seeds = tuple(sorted(found))
    margins = {what: tuple(margin(found[seed]) for seed in seeds) for what, margin in claim.margins.items()}
    return Finding(claim, seeds, margins, verdict(list(margins.values())))


def verdict(margins: Sequence[Sequence[float]]) -> str:
    """The verdict of inequalities by seed.

    *reproduced* if all hold on every one of at least three seeds; *not reproduced* if one fails on the mean
    over seeds; else *too small to tell*.

    >>> verdict([[0.2, 0.1, 0.3]]), verdict([[0.2, -0.9, 0.3]]), verdict([[0.2, -0.1, 0.3]])
    ('reproduced', 'not reproduced', 'too small to tell')
    >>> verdict([[0.2, 0.1]])  # two seeds are too few
    'too small to tell'
    """
    means = [sum(values) / len(values) if values else math.nan for values in margins]
    if any(mean <= 0 for mean in means):
        return NOT_REPRODUCED
    enough = bool(margins) and all(len(values) >= FEWEST_SEEDS for values in margins)
    return REPRODUCED if enough and all(value > 0 for values in margins for value in values) else TOO_SMALL


def less(low: str, high: str, measure: str, *, share: float = 1.0, errors: float = 0.0) -> Margin:
    """Margin of ``measure(low) < share * measure(high)``, by more than so many standard errors.

    Args:
        low, high: names of arms.
        measure: name of a number; with ``errors`` its ``_error`` is read too.
        share: of the higher number.
        errors: standard errors of the difference that it must exceed.
    """

    def margin(found: Numbers) -> float:
        one, other = found[low], found[high]
        spare = 0.0
        if errors:
            spare = errors * math.hypot(one[f"{measure}_error"], share * other[f"{measure}_error"])
        return share * other[measure] - one[measure] - spare

    return margin


def at_least(high: str, low: str, measure: str, *, share: float = 1.0) -> Margin:
    """Margin of ``measure(high) >= share * measure(low)``; an exact tie counts as holding."""

    def margin(found: Numbers) -> float:
        difference = found[high][measure] - share * found[low][measure]
        return difference if difference else math.ulp(0.0)

    return margin


def between(middle: str, one: str, other: str, measure: str, *, outside: float = 0.0) -> Margin:
    """Margin of a number between two others, or at most a share of the nearer one outside.

    Args:
        middle, one, other: names of arms.
        measure: name of a number.
        outside: how far outside it may lie, as a share of the nearer of the two.
    """

    def margin(found: Numbers) -> float:
        low, high = sorted(found[name][measure] for name in (one, other))
        value = found[middle][measure]
        return min(value - low + outside * low, high + outside * high - value)

    return margin


def within(one: str, other: str, measure: str, *, errors: float = 1.0) -> Margin:
    """Margin of two numbers lying no farther apart than so many standard errors of their difference."""

    def margin(found: Numbers) -> float:
        ours, theirs = found[one], found[other]
        error = math.hypot(ours[f"{measure}_error"], theirs[f"{measure}_error"])
        return errors * error - abs(ours[measure] - theirs[measure])

    return margin
