"""Whole rows as a statistic sees them: sums over the columns, slice by slice (`interfaces.WholeRows`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import TutelageError
from tutelage.interfaces import AfterStatistics
from tutelage.numerics import largest, log_sum_exp

FIRST, MORE = 64, 8
"""Tokens of a row that are sorted out first to find a head, and how many times as many next."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Student and teacher at some positions, unnormalised, with their normalisers.

    Attributes:
        logits: the student's tile ``[V, n]``.
        told: the teacher's.
        log_q_norm: normaliser of the scaled ``logits``, ``[n]``; None where they are log-probabilities.
        log_p_norm: normaliser of ``told``; None likewise.
        scale: one over the temperature.
        target: the column of the token that is asked about, ``[n]``.
        rest: whether the last column is all tokens that have none of their own.
        tokens: columns that are looked at together; None takes all.
    """

    logits: Tensor
    told: Tensor
    log_q_norm: Tensor | None = None
    log_p_norm: Tensor | None = None
    scale: float = 1.0
    target: Tensor | None = None
    rest: bool = False
    tokens: int | None = None

    def pair(self, columns: slice) -> tuple[Tensor, Tensor]:
        """Log-probabilities of student and teacher, computed as the elementwise pass does it."""
        log_q = self.logits[columns] if self.scale == 1 else self.logits[columns] * self.scale
        log_q = log_q if self.log_q_norm is None else log_q - self.log_q_norm
        return log_q, _less(self.told[columns], self.log_p_norm)

    def aim(self, columns: slice) -> Tensor:
        """True where the target stands, ``[v, n]``."""
        assert self.target is not None
        return torch.arange(columns.start, columns.stop, device=self.told.device)[:, None] == self.target

    def sums(self, part: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """See `WholeRows.sums`."""
        last = len(self.told) - 1 if self.rest else -1
        found = []
        for columns in self.slices:
            numbers = torch.arange(columns.start, columns.stop, device=self.told.device)[:, None]
            found.append([of.sum(0) for of in part(*self.pair(columns), numbers != last)])
        return tuple(torch.stack(of).sum(0) for of in zip(*found, strict=True))

    def others(self) -> tuple[Tensor, Tensor]:
        """See `WholeRows.others`; summed up without the target, because 1 - q would cancel near 1."""
        found = []
        for columns in self.slices:
            there = self.aim(columns)
            found.append([log_sum_exp(logs.masked_fill(there, -torch.inf)) for logs in self.pair(columns)])
        of_student, of_teacher = (log_sum_exp(torch.stack(of)) for of in zip(*found, strict=True))
        return of_student, of_teacher

    def highest(self) -> Tensor:
        """See `WholeRows.highest`; where no token has a column of its own it is the rest."""
        top = self._tokens.amax(0)
        if self.rest:
            top = torch.where(top == -torch.inf, self.told[-1], top)
        return _less(top, self.log_p_norm)

    def cutoff(self, mass: float) -> Tensor:
        """See `WholeRows.cutoff`; ``-inf`` where not all tokens that have a column hold so much.

        A few of the largest are sorted out; many only where a row is so flat that these do not suffice.
        """
        told = self._tokens
        enough = mass * (1 - 16 * torch.finfo(told.dtype).eps)  # what rounding alone keeps from it is reached
        v, n = told.shape
        found = told.new_full((n,), -torch.inf)
        left, k = torch.arange(n, device=told.device), min(FIRST, v)
        together = n
        while len(left):
            flat = []
            for at in left.split(max(1, together)):
                logs, _ = largest(told if len(at) == n else told[:, at], k)
                logs = _less(logs, None if self.log_p_norm is None else self.log_p_norm[at])
                before = (logs.exp().cumsum(0, dtype=torch.float64) < enough).sum(0)
                held = before < k
                found[at[held]] = logs.gather(0, before.clamp(max=k - 1)[None])[0][held]
                flat.append(at[~held])
            if k == v:
                break
            # A few positions at a time, so that what is sorted out stays smaller than the tile.
            left, k, together = torch.cat(flat), min(MORE * k, v), n // MORE
        return found

    @property
    def slices(self) -> list[slice]:
        """The columns, cut."""
        step = self.tokens or len(self.told)
        return [slice(start, min(start + step, len(self.told))) for start in range(0, len(self.told), step)]

    @property
    def _tokens(self) -> Tensor:
        return (self.told[:-1] if self.rest else self.told).detach()


def _less(logs: Tensor, normaliser: Tensor | None) -> Tensor:
    return logs if normaliser is None else logs - normaliser


def column_of(target: Tensor, ids: Tensor) -> Tensor:
    """Where tokens ``[n]`` stand among kept ids ``[k, n]``; ``k``, the rest, where they were not kept."""
    found = ids == target
    return torch.where(found.any(0), found.int().argmax(0), len(ids))


def known_of(divergence: AfterStatistics, rows: Rows, **options: Any) -> dict[str, Tensor]:
    """What a density is told of whole rows beside its options, where it sees all columns at once."""
    found = divergence.statistics(rows, **options)
    return {**found, "target": rows.aim(slice(0, len(rows.told)))} if divergence.asks_target else found


def value_of(divergence: AfterStatistics, rows: Rows, **options: Any) -> Tensor:
    """The divergence of rows in nats ``[n]``, by its definition."""
    log_q, log_p = rows.pair(slice(0, len(rows.told)))
    f, _ = divergence.density(log_q, log_p, **options, **known_of(divergence, rows, **options))
    return f.sum(0)


def not_known(name: str) -> TutelageError:
    """The error for a statistic of rows of which only some tokens are known."""
    return TutelageError(
        f"{name} needs something of the whole row, and only some tokens of the teacher's are known",
        expected="a teacher that knows every token, or k tokens and the mass of the rest",
        fix="keep it as `hidden`, or as `top_k` with `tail: bucket`; or choose forward_kl",
    )
