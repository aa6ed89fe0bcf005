"""What a token costs: parameters and forward FLOPs of a transformer, embedding and attention included.

``2 N`` is not enough: parameters without embeddings hide the output layer, and attention over the context
counts in small models (``2 N`` is 39 % too low at 103 million parameters, 7 % at 12.6 billion).

Source: Busbridge et al. 2025, arXiv:2502.08606, appendix H, equations 59 and 66 to 69, tables 11 and 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import OutOfRange

Size = TypeVar("Size", float, NDArray[np.float64])
"""One number, or an array of them."""


@runtime_checkable
class Cost(Protocol):
    """Forward FLOPs per token of a model of some size."""

    def flops(self, parameters: Size) -> Size:
        """FLOP per token of models with that many parameters, embeddings not counted; elementwise."""
        ...


@dataclass(frozen=True)
class Family:
    """Models of one aspect ratio that differ in size alone, such as the paper's.

        F(N) = 2 N (1 + sigma1 n_ctx N^(-1/3) + sigma2 n_vocab N^(-2/3))

    Attributes:
        context: tokens of a sequence.
        vocabulary: tokens of the tokenizer.
        aspect: width of the model over its layers.
        omega: parameters of a layer over the square of its width.
    """

    context: int = 4096
    vocabulary: int = 32768
    aspect: float = 128.0
    omega: float = 12.0

    def flops(self, parameters: Size) -> Size:
        """Forward FLOP per token; arrays go through elementwise."""
        attention = (self.aspect * self.omega**2) ** (-1 / 3) * self.context
        output = (self.aspect / self.omega) ** (1 / 3) * self.vocabulary
        return 2 * parameters * (1 + attention * parameters ** (-1 / 3) + output * parameters ** (-2 / 3))


@dataclass(frozen=True)
class Shape:
    """A decoder as its configuration describes it.

    Attributes:
        layers, width: how many blocks, of which width.
        heads, key_heads, head_size: of attention; fewer key heads than heads is grouped-query attention.
        hidden: width inside the feed-forward part, of one expert where there are several.
        matrices: of the feed-forward part: 2, or 3 where it is gated.
        context: tokens of a sequence, for the cost of attention.
        vocabulary: rows of the embedding.
        tied: whether the output layer is the embedding.
        biases: parameters of biases and norm gains in all layers together.
        positions: learnt position embeddings, in rows.
        experts, active: experts in all and per token; 1 and 1 for a dense model.
    """

    layers: int
    width: int
    heads: int
    key_heads: int
    head_size: int
    hidden: int
    matrices: int
    context: int
    vocabulary: int
    tied: bool = True
    biases: int = 0
    positions: int = 0
    experts: int = 1
    active: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in ("biases", "positions", "tied") else 1
            if value < least:
                raise OutOfRange(
                    f"{name} of the shape is {value}",
                    expected=f"a whole number of at least {least}",
                    fix="look at the model's config.json",
                )

    @property
    def parameters(self) -> int:
        """Without embeddings, those of one token's active experts: the N of the laws."""
        return self._with(self.active)

    @property
    def total_parameters(self) -> int:
        """Everything that is stored."""
        embeddings = self.vocabulary * self.width * (1 if self.tied else 2) + self.positions * self.width
        return self._with(self.experts) + embeddings

    def _with(self, experts: int) -> int:
        attention = self.width * self.head_size * (2 * self.heads + 2 * self.key_heads)
        router = self.width * self.experts if self.experts > 1 else 0
        feed_forward = experts * self.matrices * self.width * self.hidden + router
        return self.layers * (attention + feed_forward) + self.biases

    @property
    def forward_flops(self) -> float:
        """FLOP per token: ``2 N``, causal attention as half a square, and the output layer."""
        attention = 2 * self.layers * self.context * self.heads * self.head_size
        return 2.0 * self.parameters + attention + 2 * self.vocabulary * self.width

    @property
    def forward_flops_with_softmax(self) -> float:
        """The full count of table 11: attention's softmax and the look-up of the embedding as well."""
        softmax = 2.5 * self.layers * self.heads * self.context
        matrices = 2.0 * (self.parameters - self.biases)
        attention = 2 * self.layers * self.context * self.heads * self.head_size
        return matrices + attention + softmax + 2 * self.width + 2 * self.vocabulary * self.width


def published_shape(layers: int, context: int = 4096, vocabulary: int = 32768) -> Shape:
    """The paper's model of a number of layers (table 13): width 128 a layer, gated, untied, QK-norm."""
    width = 128 * layers
    return Shape(
        layers=layers,
        width=width,
        heads=16,
        key_heads=16,
        head_size=width // 16,
        hidden=int(np.ceil(8 / 3 * width / 128)) * 128,
        matrices=3,
        context=context,
        vocabulary=vocabulary,
        # Table 13's totals count one embedding matrix.
        tied=True,
        biases=layers * (2 * width + 256) + width,
    )
