"""One forward pass, gathered at the counted positions before the output layer: never B x L x V."""

from __future__ import annotations

from torch import Tensor
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
