"""A distribution given by last hidden states and an output layer: the full vocabulary, never stored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.distribution.base import Chunk, Distribution, FullRows, Workspace
from tutelage.distribution.device import add_product
from tutelage.errors import TutelageError


@dataclass(frozen=True, eq=False)
class Hidden(Distribution):
    """What an output layer says about hidden states.

        logits = softcap * tanh((hidden @ weight.T + bias) * scale / softcap)

    Attributes:
        hidden: last hidden states ``[N, H]``.
        weight: of the output layer, ``[V, H]``.
        bias: ``[V]``, or None.
        scale: factor on the logits (one over Granite's ``logits_scaling``; Cohere's ``logit_scale``).
        softcap: Gemma's bound on the logits, or None.
        never: ids ``[m]`` that are not tokens, or None; they get no probability and no gradient.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    never: Tensor | None = None

    def __post_init__(self) -> None:
        shapes = (tuple(self.hidden.shape), tuple(self.weight.shape))
        if self.hidden.dim() != 2 or self.weight.dim() != 2 or shapes[0][1] != shapes[1][1]:
            raise TutelageError(
                f"hidden states of shape {shapes[0]} do not fit an output layer of shape {shapes[1]}",
                expected="hidden states (N, H) and a weight (V, H) with the same H",
                fix="flatten batch and length to N counted positions; pass the weight of the output layer",
            )
        if self.bias is not None and tuple(self.bias.shape) != (shapes[1][0],):
            raise TutelageError(
                f"a bias of shape {tuple(self.bias.shape)} beside {shapes[1][0]} tokens",
                expected=f"a bias ({shapes[1][0]},), one number a token",
                fix="pass the bias of the output layer, or None",
            )

    @property
    def positions(self) -> int:
        """Number of positions, ``N``."""
        return self.hidden.shape[0]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return self.weight.shape[0]

    @property
    def like(self) -> Tensor:
        """The hidden states."""
        return self.hidden

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> HiddenRows:
        """The hidden states of a chunk, ready to be multiplied with slices of the output layer."""
        return HiddenRows(self, *workspace.factors(self.hidden[chunk], self.weight))

    def restricted(self, width: int, never: Tensor | None) -> Hidden:
        """Only the first ``width`` tokens, without those in ``never``: views, nothing is copied."""
        bias = None if self.bias is None else self.bias[:width]
        if self.never is not None:
            never = self.never if never is None else torch.cat([self.never, never])
            never = never[never < width].unique()
        return dataclasses.replace(self, weight=self.weight[:width], bias=bias, never=never)


class HiddenRows(FullRows):
    """A chunk of hidden states in front of its output layer.

    Attributes:
        states: ``[n, H]``, in the type in which they are multiplied.
        weight: ``[V, H]``; slices of it are brought to that type.
    """

    def __init__(self, of: Hidden, states: Tensor, weight: Tensor) -> None:
        super().__init__(states.shape[0], of.vocab_size)
        self._of = of
        self.states = states
        self.weight = weight

    def fill(self, tokens: slice, out: Tensor) -> None:
        """One matrix product, then what the architecture does to its logits."""
        of = self._of
        # Added up in the tile's type: a bf16 product would round the logits to three digits.
        add_product(out, self.weight[tokens].to(self.states.dtype), self.states.T, keep=False)
        if of.bias is not None:
            out += of.bias[tokens].detach().to(out.dtype)[:, None]
        if of.scale != 1:
            out *= of.scale
        if of.softcap is not None:
            out.div_(of.softcap).tanh_().mul_(of.softcap)
        forbid(of.never, tokens, out)


def forbid(never: Tensor | None, tokens: slice, tile: Tensor) -> None:
    """Give no probability to ids that are not tokens."""
    if never is not None:
        inside = never[(never >= tokens.start) & (never < tokens.stop)]
        tile[inside - tokens.start] = -torch.inf
