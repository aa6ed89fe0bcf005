"""Logits measured by their own spread: what is compared is their order and shape, not how sure a model is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution.base import (
    Chunk,
    Distribution,
    FilledRows,
    FullRows,
    Workspace,
)
from tutelage.distribution.hidden import Hidden
from tutelage.distribution.student import OfStudent
from tutelage.distribution.wrapped import Wrapped
from tutelage.errors import TutelageError


def standardised(distribution: Distribution) -> Distribution:
    """The softmax of logits divided by their standard deviation over the tokens, at every position.

    Taking the mean off as well would change nothing: a constant cancels. The deviation is that of all tokens
    (divided by their number); ids that are no tokens do not count. Of hidden states it is had without making
    logits, from the covariance of the output layer, and gradients flow through it: the result is `Hidden`
    again. That costs ``V H^2`` operations beside the ``N V H`` of the products.

    Raises:
        TutelageError: logits are bounded by a soft-cap, not all are known, or they move with the student.

    Source: Sun et al. 2024, arXiv:2403.01427.
    """
    if isinstance(distribution, Hidden):
        return _of_layer(distribution)
    if any(isinstance(member, OfStudent) for member in _members(distribution)):
        raise TutelageError(
            "a teacher that moves with the student cannot be standardised",
            expected="a teacher that says the same whatever the student does",
            fix="delete `standardise: true`, or take the teacher at the end of its way",
        )
    return _Standardised(distribution)


@dataclass(frozen=True, eq=False)
class _Standardised(Wrapped):
    @property
    def never(self) -> Tensor | None:  # type: ignore[override]
        return self.of.never

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> FilledRows:
        opened = self.of.open(chunk, workspace)
        if not isinstance(opened, FullRows):
            raise TutelageError(
                "logits of which not all are known have no standard deviation",
                expected="a teacher that says something of every token",
                fix="delete `standardise: true`, or keep the teacher as `hidden`",
            )
        tile = workspace.take(opened.vocab_size, opened.n)
        opened.fill_all(tile)
        said = tile > -torch.inf
        count = said.sum(0)
        mean = torch.where(said, tile, 0.0).sum(0) / count
        away = torch.where(said, tile - mean, 0.0)
        variance = (away * away).sum(0) / count
        return FilledRows(away.div_(_spread(variance, mean * mean)).masked_fill_(~said, -torch.inf))


def _of_layer(of: Hidden) -> Hidden:
    if of.softcap is not None:
        raise TutelageError(
            "logits that are bounded by a soft-cap have no standard deviation in closed form",
            expected="an output layer without a soft-cap",
            fix="delete `standardise: true`",
        )
    wide = torch.promote_types(of.weight.dtype, torch.float32)
    weight, hidden = of.weight, of.hidden
    if of.bias is not None:
        weight = torch.cat([weight, of.bias.to(weight.dtype)[:, None]], 1)
        hidden = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], 1)
    layer, states = weight.to(wide), hidden.to(wide)
    count, total, squares = len(layer), layer.sum(0), layer.T @ layer
    if of.never is not None:
        gone = layer[of.never.unique()]
        count, total, squares = count - len(gone), total - gone.sum(0), squares - gone.T @ gone
    mean = total / count
    covariance = squares / count - mean[:, None] * mean
    variance, square = (((states @ of) * states).sum(1) for of in (covariance, squares / count))
    spread = _spread(variance, square)
    return Hidden((states / spread[:, None]).to(hidden.dtype), weight, never=of.never)


def _spread(variance: Tensor, square: Tensor) -> Tensor:
    """The standard deviation; 1 where logits differ by nothing but the rounding of their mean square."""
    flat = variance <= 16 * torch.finfo(variance.dtype).eps * square
    return torch.where(flat, 1.0, variance).sqrt()


def _members(distribution: Any) -> Iterator[Any]:
    """The distribution and all that it is made of."""
    yield distribution
    inside = distribution.of if isinstance(distribution, Wrapped) else None
    for member in (inside,) if inside is not None else getattr(distribution, "members", ()):
        yield from _members(member)
