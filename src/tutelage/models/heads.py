"""A language model taken apart: its last hidden states, and the output layer that makes logits of them.

    logits = softcap * tanh((hidden @ weight.T + bias) * scale / softcap)

Which of these an architecture uses stands in `HEADS`, keyed by the `model_type` of its config. What
is not in the table is refused: a forgotten soft-cap would be a wrong loss that nobody sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tutelage.errors import TutelageError, listed
from tutelage.interfaces import Batch
from tutelage.shapes import TokenMask, Tokens


@dataclass(frozen=True)
class OutputLayer:
    """What makes logits of hidden states.

    Attributes:
        weight: ``[V, H]``, the parameter itself (tied embeddings included), so gradients reach it.
        bias: ``[V]``, or None.
        scale: factor on the logits.
        softcap: bound on the logits, or None.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits ``(..., V)`` of hidden states ``(..., H)``: for tests and proofs, not for training."""
        raw = torch.nn.functional.linear(hidden, self.weight, self.bias) * self.scale
        return raw if self.softcap is None else torch.tanh(raw / self.softcap) * self.softcap


@dataclass(frozen=True)
class Head:
    """How an architecture makes logits, read from its config."""

    scale: Callable[[Any], float] = lambda config: 1.0
    softcap: Callable[[Any], float | None] = lambda config: None


def _gemma_softcap(config: Any) -> float | None:
    return config.final_logit_softcapping


PLAIN = Head()
HEADS = {
    "gpt2": PLAIN,
    "llama": PLAIN,
    "mistral": PLAIN,
    "qwen2": PLAIN,
    "qwen3": PLAIN,
    "gemma2": Head(softcap=_gemma_softcap),
    "gemma3_text": Head(softcap=_gemma_softcap),
    "gpt_neox": PLAIN,
    "opt": PLAIN,  # its hidden states have already been through `project_out`
    "phi": PLAIN,  # with a bias, which is read from the layer
    "granite": Head(scale=lambda config: 1 / config.logits_scaling),
    "cohere": Head(scale=lambda config: config.logit_scale),
}


def known_head(model_type: str) -> Head:
    """The line of the table for an architecture.

    Raises:
        TutelageError: there is none.
    """
    if model_type not in HEADS:
        hint = "gemma3_text" if model_type.startswith("gemma3") else None
        raise TutelageError(
            f"the architecture '{model_type}' is not known",
            expected=listed(HEADS),
            fix="load only its text part, saved as `gemma3_text`"
            if hint
            else "use a model of a known architecture, or add a line to `HEADS` in tutelage/models/heads.py",
        )
    return HEADS[model_type]


def output_layer(model: PreTrainedModel) -> OutputLayer:
    """The output layer of a model, by reference.

    Raises:
        TutelageError: the architecture is not in the table.
    """
    config: Any = model.config
    head = known_head(config.model_type)
    layer: Any = model.get_output_embeddings()
    return OutputLayer(layer.weight, layer.bias, head.scale(config), head.softcap(config))


def last_hidden(model: PreTrainedModel, batch: Batch) -> Tensor:
    """What the output layer is applied to, at all positions of a batch, ``[B, L, H]``."""
    return hidden_states(model, batch.tokens, batch.attention)


def hidden_states(model: PreTrainedModel, tokens: Tokens, attention: TokenMask) -> Tensor:
    """Last hidden states ``[B, L, H]`` of tokens ``[B, L]``, padded on either side.

    Positions are counted from a row's first real token, so padding on the left changes nothing either.
    """
    known_head(model.config.model_type)
    positions = (attention.long().cumsum(1) - 1).clamp(min=0)
    body: Any = model.base_model
    outputs = body(input_ids=tokens, attention_mask=attention.long(), position_ids=positions, use_cache=False)
    return outputs.last_hidden_state


def prove_head(model: PreTrainedModel, tokens: Tensor, tolerance: float = 1e-3) -> None:
    """Compare the logits made here with the model's own, on a few tokens.

    Args:
        model: in any mode; it is put into evaluation mode for the comparison and back.
        tokens: ids ``[B, L]`` or ``[L]``; a handful is enough.
        tolerance: largest difference allowed, as a share of the largest logit (at least of 1). Weights
            in bfloat16 round to 1 part in 100 and get 16 times as much.

    Raises:
        TutelageError: the architecture is unknown, the logits differ, or they are not numbers.
    """
    tokens = torch.atleast_2d(tokens).to(model.device)
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ours = output_layer(model).logits(hidden_states(model, tokens, everywhere)).float()
            call: Any = model
            theirs = call(input_ids=tokens, attention_mask=everywhere.long(), use_cache=False).logits.float()
    finally:
        model.train(training)
    if not bool(theirs.isfinite().all()):
        raise TutelageError(
            f"the model '{model.config.name_or_path}' gives logits that are not numbers",
            expected="finite logits",
            fix="load it in float32, or take a checkpoint that is not damaged",
        )
    if model.dtype != torch.float32:
        tolerance *= 16
    apart = float((ours - theirs).abs().max()) / max(1.0, float(theirs.abs().max()))
    if ours.shape != theirs.shape or apart > tolerance:
        raise TutelageError(
            f"the logits of '{model.config.model_type}' are not what its table line says ({apart:.2g} apart)",
            expected="hidden states and output layer that give the model's own logits",
            fix="report this with the config.json: the architecture's head needs a line of its own",
        )
