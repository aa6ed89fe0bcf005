"""A distribution written out in full, for small vocabularies, tests and what others computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.compiled import kernel
from tutelage.distribution.base import Chunk, Distribution, FullRows, Workspace
from tutelage.errors import TutelageError


@dataclass(frozen=True, eq=False)
class Dense(Distribution):
    """Log-probabilities (or unnormalised logits) of every token at every position.

    Attributes:
        logs: natural logs ``[N, V]``; rows need not be normalised.
    """

    logs: Tensor

    def __post_init__(self) -> None:
        if self.logs.dim() != 2:
            raise TutelageError(
                f"log-probabilities of shape {tuple(self.logs.shape)}",
                expected="two axes (N, V)",
                fix="flatten batch and length to N counted positions",
            )

    @property
    def positions(self) -> int:
        """Number of positions, ``N``."""
        return self.logs.shape[0]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return self.logs.shape[1]

    @property
    def like(self) -> Tensor:
        """The stored logs."""
        return self.logs

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> DenseRows:
        """A view of the stored rows, or their places where they do not follow one another."""
        logs = self.logs.detach()
        if isinstance(chunk, slice):
            return DenseRows(logs[chunk])
        first, count = int(chunk[0]) if len(chunk) else 0, len(chunk)
        if torch.equal(chunk, torch.arange(first, first + count, device=chunk.device)):
            return DenseRows(logs[first : first + count])
        return DenseRows(logs, chunk)


class DenseRows(FullRows):
    """Stored rows ``[n, V]``, or some of them, that fill tiles by transposing slices."""

    def __init__(self, logs: Tensor, places: Tensor | None = None) -> None:
        super().__init__(logs.shape[0] if places is None else len(places), logs.shape[1])
        self._logs = logs
        self._places = places

    def fill(self, tokens: slice, out: Tensor) -> None:
        """Copy the slice, vocabulary first."""
        logs = self._logs[:, tokens]
        # A slice at a time: rows picked out as a whole would be a second copy of all that they say.
        kernel(_across)(out, logs if self._places is None else logs[self._places])


def _across(out: Tensor, rows: Tensor) -> None:
    """Write rows as columns; torch's own copy to another type reaches a quarter of a GPU's bandwidth."""
    out.copy_(rows.T)
