"""What a distribution says of tokens that are written already: one number a position."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Hidden
from tutelage.distribution.base import (
    BucketRows,
    PartialRows,
    Workspace,
    partial,
    says_something,
)
from tutelage.divergences.fused import choose_chunk
from tutelage.errors import TutelageError


@torch.no_grad()
def log_probs_of(distribution: Distribution, tokens: Tensor, student: Hidden | None = None) -> Tensor:
    """Natural log-probabilities ``[N]`` of one token a position, in the precision of the walk; no gradient.

    Memory grows with the positions and with the vocabulary, never with their product. Of a distribution that
    keeps k tokens and the rest, a token of the rest gets an even share of it: an upper bound in the mean
    (Jensen), and the same that `Distribution.log_probs` shows.

    Args:
        distribution: over ``N`` positions.
        tokens: ids ``[N]``.
        student: the student's rows at the same positions, for a distribution that moves with it.

    Raises:
        TutelageError: only some tokens are known there, or there are not as many tokens as positions.
    """
    if tuple(tokens.shape) != (distribution.positions,):
        raise TutelageError(
            f"{tuple(tokens.shape)} tokens for {distribution.positions} positions",
            expected="one token a position",
            fix="pass the counted tokens themselves (`batch.gold`)",
        )
    like = distribution.like
    parts = []
    with torch.autocast(like.device.type, enabled=False), Workspace.lent(like) as workspace:
        size = choose_chunk(distribution.vocab_size, distribution.positions, workspace.sizes)
        workspace.sizes = workspace.sizes.cut(size)
        for rows in torch.arange(distribution.positions, device=like.device).split(size):
            workspace.reset()
            tile = None
            if student is not None:
                tile = workspace.take(student.vocab_size, len(rows))
                student.open(rows, workspace).fill_all(tile)
            parts.append(_chunk(distribution, rows, tokens[rows], workspace, tile))
    return torch.cat(parts) if parts else like.new_zeros(0)


def _chunk(
    distribution: Distribution, rows: Tensor, ids: Tensor, workspace: Workspace, student: Tensor | None
) -> Tensor:
    opened = distribution.open(rows, workspace, student)
    if isinstance(opened, PartialRows):
        raise partial("asked about a token that was not drawn from it")
    if isinstance(opened, BucketRows):
        columns = opened.columns()
        logs = columns - says_something(columns.logsumexp(0))
        tokens = distribution.vocab_size - (
            0 if distribution.never is None else len(distribution.never.unique())
        )
        others = (tokens - (opened.ids >= 0).sum(0)).clamp(min=1)
        found = opened.ids == ids
        kept = torch.where(found, logs[:-1], -torch.inf).amax(0)
        return torch.where(found.any(0), kept, logs[-1] - others.to(logs.dtype).log())
    tile = workspace.take(opened.vocab_size, opened.n)
    normaliser = says_something(opened.fill_all(tile))
    return tile.gather(0, ids[None])[0] - normaliser
