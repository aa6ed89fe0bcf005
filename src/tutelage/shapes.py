"""Names for the few shapes that flow through tutelage; the tests check them at run time.

``N`` counted positions, ``V`` tokens of the vocabulary, ``H`` width of a hidden state, ``B`` rows of
text of ``L`` tokens, ``k`` kept tokens, ``v`` tokens and ``n`` positions of one tile.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

LogProbs = Float[Tensor, "*rows V"]
"""Natural logs that sum to one in probability over the last axis."""

PerRow = Float[Tensor, "*rows"]
"""One number a row, usually nats."""

Tile = Float[Tensor, "v n"]
"""Natural logs of ``v`` tokens at ``n`` positions, vocabulary first: the layout of all inner loops."""

Hiddens = Float[Tensor, "N H"]
"""Last hidden states at counted positions."""

OutputWeight = Float[Tensor, "V H"]
"""Weight of an output layer: one row a token."""

TokenIds = Int[Tensor, "*rows"]
"""Token ids."""

Tokens = Int[Tensor, "B L"]
"""A padded batch of token ids."""

TokenMask = Bool[Tensor, "B L"]
"""True where a token of the batch counts."""

Logs = Float[Tensor, "..."]
"""Natural logs of probabilities, in whatever shape: what the elementwise part of a divergence sees."""

Probs = Float[Tensor, "..."]
"""Their exponentials."""

Where = Bool[Tensor, "..."]
"""True at some of them."""
