"""Closed operations: distributions in, a distribution out. Linear in the logs, they cost one tile.

`tempered`, `interpolated`, `product` and `shifted` add and scale logs; `mixed` adds probabilities and
needs its members' normalisers first. Neutral elements give the plain thing back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.distribution.base import Distribution
from tutelage.distribution.combined import Combined, Place
from tutelage.errors import OutOfRange, TutelageError


def tempered(distribution: Distribution, temperature: float) -> Distribution:
    """``p^(1 / temperature)``, normalised: flatter above 1, sharper below.

    On k kept tokens and the rest, the columns are tempered as they are (the rest as one).

    Raises:
        OutOfRange: ``temperature`` is not a positive number.
    """
    if not 0 < temperature < math.inf:
        raise OutOfRange(
            f"temperature is {temperature}",
            expected="a number above 0",
            fix="write 1 for the distribution as it is",
        )
    return distribution if temperature == 1 else _Product([distribution], (1 / temperature,))


def product(distributions: Sequence[Distribution], weights: Sequence[float]) -> Distribution:
    """The weighted geometric mean ``prod p_k^weight_k``, normalised (a product of experts).

    A token that a member with positive weight never says has no probability.

    Raises:
        OutOfRange: a weight is negative or infinite, or all are zero.
    """
    _weights(weights, len(distributions))
    members = [(d, float(w)) for d, w in zip(distributions, weights, strict=True) if w != 0]
    if len(members) == 1 and members[0][1] == 1:
        return members[0][0]
    return _Product([d for d, _ in members], tuple(w for _, w in members))


def interpolated(start: Distribution, end: Distribution, t: float) -> Distribution:
    """On the way from ``start`` (t = 0) to ``end`` (t = 1) in log space: ``start^(1-t) end^t``, normalised.

    Raises:
        OutOfRange: ``t`` is not inside [0, 1].

    Source: Shing et al. 2025, TAID, arXiv:2501.16937.
    """
    if not 0 <= t <= 1:
        raise OutOfRange(
            f"t is {t}",
            expected="a share from 0 (start) to 1 (end)",
            fix="use `shifted` to go beyond one of the ends",
        )
    return product([start, end], [1 - t, t])


def shifted(
    onto: Distribution, *, towards: Distribution, away_from: Distribution, strength: float = 1.0
) -> Distribution:
    """``onto`` moved by what distinguishes two others: ``onto * (towards / away_from)^strength``.

    Where both of them say "never" there is no shift; where only ``towards`` does, the token is
    vetoed (with a negative strength the two change places).

    Raises:
        OutOfRange: ``strength`` is not finite.
        TutelageError: when tiles are filled, if ``away_from`` says "never" where the others do not.

    Source: Cao et al. 2025, Delta-KD, arXiv:2509.14526; the rules for "never" are derived.
    """
    if not math.isfinite(strength):
        raise OutOfRange(
            f"strength is {strength}", expected="a finite number", fix="write 1 for the plain shift"
        )
    if strength == 0:
        return onto
    if strength < 0:
        towards, away_from, strength = away_from, towards, -strength
    return _Shifted([onto, towards, away_from], strength)


def mixed(distributions: Sequence[Distribution], weights: Sequence[float] | Tensor) -> Distribution:
    """The weighted mean of probabilities, ``sum weight_k p_k``.

    Args:
        distributions: K members.
        weights: K numbers, or a tensor ``[N, K]`` with its own weights for every position (a routed
            mixture). They are scaled to sum to one.

    Raises:
        OutOfRange: a weight is negative or infinite, or all (of a position) are zero.
    """
    given = torch.as_tensor(weights, dtype=torch.float64)
    _weights(given, len(distributions))
    if given.dim() == 1:
        kept = [k for k, weight in enumerate(given.tolist()) if weight != 0]
        if len(kept) == 1:
            return distributions[kept[0]]
        return _Mixed([distributions[k] for k in kept], given[kept] / given.sum())
    if given.shape[0] != distributions[0].positions:
        raise TutelageError(
            f"weights for {given.shape[0]} positions of distributions with {distributions[0].positions}",
            expected="one row of weights for every position, or one weight for every member",
            fix="make the weights from the same batch as the distributions",
        )
    return _Mixed(distributions, given / given.sum(1, keepdim=True))


def alpha_mixed(
    distributions: Sequence[Distribution], weights: Sequence[float], order: float
) -> Distribution:
    """Amari's alpha-mixture: ``(sum_k weight_k p_k^c)^(1/c)``, normalised, with ``c = (1 - order) / 2``.

    Order -1 is the mean of probabilities (`mixed`), order 1 the geometric mean (`product`); the higher, the
    more a token has to be likely for all. Beyond -1 and 1 the order may be any finite number.

    Args:
        distributions: K members.
        weights: K numbers, scaled to sum to one.
        order: the family's alpha.

    Raises:
        OutOfRange: a weight is negative or infinite, all are zero, or ``order`` is not finite.

    Source: Amari 2007, Integration of stochastic models by minimizing alpha-divergence; for distillation Shin
    et al. 2025, AMiD, arXiv:2510.15982.
    """
    if not math.isfinite(order):
        raise OutOfRange(
            f"the order of an alpha-mixture is {order}",
            expected="a finite number",
            fix="write 1 for the geometric mean, -1 for the mean of probabilities",
        )
    _weights(weights, len(distributions))
    given = torch.as_tensor(weights, dtype=torch.float64)
    given = given / given.sum()
    if order == 1:
        return product(distributions, given.tolist())
    kept = [k for k, weight in enumerate(given.tolist()) if weight != 0]
    if order == -1 or len(kept) == 1:
        return mixed(distributions, given)
    return _AlphaMixed([distributions[k] for k in kept], given[kept], (1 - order) / 2)


class _Product(Combined):
    def __init__(self, members: Sequence[Distribution], powers: tuple[float, ...]) -> None:
        super().__init__(members)
        self.powers = powers

    def combine(self, logs: list[Tensor], place: Place) -> Tensor:
        total = logs[0].mul_(self.powers[0])
        for tile, power in zip(logs[1:], self.powers[1:], strict=True):
            total.add_(tile, alpha=power)
        return total

    def __repr__(self) -> str:
        return f"product({list(self.members)}, {list(self.powers)})"


class _Shifted(Combined):
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
            undefined = ~(total < math.inf)
            if undefined.any():
                column, position = (int(i) for i in undefined.nonzero()[0])
                raise TutelageError(
                    f"a shift is undefined for {_named(place, column, position)}",
                    expected="an `away_from` that says 'never' only where the others do, and no NaN",
                    fix="use models that give every shared token some probability",
                )
        return total


class _Mixed(Combined):
    from_probabilities = True

    def __init__(self, members: Sequence[Distribution], weights: Tensor) -> None:
        super().__init__(members)
        self.log_weights = weights.log()

    def combine(self, logs: list[Tensor], place: Place) -> Tensor:
        weights = self.log_weights if self.log_weights.dim() == 1 else self.log_weights[place.chunk].T
        weights = weights.to(logs[0].dtype).to(logs[0].device)
        total = logs[0].add_(weights[0])
        for tile, weight in zip(logs[1:], weights[1:], strict=True):
            total = torch.logaddexp(total, tile.add_(weight), out=total)
        return total


class _AlphaMixed(Combined):
    from_probabilities = True

    def __init__(self, members: Sequence[Distribution], weights: Tensor, power: float) -> None:
        super().__init__(members)
        self.log_weights = weights.log().tolist()
        self.power = power

    def combine(self, logs: list[Tensor], place: Place) -> Tensor:
        total = logs[0].mul_(self.power).add_(self.log_weights[0])
        for tile, weight in zip(logs[1:], self.log_weights[1:], strict=True):
            total = torch.logaddexp(total, tile.mul_(self.power).add_(weight), out=total)
        return total.div_(self.power)


def _named(place: Place, column: int, position: int) -> str:
    tokens, chunk = place.tokens, place.chunk
    row = (chunk.start or 0) + position if isinstance(chunk, slice) else int(chunk[position])
    if isinstance(tokens, slice):
        return f"token {tokens.start + column} at row {row}"
    if column == len(tokens):
        return f"the tokens not kept at row {row}"
    return f"token {int(tokens[column, position])} at row {row}"


def _weights(weights: Sequence[float] | Tensor, members: int) -> None:
    given = torch.as_tensor(weights, dtype=torch.float64)
    if given.shape[-1] != members:
        raise TutelageError(
            f"{given.shape[-1]} weights for {members} distributions",
            expected="one weight for every distribution",
            fix="give as many weights as members",
        )
    if not (bool((given >= 0).all()) and bool(given.isfinite().all()) and bool((given.sum(-1) > 0).all())):
        raise OutOfRange(
            f"weights are {given.tolist()}",
            expected="finite numbers from 0 up, not all zero",
            fix="use `shifted` to move away from a distribution",
        )
