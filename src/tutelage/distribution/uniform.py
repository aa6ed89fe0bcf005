"""All tokens alike: what stands for a member that an operation does without."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.distribution.base import Chunk, Distribution, FullRows, Workspace
from tutelage.distribution.hidden import forbid
from tutelage.errors import OutOfRange


@dataclass(frozen=True, eq=False)
class Uniform(Distribution):
    """The same probability for every token at every position; nothing is stored.

    Attributes:
        n: number of positions, ``N``.
        tokens: size of the vocabulary, ``V``.
        never: ids ``[m]`` that are not tokens, or None; the others share what there is.
        example: a tensor that gives device and floating-point type; None is a float32 on the CPU.
    """

    n: int
    tokens: int
    never: Tensor | None = None
    example: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise OutOfRange(
                f"a uniform distribution over {self.tokens} tokens",
                expected="a vocabulary of at least one token",
                fix="pass the size of the vocabulary of the others",
            )

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
        return torch.empty(0) if self.example is None else self.example

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> UniformRows:
        """As many positions as the chunk has."""
        opened = range(self.n)[chunk] if isinstance(chunk, slice) else chunk
        return UniformRows(len(opened), self)


class UniformRows(FullRows):
    """A chunk of positions at which all tokens are alike."""

    def __init__(self, n: int, of: Uniform) -> None:
        super().__init__(n, of.vocab_size)
        self._never = of.never

    def fill(self, tokens: slice, out: Tensor) -> None:
        """Zeros: the logs are not normalised."""
        out.zero_()
        forbid(self._never, tokens, out)
