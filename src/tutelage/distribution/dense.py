"""A distribution written out in full, for small vocabularies, tests and what others computed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

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
        """A view of the stored rows."""
        return DenseRows(self.logs[chunk].detach())


class DenseRows(FullRows):
    """Stored rows ``[n, V]`` that fill tiles by transposing slices."""

    def __init__(self, logs: Tensor) -> None:
        super().__init__(logs.shape[0], logs.shape[1])
        self._logs = logs

    def fill(self, tokens: slice, out: Tensor) -> None:
        """Copy the slice, vocabulary first."""
        out.copy_(self._logs[:, tokens].T)
