"""Closed operations: distributions in, a distribution out. Linear in the logs, they cost one tile.

`tempered`, `interpolated` and `product` add and scale logs, as does `shifted` in a file of its own; `mixed`
adds probabilities and needs its members' normalisers first. Neutral elements give the plain thing back.
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
