"""How far an answer can be trusted: the same question twice, and the same question to a copy at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution import Distribution
from tutelage.distribution.base import BucketRows, PartialRows, Workspace, coarse, partial
from tutelage.divergences import forward_kl
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch
from tutelage.models import Vocabulary
from tutelage.seeds import stream
from tutelage.text import Example, collate

LENGTHS = (24, 9, 16)
"""Tokens of the rows that are asked about; of different lengths, so that padding is seen."""

Ask = Callable[[Batch], Distribution]


@dataclass(frozen=True)
class Handshake:
    """What was measured before a served teacher is believed: KL in nats, the largest over the tokens asked.

    Attributes:
        repeats_nats: between two answers to one question; None where nothing could be asked.
        probe_nats: between its answer and the local copy's; None without one.
        positions: counted tokens that were asked about.
        batch, answer: the question, and the first answer to it.
    """

    repeats_nats: float | None = None
    probe_nats: float | None = None
    positions: int = 0
    batch: Batch | None = field(default=None, repr=False)
    answer: Distribution | None = field(default=None, repr=False)

    @property
    def said(self) -> str:
        """One line for people."""
        if self.repeats_nats is None:
            return "not asked twice: it answers for stored rows only"
        probe = "" if self.probe_nats is None else f", agrees with the local copy to {self.probe_nats:.1e}"
        return f"repeats itself to {self.repeats_nats:.1e} nats{probe} ({self.positions} tokens asked)"


def shake_hands(ask: Ask, batch: Batch, within: float, where: str) -> Handshake:
    """Ask one question twice.

    Args:
        ask: the served teacher.
        batch: the question.
        within: nats per token by which the answers may differ.
        where: the server, for errors.

    Raises:
        TutelageError: they differ by more.
    """
    first = ask(batch)
    repeats = agreed(first, ask(batch), within, where, "answers to the same question asked twice")
    return Handshake(repeats, None, batch.counted, batch, first)


def agreed(one: Distribution, other: Distribution, within: float, where: str, which: str) -> float:
    """By how many nats per token two answers differ at most.

    Raises:
        TutelageError: by more than ``within``.
    """
    nats = float(apart_nats(one, other).max())
    if not nats <= within:
        raise TutelageError(
            f"{where}: {which} differ by {nats:.2g} nats per token",
            expected=f"at most {within:g} (`agree_within`)",
            fix="serve the weights that you mean, in float32; raise `agree_within:` if so much noise is fine",
        )
    return nats


def apart_nats(one: Distribution, other: Distribution) -> Tensor:
    """Forward KL ``[N]`` from ``one`` to ``other``, over the same tokens; of what is not known, the least.

    Where only one of them is cut to k tokens, the other is brought onto its columns. Where both are, a token
    that only one of them kept is taken to be, in the other, as likely as it can be there: no more likely
    than the least that was kept.
    """
    workspace = Workspace(one.like)
    opened = [distribution.open(slice(None), workspace) for distribution in (one, other)]
    full = [rows for rows in opened if not isinstance(rows, PartialRows)]
    if len(full) < len(opened):
        raise partial("compared with another answer")
    cut = [rows for rows in full if isinstance(rows, BucketRows)]
    if not cut:
        return forward_kl(other.log_probs(), one.log_probs())
    if len(cut) == 1:
        logs = [coarse(rows, cut[0].ids, workspace) for rows in full]
        p, q = (columns - columns.logsumexp(0) for columns in logs)
        return forward_kl(q.T, p.T)
    return _apart_cut(*((rows.ids.T, rows.columns().T.double().softmax(1)) for rows in cut))


def _apart_cut(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """The same for kept ids ``[N, k]`` with the probabilities ``[N, k + 1]`` of these and of the rest."""
    same = (one[0][:, :, None] == other[0][:, None, :]) & (one[0][:, :, None] >= 0)
    p, q_there = _with_the_others(one, other, same)
    q, p_there = _with_the_others(other, one, same.transpose(1, 2))
    # Columns: what `one` kept, what only `other` kept, and the rest of both.
    alone = (~same.any(1)).double()
    rest = [1 - p.sum(1) - (p_there * alone).sum(1), 1 - q_there.sum(1) - (q * alone).sum(1)]
    rest_p, rest_q = (mass.clamp(min=1e-12)[:, None] for mass in rest)
    columns = torch.cat([p, p_there * alone, rest_p], 1), torch.cat([q_there, q * alone, rest_q], 1)
    log_p, log_q = (column.log() for column in columns)
    return torch.where(columns[0] > 0, columns[0] * (log_p - log_q), 0.0).sum(1)


def _with_the_others(
    mine: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], same: Tensor
) -> tuple[Tensor, Tensor]:
    """The probabilities ``[N, k]`` of my kept tokens, and how likely the other may hold them to be."""
    own = mine[1][:, :-1].masked_fill(mine[0] < 0, 0.0)
    kept = theirs[1][:, :-1].masked_fill(theirs[0] < 0, 1.0)
    most = torch.minimum(kept.amin(1, keepdim=True), theirs[1][:, -1:])
    there = (same.double() * theirs[1][:, None, :-1]).sum(2)
    return own, torch.where(same.any(2), there, torch.minimum(own, most))


def question(vocabulary: Vocabulary, longest: int | None, columns: Mapping[str, Any], device: str) -> Batch:
    """A few rows of tokens drawn from a vocabulary, the same for every client."""
    known = [i for i, token in enumerate(vocabulary.tokens) if token is not None]
    order = torch.randperm(len(known), generator=stream(0, "handshake")).tolist()
    rows, start = [], 0
    for length in LENGTHS:
        length = min(length, longest or length)
        tokens = [known[order[(start + i) % len(order)]] for i in range(length)]
        rows.append(Example(tokens, [i > 0 for i in range(length)], columns))
        start += length
    return collate(rows, known[0]).to(device)
