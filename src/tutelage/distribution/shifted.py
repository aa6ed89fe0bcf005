"""A distribution moved by what distinguishes two others (Delta-KD), and the rules for "never"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution.base import Distribution
from tutelage.distribution.combined import Combined, Place
from tutelage.distribution.uniform import Uniform
from tutelage.errors import OutOfRange, TutelageError

TOKENS_AT_A_TIME = 1024
"""Tokens of a row over which a mean is added up at a time."""


def shifted(
    onto: Distribution | None,
    *,
    towards: Distribution,
    away_from: Distribution | None,
    strength: float = 1.0,
    max_delta: float | None = None,
    centre: bool = False,
    plausibility: float = 0.0,
) -> Distribution:
    """``onto`` moved by what distinguishes two others: ``onto * (towards / away_from)^strength``, normalised.

    None for ``onto`` or ``away_from`` is the uniform distribution. A negative strength exchanges
    ``towards`` and ``away_from``, in all that follows too. For every token, in this order:

    1. strength 0 gives ``onto`` itself;
    2. what ``onto`` never says is not said;
    3. where ``towards`` and ``away_from`` both say "never" there is no shift;
    4. where only ``towards`` does, the token is vetoed (with ``max_delta`` it is shifted by that much down);
    5. where only ``away_from`` does, it is an error (with ``max_delta`` it is shifted by that much up).

    Without options the logs are combined as they are, unnormalised, a tile at a time: three members cost
    three walks. The options are about the normalised difference ``log towards - log away_from``; with one
    of them the members' rows of a chunk are kept whole. They act in the order centre, clip, mask; then comes
    the strength. A temperature does not commute with them: it belongs on the result.

    Members that kept k tokens and the rest are combined on their columns, the rest as one token, and only if
    all that are cut kept the very same tokens: a difference of two lists of likeliest tokens says little.

    Args:
        onto: what is moved.
        towards, away_from: whose difference is the shift.
        strength: factor of the shift.
        max_delta: the shift lies within plus and minus this many nats, before it is multiplied; None does
            not limit it.
        centre: take the mean of the shift under ``onto`` off first, over the tokens with a finite one.
        plausibility: only tokens that have at least this share of the probability of the likeliest one,
            under ``onto`` or under ``towards``, are shifted; what the two say of others does not matter.

    Raises:
        OutOfRange: ``strength`` is not finite, ``max_delta`` is not above 0, or ``plausibility`` is outside
            [0, 1).
        TutelageError: when rows are read: rule 5, a NaN, or members that kept different tokens.

    Source: Cao et al. 2025, Delta-KD, arXiv:2509.14526; the rules for "never" and the options are derived.
    """
    if not math.isfinite(strength):
        raise OutOfRange(
            f"strength is {strength}", expected="a finite number", fix="write 1 for the plain shift"
        )
    limits = Limits(max_delta, centre, plausibility)
    if strength == 0 and onto is not None:
        return onto
    if onto is None:
        onto = _uniform(towards)
    if away_from is None:
        away_from = _uniform(towards)
    if strength < 0:
        towards, away_from, strength = away_from, towards, -strength
    members = [onto, towards, away_from]
    return _Limited(members, strength, limits) if limits.limit else _Shifted(members, strength)


@dataclass(frozen=True)
class Limits:
    """What keeps a shift within bounds; see `shifted`.

    Attributes:
        max_delta: nats, or None.
        centre: whether its mean is taken off first.
        plausibility: share of the likeliest token's probability.
    """

    max_delta: float | None = None
    centre: bool = False
    plausibility: float = 0.0

    def __post_init__(self) -> None:
        if self.max_delta is not None and not 0 < self.max_delta < math.inf:
            raise OutOfRange(
                f"max_delta is {self.max_delta}",
                expected="a finite number of nats above 0, or None",
                fix="write `max_delta: 5`, or leave it out for no limit",
            )
        if not 0 <= self.plausibility < 1:
            raise OutOfRange(
                f"plausibility is {self.plausibility}",
                expected="a share from 0 to 1 without 1 itself",
                fix="write `plausibility: 0.1`, or 0 to shift every token",
            )

    @property
    def limit(self) -> bool:
        """Whether there is any; a mean that is taken off alone is a constant, which cancels."""
        return self.max_delta is not None or self.plausibility > 0


class _Shifted(Combined):
    one_support = True

    def __init__(self, members: Sequence[Distribution], strength: float) -> None:
        super().__init__(members)
        self.strength = strength

    def combine(self, logs: list[Tensor], place: Place) -> Tensor:
        onto, towards, away = logs
        shift = towards - away
        total = torch.add(onto, shift, alpha=self.strength)
        if not bool(total.amax() < math.inf):  # NaN or infinite: somebody said "never"
            neither = (towards == -math.inf) & (away == -math.inf) & (onto > -math.inf)
            if neither.any():
                # No shift between normalised rows: between unnormalised ones that is no zero.
                unmoved = place.normaliser(1) - place.normaliser(2)
                shift = torch.where(neither, unmoved, shift)
            total = torch.add(onto, shift, alpha=self.strength)
            total.masked_fill_(onto == -math.inf, -math.inf)
            _defined(total, place)
        return total


class _Limited(_Shifted):
    from_probabilities = True

    def __init__(self, members: Sequence[Distribution], strength: float, limits: Limits) -> None:
        super().__init__(members, strength)
        self.limits = limits

    def over_rows(self, rows: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The mean of the shift ``[n]``, and the logs above which `onto` and `towards` are plausible."""
        onto, towards, _ = rows
        mean = torch.zeros_like(onto[0])
        if self.limits.centre:
            total, mass = (torch.zeros(onto.shape[1], dtype=torch.float64, device=onto.device) for _ in "ab")
            for o, a, b in zip(*(tile.split(TOKENS_AT_A_TIME) for tile in rows), strict=True):
                shift = _difference(a, b)
                share = o.exp().masked_fill(~shift.isfinite(), 0.0)
                total += (share * shift.masked_fill(~shift.isfinite(), 0.0)).sum(0, dtype=torch.float64)
                mass += share.sum(0, dtype=torch.float64)
            mean = torch.where(mass > 0, total / mass, 0.0).to(onto.dtype)
        least = math.log(self.limits.plausibility) if self.limits.plausibility else -math.inf
        return mean, onto.amax(0) + least, towards.amax(0) + least

    def combine(self, logs: list[Tensor], place: Place) -> Tensor:
        onto, towards, away = logs
        mean, least_onto, least_towards = place.told
        # Infinite shifts stay what they are until they are clipped, whatever the mean is.
        shift = _difference(towards, away) - mean
        if self.limits.max_delta is not None:
            shift.clamp_(-self.limits.max_delta, self.limits.max_delta)
        if self.limits.plausibility:
            shift.masked_fill_(~((onto >= least_onto) | (towards >= least_towards)), 0.0)
        total = torch.add(onto, shift, alpha=self.strength)
        total.masked_fill_(onto == -math.inf, -math.inf)
        _defined(total, place)
        return total


def _difference(towards: Tensor, away: Tensor) -> Tensor:
    neither = (towards == -math.inf) & (away == -math.inf)
    return (towards - away).masked_fill_(neither, 0.0)


def _uniform(beside: Distribution) -> Uniform:
    return Uniform(beside.positions, beside.vocab_size, beside.never, beside.like)


def _defined(total: Tensor, place: Place) -> None:
    undefined = ~(total < math.inf)
    if undefined.any():
        column, position = (int(i) for i in undefined.nonzero()[0])
        raise TutelageError(
            f"a shift is undefined for {_named(place, column, position)}",
            expected="an `away_from` that says 'never' only where the others do, and no NaN",
            fix="use models that give every shared token some probability, or set `max_delta`",
        )


def _named(place: Place, column: int, position: int) -> str:
    tokens, chunk = place.tokens, place.chunk
    row: Any = (chunk.start or 0) + position if isinstance(chunk, slice) else int(chunk[position])
    if isinstance(tokens, slice):
        return f"token {tokens.start + column} at row {row}"
    if column == len(tokens):
        return f"the tokens not kept at row {row}"
    return f"token {int(tokens[column, position])} at row {row}"
