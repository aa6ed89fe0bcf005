"""What distributions that change one other distribution have in common."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tutelage.distribution.base import Distribution


@dataclass(frozen=True, eq=False)
class Wrapped(Distribution):
    """Another distribution, changed; positions, tokens and type are its own.

    Attributes:
        of: what is changed.
    """

    of: Distribution

    @property
    def positions(self) -> int:
        """Number of positions, ``N``."""
        return self.of.positions

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return self.of.vocab_size

    @property
    def like(self) -> Tensor:
        """A tensor of the other's type."""
        return self.of.like
