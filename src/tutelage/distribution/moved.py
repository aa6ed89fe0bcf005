"""Which tokens there are, and mass moved between them: `restricted` and `renamed`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.distribution.base import (
    BucketRows,
    Chunk,
    Distribution,
    FilledRows,
    FullRows,
    OpenRows,
    PartialRows,
    Workspace,
    partial,
    says_something,
)
from tutelage.distribution.hidden import Hidden, forbid
from tutelage.distribution.sampled import Sampled
from tutelage.distribution.top_k import TopK
from tutelage.distribution.wrapped import Wrapped
from tutelage.errors import OutOfRange, TutelageError


def restricted(distribution: Distribution, width: int, never: Tensor | None = None) -> Distribution:
    """The same distribution, told that only some tokens exist; renormalised over those.

    Token ids keep their meaning: the result has the first ``width`` columns, and those in ``never``
    get no probability. This is how two models with differently padded tables meet.

    Args:
        distribution: over at least ``width`` tokens.
        width: number of columns that stay.
        never: ids below ``width`` that are not shared either, or None.

    Raises:
        OutOfRange: ``width`` is not from 1 to the size of the vocabulary.
    """
    if not 1 <= width <= distribution.vocab_size:
        raise OutOfRange(
            f"{width} shared tokens of a vocabulary of {distribution.vocab_size}",
            expected=f"a width from 1 to {distribution.vocab_size}",
            fix="prove the shared ids first (`tutelage.models.prove_shared`)",
        )
    if never is not None and len(never) == 0:
        never = None
    if width == distribution.vocab_size and never is None:
        return distribution
    if isinstance(distribution, Hidden | TopK | Sampled):
        return distribution.restricted(width, never)
    return _Restricted(distribution, width, never)


def left_out(
    distribution: Distribution,
    width: int,
    never: Tensor | None,
    rows: slice,
    student: Tensor | None = None,
) -> Tensor:
    """The probability ``[n]`` that ``distribution`` gives to tokens outside the shared ones.

    Args:
        distribution: over at least ``width`` tokens.
        width: number of columns that stay.
        never: ids below ``width`` that are not shared either, or None.
        rows: which positions.
        student: the student's log-probabilities ``[n, V]`` there, if it moves with the student.
    """
    workspace = Workspace(distribution.like)
    beside = None if student is None else student.to(workspace.dtype).T.contiguous()
    opened = distribution.open(rows, workspace, beside)
    if isinstance(opened, PartialRows):
        # An estimate: the share of what is known that lies outside.
        gone = opened.ids >= width
        if never is not None:
            gone |= torch.isin(opened.ids, never)
        return (opened.logs.exp() * opened.factors).masked_fill(~gone, 0.0).sum(0)
    if isinstance(opened, BucketRows):
        gone = opened.ids >= width
        if never is not None:
            gone |= torch.isin(opened.ids, never)
        shares = opened.columns().softmax(0)[:-1]
        return shares.masked_fill(~gone, 0.0).sum(0)
    tile = workspace.empty(opened.vocab_size, opened.n)
    normaliser = opened.fill_all(tile)
    outside = (tile[width:] - normaliser).exp().sum(0)
    return outside if never is None else outside + (tile[never] - normaliser).exp().sum(0)


def renamed(distribution: Distribution, sources: Tensor, targets: Tensor, floor: float = 0.0) -> Distribution:
    """Mass moved between tokens: what was said as ``sources`` is now said as ``targets``.

    All moves happen at once, from the masses before. What a token receives stays with it.

    Args:
        distribution: over N positions.
        sources: ids ``[N, m]`` whose mass goes, each once a row; -1 for no move.
        targets: ids ``[N, m]`` where it goes.
        floor: probability that a source keeps (if it had more).

    Raises:
        TutelageError: shapes differ, an id is outside the vocabulary, or a source is its own target or
            is listed twice.
        OutOfRange: ``floor`` is not inside [0, 1).

    Source: Liu et al. 2024, arXiv:2407.16997 (the change back of a replaced name).
    """
    if not 0 <= floor < 1:
        raise OutOfRange(
            f"floor is {floor}", expected="a probability below 1", fix="write 0 to move everything"
        )
    if sources.shape != targets.shape or sources.dim() != 2 or len(sources) != distribution.positions:
        raise TutelageError(
            f"sources of shape {tuple(sources.shape)} and targets of shape {tuple(targets.shape)}",
            expected=f"both ({distribution.positions}, m), one row a position",
            fix="repeat the moves for every position; use -1 where there is none",
        )
    real = sources >= 0
    outside = real & ((targets < 0) | (torch.maximum(sources, targets) >= distribution.vocab_size))
    if outside.any():
        raise TutelageError(
            f"a move at row {int(outside.any(1).nonzero()[0])} names a token that does not exist",
            expected=f"ids from 0 to {distribution.vocab_size - 1}; a source of -1 for no move",
            fix="take both ids from the vocabulary of the distribution",
        )
    absent = -1 - torch.arange(sources.shape[1], device=sources.device)
    ordered = torch.where(real, sources, absent).sort(-1).values
    if (real & (sources == targets)).any() or (ordered[:, 1:] == ordered[:, :-1]).any():
        raise TutelageError(
            "a token is renamed to itself or listed twice at one position",
            expected="each source once a position, with another token as its target",
            fix="leave such moves out (-1)",
        )
    return _Renamed(distribution, sources, targets, floor)


@dataclass(frozen=True, eq=False)
class _Restricted(Wrapped):
    width: int
    never: Tensor | None

    @property
    def vocab_size(self) -> int:
        return self.width

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> OpenRows:
        opened = self.of.open(chunk, workspace, student)
        if isinstance(opened, PartialRows):
            raise partial("restricted after it was combined")
        if isinstance(opened, BucketRows):
            gone = opened.ids >= self.width
            if self.never is not None:
                gone |= torch.isin(opened.ids, self.never)
            logs = opened.columns().clone()
            logs[:-1].masked_fill_(gone, -torch.inf)
            return BucketRows(opened.ids.masked_fill(gone, -1), logs, self.width)
        return _RestrictedRows(opened, self.width, self.never)


class _RestrictedRows(FullRows):
    def __init__(self, of: FullRows, width: int, never: Tensor | None) -> None:
        super().__init__(of.n, width)
        self._of = of
        self._never = never

    def fill(self, tokens: slice, out: Tensor) -> None:
        self._of.fill(tokens, out)
        forbid(self._never, tokens, out)


@dataclass(frozen=True, eq=False)
class _Renamed(Wrapped):
    sources: Tensor
    targets: Tensor
    floor: float

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> OpenRows:
        opened = self.of.open(chunk, workspace, student)
        if isinstance(opened, PartialRows):
            raise partial("renamed")
        sources, targets = self.sources[chunk].T, self.targets[chunk].T
        if isinstance(opened, BucketRows):
            logs = opened.columns() - says_something(opened.columns().logsumexp(0))
            k = len(opened.ids)
            # Columns of the named tokens; what was not kept lives in the rest, column k.
            moved = self._moved(logs, _column(opened.ids, sources, -1), _column(opened.ids, targets, k))
            return BucketRows(opened.ids, moved, self.vocab_size)
        tile = workspace.take(opened.vocab_size, opened.n)
        normaliser = says_something(opened.fill_all(tile))
        for tokens in workspace.sizes.slices(opened.vocab_size):
            tile[tokens] -= normaliser
        return FilledRows(self._moved(tile, sources, targets))

    def _moved(self, logs: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        # All masses are read before any is moved, so a source of one move may be another's target.
        real = sources >= 0
        before = logs.gather(0, sources.clamp(min=0)).exp() if len(sources) else logs[:0]
        leaving = (before - self.floor).clamp(min=0)
        log_floor = math.log(self.floor) if self.floor else -math.inf
        for source, moves in zip(sources, real & (leaving > 0), strict=True):
            at = moves.nonzero()[:, 0]
            logs[source[at], at] = log_floor
        for target, mass, moves in zip(targets, leaving, real & (leaving > 0), strict=True):
            at = moves.nonzero()[:, 0]
            logs[target[at], at] = torch.logaddexp(logs[target[at], at], mass[at].log())
        return logs


def _column(ids: Tensor, wanted: Tensor, otherwise: int) -> Tensor:
    # ids [k, n], wanted [m, n] -> the column of each wanted token, or `otherwise`.
    same = (wanted[:, None] == ids[None]) & (wanted[:, None] >= 0)
    return torch.where(same.any(1), same.int().argmax(1), otherwise)
