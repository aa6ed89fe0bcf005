"""A claim of a paper as inequalities between measured numbers, and the verdict that seeds give.

A *margin* is by how much an inequality holds on one seed: above 0 it holds. A claim holds on a seed if every
one of its margins does. Nothing here is tuned: criteria are fixed before anything is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.evaluation.intervals import Interval
from tutelage.reproductions.paired import Below, Scores

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
        margins: what has to be above 0 on every seed, by what it compares. Of a `Below` the interval over
            prompts has to be above 0 too.
        note: a sentence for the reader, such as what cannot be told at this scale.
        provided: what has to be above 0 on every seed for the numbers to tell anything; else it is too small
            to tell, whatever they are.
        besides: what has to be above 0 on every seed too before it counts as reproduced; alone it refutes
            nothing.
        fewest: seeds without which it is never reproduced.
        noise: what chance does to the margins; one that fails by no more refutes nothing.
    """

    name: str
    says: str
    criterion: str
    margins: Mapping[str, Margin]
    note: str = ""
    provided: Mapping[str, Margin] = field(default_factory=dict)
    besides: Mapping[str, Margin] = field(default_factory=dict)
    fewest: int = FEWEST_SEEDS
    noise: Margin | None = None


@dataclass(frozen=True)
class Finding:
    """What came out of a claim.

    Attributes:
        claim: what was asked.
        seeds: which were measured.
        margins: of every inequality its margin by seed; NaN where a number is not defined.
        verdict: one of the three.
        intervals: of every `Below` its mean margin with the interval over prompts.
        provided, besides: those margins by seed.
    """

    claim: Claim
    seeds: tuple[int, ...]
    margins: Mapping[str, tuple[float, ...]]
    verdict: str
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    provided: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    besides: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

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
            "margins": _plain(self.margins),
            **(
                {"intervals": {what: asdict(one) for what, one in self.intervals.items()}}
                if self.intervals
                else {}
            ),
            **({"provided": _plain(self.provided)} if self.provided else {}),
            **({"besides": _plain(self.besides)} if self.besides else {}),
            **({"note": self.claim.note} if self.claim.note else {}),
        }


def judged(
    claim: Claim, found: Mapping[int, Numbers], scores: Mapping[int, Mapping[str, Scores]] | None = None
) -> Finding:
    """Hold a claim against the numbers of every seed.

    Args:
        claim: what is asked.
        found: numbers by seed and arm.
        scores: what every prompt contributed, by seed and arm; only a claim with a `Below` asks for it.
    """
    seeds = tuple(sorted(found))
    margins, provided, besides = (
        {what: tuple(margin(found[seed]) for seed in seeds) for what, margin in asked.items()}
        for asked in (claim.margins, claim.provided, claim.besides)
    )
    paired = {what: one for what, one in claim.margins.items() if isinstance(one, Below)}
    intervals = {what: one.interval(found, scores or {}) for what, one in paired.items()}
    told = verdict(
        list(margins.values()),
        intervals=list(intervals.values()),
        provided=list(provided.values()),
        besides=list(besides.values()),
        fewest=claim.fewest,
        noise=0.0 if claim.noise is None else sum(claim.noise(found[seed]) for seed in seeds) / len(seeds),
    )
    return Finding(claim, seeds, margins, told, intervals, provided, besides)


def verdict(
    margins: Sequence[Sequence[float]],
    *,
    intervals: Sequence[Interval] = (),
    provided: Sequence[Sequence[float]] = (),
    besides: Sequence[Sequence[float]] = (),
    fewest: int = FEWEST_SEEDS,
    noise: float = 0.0,
) -> str:
    """The verdict of inequalities by seed; the first of these that applies.

    *too small to tell* if something that was provided fails on a seed; *not reproduced* if an inequality
    fails on the mean over seeds (by at least ``noise``, where that is known); *reproduced* if all hold on
    every one of at least ``fewest`` seeds, with what has to hold besides, and every interval lies above 0;
    else *too small to tell*.

    >>> verdict([[0.2, 0.1, 0.3]]), verdict([[0.2, -0.9, 0.3]]), verdict([[0.2, -0.1, 0.3]])
    ('reproduced', 'not reproduced', 'too small to tell')
    >>> verdict([[0.2, 0.1]])  # two seeds are too few
    'too small to tell'
    >>> verdict([[0.2, 0.1, 0.3]], intervals=[Interval(0.2, -0.1, 0.5)])
    'too small to tell'
    >>> verdict([[-0.1, -0.1]], fewest=2, noise=0.2)  # no more than chance does
    'too small to tell'
    """
    if not _all_hold(provided):
        return TOO_SMALL
    means = [sum(values) / len(values) if values else math.nan for values in margins]
    if any(mean <= -noise for mean in means):
        return NOT_REPRODUCED
    enough = bool(margins) and all(len(values) >= fewest for values in margins)
    clear = all(interval.low > 0 for interval in intervals)
    return REPRODUCED if enough and clear and _all_hold([*margins, *besides]) else TOO_SMALL


def _all_hold(margins: Sequence[Sequence[float]]) -> bool:
    return all(value > 0 for values in margins for value in values)


def _plain(margins: Mapping[str, tuple[float, ...]]) -> dict[str, list[float | None]]:
    return {
        what: [value if math.isfinite(value) else None for value in values]
        for what, values in margins.items()
    }


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
