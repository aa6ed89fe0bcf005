"""The student's own rows, detached: what a teacher that moves with the student is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tutelage.distribution.base import Chunk, Distribution, FilledRows, Workspace
from tutelage.errors import TutelageError


@dataclass(frozen=True, eq=False)
class OfStudent(Distribution):
    """What the student says itself at this very step, as a constant.

    The evaluation hands over the student's own tile, so nothing is computed twice.

    Attributes:
        n: number of positions, ``N``.
        tokens: size of the student's (shared) vocabulary, ``V``.
        example: a tensor that gives device and floating-point type.
    """

    n: int
    tokens: int
    example: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def positions(self) -> int:
        """Number of positions, ``N``."""
        return self.n

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return self.tokens

    @property
    def like(self) -> Tensor:
        """The example that was given."""
        return self.example

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> FilledRows:
        """The tile that was handed over."""
        if student is None:
            raise TutelageError(
                "a distribution that moves with the student was read without one",
                expected="the student's rows at the same positions",
                fix="read it through `tutelage.loss`, or pass `student=` to `log_probs`",
            )
        return FilledRows(student)
