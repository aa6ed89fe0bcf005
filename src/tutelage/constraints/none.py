"""No constraint: the weights go where the gradient takes them."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class NoConstraint:
    """The weights are free; projecting changes nothing."""

    def project(self, named_weights: Iterator[tuple[str, Tensor]]) -> None:
        """Leave every weight as it is."""
