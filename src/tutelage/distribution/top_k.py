"""A distribution that kept k tokens a position and the mass of all the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from tutelage.distribution.base import (
    BucketRows,
    Chunk,
    Distribution,
    FullRows,
    PartialRows,
    Workspace,
    partial,
    says_something,
)
from tutelage.errors import OutOfRange, TutelageError
from tutelage.numerics import largest, log_one_minus_exp

AT_A_TIME = 256
"""Positions whose rows are looked through at a time for their most likely tokens."""

Tail = Literal["bucket", "renormalise", "drop"]


@dataclass(frozen=True, eq=False, init=False)
class TopK(Distribution):
    """The k most likely tokens and one column for the rest.

    A student that meets it is brought onto the same k + 1 columns. By data processing every
    f-divergence there is a lower bound of the one over all tokens. Without the column for the rest,
    forward KL would be lowest for a student that never says the tokens which were not kept.

    What becomes of the rest is `tail`; the two others are what other tools do, and their bias is
    measured in ``docs/cache.md``:

    - ``bucket``: one column, as above.
    - ``renormalise``: the kept tokens are taken for all there is; the student learns never to say others.
    - ``drop``: the sum runs over the kept tokens alone, neither side renormalised. It is no
      distribution, no operation takes it, and its "divergence" may be negative.

    Attributes:
        ids: kept tokens ``[N, k]``, each once a row; -1 marks an empty column.
        log_probs_kept: their natural log-probabilities ``[N, k]``, not renormalised.
        vocabulary: number of tokens, ``V``.
        log_tail: natural log of the mass of the rest ``[N]``; None derives it from the kept ones.
        never: ids ``[m]`` that are not tokens, or None; the rest is not about them.
        tail: ``bucket``, ``renormalise`` or ``drop``.
    """

    ids: Tensor
    log_probs_kept: Tensor
    vocabulary: int
    log_tail: Tensor | None = None
    never: Tensor | None = None
    tail: Tail = "bucket"

    def __init__(
        self,
        ids: Tensor,
        log_probs: Tensor,
        vocab_size: int,
        log_tail: Tensor | None = None,
        never: Tensor | None = None,
        tail: Tail = "bucket",
    ) -> None:
        check_kept(ids, log_probs, vocab_size)
        if tail not in get_args(Tail):
            raise OutOfRange(
                f"the tail is '{tail}'", expected="bucket, renormalise or drop", fix="write `tail: bucket`"
            )
        kept = log_probs.masked_fill(ids < 0, -torch.inf)
        if log_tail is None:
            log_tail = _tail(kept, (ids >= 0).sum(-1) >= vocab_size)
        for name, value in (
            ("ids", ids),
            ("log_probs_kept", kept),
            ("vocabulary", vocab_size),
            ("log_tail", log_tail),
            ("never", never),
            ("tail", tail),
        ):
            object.__setattr__(self, name, value)

    @property
    def positions(self) -> int:
        """Number of positions, ``N``."""
        return self.ids.shape[0]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return self.vocabulary

    @property
    def like(self) -> Tensor:
        """The kept log-probabilities."""
        return self.log_probs_kept

    def open(
        self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None
    ) -> BucketRows | PartialRows:
        """The kept columns, with what `tail` makes of the rest."""
        assert self.log_tail is not None
        ids = self.ids[chunk].T
        kept = self.log_probs_kept[chunk].detach().to(workspace.dtype).T
        if self.tail == "drop":
            return PartialRows(ids, kept, (ids >= 0).to(kept.dtype), self.vocab_size)
        rest = self.log_tail[chunk].detach().to(workspace.dtype)
        if self.tail == "renormalise":
            rest = torch.full_like(rest, -torch.inf)
        return BucketRows(ids, torch.cat([kept, rest[None]]), self.vocab_size)

    def restricted(self, width: int, never: Tensor | None) -> TopK:
        """Only the first ``width`` tokens, without those in ``never``; the rest keeps its mass."""
        gone = self.ids >= width
        if never is not None:
            gone |= torch.isin(self.ids, never)
        if self.never is not None:
            never = self.never if never is None else torch.cat([self.never, never])
            never = never[never < width]
        return TopK(
            self.ids.masked_fill(gone, -1), self.log_probs_kept, width, self.log_tail, never, self.tail
        )


def kept(distribution: Distribution, k: int, rows: slice = slice(None)) -> TopK:
    """The ``k`` most likely tokens of any distribution at some positions, and the mass of the rest.

    The rest is what the kept ones leave of one; rows are made for some positions at a time.
    Tokens of probability zero are never kept: their columns are empty.

    Raises:
        OutOfRange: ``k`` is not from 1 to the size of the vocabulary.
    """
    if not 1 <= k <= distribution.vocab_size:
        raise OutOfRange(
            f"{k} kept tokens of a vocabulary of {distribution.vocab_size}",
            expected=f"a number from 1 to {distribution.vocab_size}",
            fix="write `k: 64`, say",
        )
    if isinstance(distribution, TopK) and distribution.tail == "bucket":
        logs, at = distribution.log_probs_kept[rows].topk(min(k, distribution.ids.shape[1]), -1)
        ids = distribution.ids[rows].gather(1, at)
        fewer = logs.shape[1] < distribution.ids.shape[1]
        assert distribution.log_tail is not None
        tail = None if fewer else distribution.log_tail[rows]
        return TopK(ids, logs, distribution.vocab_size, tail, distribution.never)
    workspace = Workspace(distribution.like)
    ids, logs = [], []
    for chunk in torch.arange(distribution.positions)[rows].split(AT_A_TIME):
        workspace.reset()
        opened = distribution.open(chunk.to(distribution.like.device), workspace)
        if not isinstance(opened, FullRows):
            raise partial("cut to its most likely tokens")
        tile = workspace.take(opened.vocab_size, opened.n)
        normaliser = says_something(opened.fill_all(tile))
        best, at = largest(tile, k)
        logs.append((best - normaliser).T)
        ids.append(torch.where(best > -torch.inf, at, -1).T)
    return TopK(torch.cat(ids), torch.cat(logs), distribution.vocab_size, never=distribution.never)


def gold(tokens: Tensor, vocab_size: int, like: Tensor) -> TopK:
    """All mass on the token ``tokens[n]`` that was written at each position: what SFT compares with."""
    certain = torch.zeros(len(tokens), 1, dtype=like.dtype, device=tokens.device)
    return TopK(tokens[:, None], certain, vocab_size, log_tail=certain[:, 0] - torch.inf)


def _tail(kept: Tensor, complete: Tensor) -> Tensor:
    rounding = torch.finfo(kept.dtype).eps
    total = kept.to(torch.promote_types(kept.dtype, torch.float32)).logsumexp(-1)
    too_much = total > max(1e-3, 8 * rounding)
    if too_much.any():
        row = int(too_much.nonzero()[0])
        raise TutelageError(
            f"the kept probabilities of row {row} sum to {float(total[row].exp()):.4f}",
            expected="at most 1: natural log-probabilities over the whole vocabulary, not logits",
            fix="subtract the row's log-sum-exp over all tokens before keeping the k best",
        )
    # Where something was left out it has some mass, be it lost in rounding: a rest of exactly zero
    # would make reverse KL infinite. Where nothing was, none must be asked for.
    tail = log_one_minus_exp(total.clamp(max=0.0)).clamp(min=math.log(rounding))
    return tail.masked_fill(complete, -torch.inf)


def check_kept(ids: Tensor, log_probs: Tensor, vocab_size: int) -> None:
    """Refuse columns that do not fit together, unknown tokens, and a token that is listed twice."""
    if ids.dim() != 2 or ids.shape != log_probs.shape or ids.shape[1] == 0:
        raise TutelageError(
            f"ids of shape {tuple(ids.shape)} and log-probabilities of shape {tuple(log_probs.shape)}",
            expected="both (N, k), with k at least 1",
            fix="give one log-probability for every kept token",
        )
    if len(ids) == 0:
        return
    if int(ids.max()) >= vocab_size:
        raise TutelageError(
            f"the kept token {int(ids.max())} is outside a vocabulary of {vocab_size}",
            expected=f"ids from 0 to {vocab_size - 1}, or -1 for an empty column",
            fix="pass the vocabulary size of the model that the rows come from",
        )
    ordered = ids.sort(-1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row = int(twice.any(-1).nonzero()[0])
        raise TutelageError(
            f"row {row} keeps a token twice",
            expected="each kept token once a row",
            fix="add up the probabilities of equal ids first",
        )
