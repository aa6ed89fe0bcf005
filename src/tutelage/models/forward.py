"""One forward pass, gathered at the counted positions before the output layer: never B x L x V."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from tutelage.interfaces import Batch
from tutelage.models.heads import OutputLayer, last_hidden, output_layer
from tutelage.models.load import LanguageModel


def rows_of(model: LanguageModel | PreTrainedModel, batch: Batch) -> tuple[Tensor, OutputLayer]:
    """Hidden states ``[N, H]`` that predict the counted tokens of a batch, and the output layer for them.

    The batch has to be on the model's device. Gradients flow to both.
    """
    plain = model.model if isinstance(model, LanguageModel) else model
    return last_hidden(plain, batch)[batch.positions], output_layer(plain)


class HiddenAt(nn.Module):
    """`rows_of` as a module, for engines that must see the forward pass to follow gradients (DDP, FSDP).

    Called with a batch it gives the hidden states ``[N, H]``; the output layer is read from the model
    underneath. Wrap this, not the model, and save `model`.

    Args:
        model: a causal language model; its parameters become this module's.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states ``[N, H]`` at the counted positions."""
        return last_hidden(self.model, batch)[batch.positions]
