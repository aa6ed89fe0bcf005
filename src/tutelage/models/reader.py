"""A model that reads rows on, token by token, with what it has read in a key-value cache."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tutelage.models.heads import known_head, output_layer
from tutelage.models.load import LanguageModel
from tutelage.models.shared import Shared


class Reader:
    """Rows of tokens being read by a model.

    Args:
        model: on the device where it is; whoever reads decides about its mode and about gradients.
        rows: at least one token each; they are padded on the left.
        shared: ids that may be said; None allows every token of the model's vocabulary.

    Attributes:
        logits: what the model says after each row, ``[B, V]`` in float32; ``-inf`` at other ids.
    """

    def __init__(self, model: LanguageModel, rows: Sequence[Sequence[int]], shared: Shared | None) -> None:
        network: Any = model.model
        known_head(network.config.model_type)
        self._body, self._layer = network.base_model, output_layer(network)
        self._cache = DynamicCache(config=network.config)
        # transformers 5.24 renames the argument.
        new = "cache" in inspect.signature(self._body.forward).parameters
        self._kept = {"cache" if new else "past_key_values": self._cache}
        width = model.vocabulary.width if shared is None else shared.width
        never = torch.arange(width, len(self._layer.weight), device=network.device)
        left_out = None if shared is None else shared.never_on(network.device)
        self._never = never if left_out is None else torch.cat([never, left_out])
        longest = max(map(len, rows))
        tokens = torch.full((len(rows), longest), model.pad_id)
        self._attention = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            tokens[i, longest - len(row) :] = torch.tensor(row)
            self._attention[i, longest - len(row) :] = 1
        self._attention = self._attention.to(network.device)
        positions = (self._attention.cumsum(1) - 1).clamp(min=0)
        self._next = positions[:, -1:] + 1
        self.logits = self._read(tokens.to(network.device), positions)

    def step(self, said: Tensor, on: Tensor) -> None:
        """Read one token more in the rows that go on (true in ``on``); the others are forgotten."""
        if not bool(on.all()):
            self._cache.batch_select_indices(on.nonzero()[:, 0])
            self._attention, self._next = self._attention[on], self._next[on]
        one = torch.ones_like(self._next)
        self._attention = torch.cat([self._attention, one], 1)
        self.logits = self._read(said[on][:, None], self._next)
        self._next = self._next + 1

    def _read(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits ``[B, V]`` after the last token, in float32; ids that are never said have none."""
        outputs = self._body(
            input_ids=tokens,
            attention_mask=self._attention,
            position_ids=positions,
            use_cache=True,
            **self._kept,
        )
        logits = self._layer.logits(outputs.last_hidden_state[:, -1]).float()
        return logits.index_fill(1, self._never, -torch.inf)
