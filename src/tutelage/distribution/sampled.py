"""A distribution known from tokens that were drawn from it: unbiased, whatever the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.distribution.base import (
    Chunk,
    Distribution,
    FullRows,
    PartialRows,
    Workspace,
    partial,
    says_something,
)
from tutelage.distribution.top_k import check_kept
from tutelage.errors import NotShared, OutOfRange

AT_A_TIME = 64
"""Positions whose rows are summed up in float64 at a time while tokens are drawn."""


@dataclass(frozen=True, eq=False, init=False)
class Sampled(Distribution):
    """Some tokens with importance weights; sums over them estimate sums over the vocabulary without bias.

    A sum ``sum_x f(x)`` over all tokens is estimated by ``sum_i weights_i f(x_i) / p(x_i)``, and the
    gradient likewise; the student's own row is complete. The estimate has a bounded variance only if
    ``f`` is no larger than the teacher's probability times something: the law
    ``bounded_by_teacher``, which forward KL keeps and reverse KL does not.

    Attributes:
        ids: drawn tokens ``[N, m]``, each once a row; -1 marks an empty column.
        log_probs_drawn: their natural log-probabilities under the teacher ``[N, m]``.
        weights: estimates of their probabilities ``[N, m]``: how often each was drawn, times its
            probability over that of its being drawn, over the number of draws.
        vocabulary: number of tokens, ``V``.
        never: ids ``[m]`` that are not tokens, or None.

    Source: Anshumann et al. 2025, Sparse Logit Sampling, arXiv:2503.16870.
    """

    ids: Tensor
    log_probs_drawn: Tensor
    weights: Tensor
    vocabulary: int
    never: Tensor | None = None
    needs = "bounded_by_teacher"

    def __init__(
        self, ids: Tensor, log_probs: Tensor, weights: Tensor, vocab_size: int, never: Tensor | None = None
    ) -> None:
        check_kept(ids, log_probs, vocab_size)
        check_kept(ids, weights, vocab_size)
        empty = ids < 0
        if bool(((log_probs > 1e-3) & ~empty).any()) or bool(((weights < 0) & ~empty).any()):
            raise OutOfRange(
                "a drawn token has a probability above 1 or a negative weight",
                expected="natural log-probabilities of the teacher, and weights from 0 up",
                fix="pass log-probabilities over the whole vocabulary, not logits",
            )
        for name, value in (
            ("ids", ids),
            ("log_probs_drawn", log_probs.masked_fill(empty, 0.0)),
            ("weights", weights.masked_fill(empty, 0.0)),
            ("vocabulary", vocab_size),
            ("never", never),
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
        """The log-probabilities."""
        return self.log_probs_drawn

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> PartialRows:
        """The drawn tokens; each weighs its importance weight over its probability."""
        logs = self.log_probs_drawn[chunk].detach().to(workspace.dtype).T
        weights = self.weights[chunk].detach().to(workspace.dtype).T
        return PartialRows(self.ids[chunk].T, logs, weights * torch.exp(-logs), self.vocab_size)

    def log_probs(self, rows: slice = slice(None), student: Tensor | None = None) -> Tensor:
        """Logs of the estimated probabilities ``[n, V]``: right on average, and no row need sum to one."""
        dense = self.weights.new_zeros(len(self.ids[rows]), self.vocab_size + 1)
        dense.scatter_(1, torch.where(self.ids < 0, self.vocab_size, self.ids)[rows], self.weights[rows])
        return dense[:, :-1].log()

    def restricted(self, width: int, never: Tensor | None) -> Sampled:
        """Told that only some tokens exist, all drawn ones among them.

        Raises:
            NotShared: a drawn token is not among them. Without it the estimate would be biased, since
                the mass that it stands for is not known exactly.
        """
        gone = self.ids >= width
        if never is not None:
            gone |= torch.isin(self.ids, never)
        if bool(gone.any()):
            raise NotShared(
                f"the drawn token {int(self.ids[gone][0])} is not shared with the student",
                expected="drawn tokens that the student has",
                fix="keep the kind `hidden` or `top_k`, which can be restricted without bias",
            )
        return Sampled(self.ids, self.log_probs_drawn, self.weights, width, never)


def drawn(
    distribution: Distribution,
    draws: int,
    generator: torch.Generator | None = None,
    rows: slice = slice(None),
    power: float = 1.0,
) -> Sampled:
    """``draws`` tokens a position, drawn with replacement from ``p^power``, normalised.

    A power below 1 draws rare tokens more often and gives them smaller weights. With 1 a token's weight is
    the share of the draws that fell on it.

    Args:
        distribution: any that has a probability for every token.
        draws: how many tokens, ``m``.
        generator: where chance comes from.
        rows: which positions.
        power: exponent of the distribution that is drawn from.

    Raises:
        OutOfRange: ``draws`` is below 1 or ``power`` outside (0, 1].

    Source: Anshumann et al. 2025, Sparse Logit Sampling, arXiv:2503.16870.
    """
    if draws < 1 or not 0 < power <= 1:
        raise OutOfRange(
            f"{draws} draws from p^{power}",
            expected="at least one draw and a power above 0, at most 1",
            fix="write `draws: 50` and `power: 1`",
        )
    workspace = Workspace(distribution.like)
    ids, logs, weights = [], [], []
    for chunk in torch.arange(distribution.positions)[rows].split(AT_A_TIME):
        workspace.reset()
        opened = distribution.open(chunk.to(distribution.like.device), workspace)
        if not isinstance(opened, FullRows):
            raise partial("drawn from")
        log_p = workspace.take(opened.vocab_size, opened.n)
        normaliser = says_something(opened.fill_all(log_p))
        for tokens in workspace.sizes.slices(opened.vocab_size):
            log_p[tokens] -= normaliser
        # In float64: summed up in float32, rare tokens far down the vocabulary would never be drawn.
        proposal = (log_p.T.double() * power).exp() if power != 1 else log_p.T.double().exp()
        ladder = proposal.cumsum(1)
        uniform = torch.rand(opened.n, draws, dtype=torch.float64, generator=generator).to(ladder.device)
        found = torch.searchsorted(ladder, uniform * ladder[:, -1:], right=True)
        # A uniform number that rounds up to the very end falls on the last token that can be drawn.
        last = opened.vocab_size - 1 - (proposal.flip(1) > 0).int().argmax(1)
        found, counts = _counted(torch.minimum(found, last[:, None]))
        log_drawn = log_p.T.gather(1, found.clamp(min=0))
        chance = proposal.gather(1, found.clamp(min=0)) / ladder[:, -1:]
        weight = counts * log_drawn.double().exp() / (chance * draws)
        ids.append(found)
        logs.append(log_drawn)
        weights.append(weight.to(log_drawn.dtype))
    return Sampled(
        torch.cat(ids), torch.cat(logs), torch.cat(weights), distribution.vocab_size, distribution.never
    )


def _counted(found: Tensor) -> tuple[Tensor, Tensor]:
    # Each token once a row, with how often it was found; -1 and 0 where it was found before.
    found = found.sort(1).values
    again = torch.zeros_like(found, dtype=torch.bool)
    again[:, 1:] = found[:, 1:] == found[:, :-1]
    counts = (found[:, :, None] == found[:, None, :]).sum(2)
    return found.masked_fill(again, -1), counts.masked_fill(again, 0)
