"""A distribution as named tensors and back: what a cache keeps and what a server sends.

Tensors whose first axis are positions can be cut and joined by row; what all positions have in common
(the output layer) is told once, in the `Frame`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.distribution import Dense, Distribution, Hidden, Sampled, TopK, drawn, kept
from tutelage.distribution.top_k import Tail
from tutelage.errors import TutelageError

Kind = Literal["hidden", "dense", "top_k", "sampled"]
Precision = Literal["bfloat16", "float16", "float32"]

ARRAYS: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden",),
    "dense": ("log_probs",),
    "top_k": ("ids", "log_probs", "log_tail"),
    "sampled": ("ids", "log_probs", "weights"),
}
"""Names of the tensors of each kind; the first axis of all of them are positions."""


@dataclass(frozen=True)
class Form:
    """How much of a distribution is kept.

    Attributes:
        kind: `hidden` (all of it, up to precision), `dense` (the same, written out), `top_k` or `sampled`.
        precision: of hidden states and log-probabilities; None is bfloat16 for `hidden`, float16 for
            `top_k` and `sampled`, float32 for `dense`.
        k: kept tokens a position, of `top_k`.
        draws: drawn tokens a position, of `sampled`.
        power: exponent of what is drawn from, of `sampled`.
    """

    kind: Kind = "hidden"
    precision: Precision | None = None
    k: int = 64
    draws: int = 50
    power: float = 1.0

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that `precision` says."""
        usual = {"hidden": "bfloat16", "dense": "float32"}.get(self.kind, "float16")
        return getattr(torch, self.precision or usual)


@dataclass(frozen=True, eq=False)
class Frame:
    """What all positions have in common.

    Attributes:
        kind: which tensors there are.
        vocab_size: number of tokens, ``V``.
        layer: of `hidden`: ``weight`` ``[V, H]`` and, where there is one, ``bias`` ``[V]``.
        scale: of `hidden`: factor on the logits.
        softcap: of `hidden`: bound on the logits, or None.
        never: ids ``[m]`` that are not tokens, or None.
    """

    kind: Kind
    vocab_size: int
    layer: Mapping[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0
    softcap: float | None = None
    never: Tensor | None = None

    def told(self) -> dict[str, Any]:
        """All but the output layer, as plain JSON values."""
        return {
            "kind": self.kind,
            "vocab_size": self.vocab_size,
            "scale": self.scale,
            "softcap": self.softcap,
            "never": None if self.never is None else self.never.tolist(),
        }

    @classmethod
    def read(cls, told: Mapping[str, Any], layer: Mapping[str, Tensor] | None = None) -> Frame:
        """The frame that `told` described, with its output layer."""
        never = None if told["never"] is None else torch.tensor(told["never"])
        return cls(told["kind"], int(told["vocab_size"]), layer or {}, told["scale"], told["softcap"], never)


def framed(distribution: Distribution, form: Form) -> Frame:
    """What all positions of ``distribution`` have in common once it is packed in this form.

    Raises:
        TutelageError: `hidden` was asked for and there are no hidden states.
    """
    if form.kind != "hidden":
        return Frame(form.kind, distribution.vocab_size, never=distribution.never)
    if not isinstance(distribution, Hidden):
        raise TutelageError(
            f"a {type(distribution).__name__.strip('_').lower()} distribution has no single output layer",
            expected="a teacher that is one model, for the kind `hidden`",
            fix="keep it as `top_k` or `sampled`, or keep each of its models on its own",
        )
    of = distribution
    layer = {"weight": of.weight} | ({} if of.bias is None else {"bias": of.bias})
    return Frame("hidden", of.vocab_size, layer, of.scale, of.softcap, of.never)


def packed(
    distribution: Distribution,
    form: Form,
    generator: torch.Generator | None = None,
    rows: slice = slice(None),
) -> dict[str, Tensor]:
    """The tensors of `ARRAYS`, on the CPU; first axes are positions.

    Args:
        distribution: any for `top_k`, `sampled` and `dense`; hidden states for `hidden`.
        form: how much of it is kept.
        generator: where the chance of `sampled` comes from.
        rows: which positions.

    Raises:
        TutelageError: the distribution cannot be kept in this form.
    """
    if form.kind == "hidden":
        framed(distribution, form)
        assert isinstance(distribution, Hidden)
        found = {"hidden": distribution.hidden[rows].to(form.dtype)}
    elif form.kind == "dense":
        found = {"log_probs": distribution.log_probs(rows).to(form.dtype)}
    elif form.kind == "top_k":
        best = kept(distribution, form.k, rows)
        assert best.log_tail is not None
        logs = best.log_probs_kept.to(form.dtype)
        found = {"ids": best.ids.int(), "log_probs": logs, "log_tail": best.log_tail.float()}
    else:
        tokens = drawn(distribution, form.draws, generator, rows, form.power)
        logs = tokens.log_probs_drawn.to(form.dtype)
        found = {"ids": tokens.ids.int(), "log_probs": logs, "weights": tokens.weights.float()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def unpacked(tensors: Mapping[str, Tensor], frame: Frame, tail: Tail = "bucket") -> Distribution:
    """The distribution that was packed; floating-point numbers are read as float32.

    Args:
        tensors: those of `ARRAYS` for the kind of ``frame``.
        frame: what they have in common.
        tail: what becomes of the tokens that were not kept, of `top_k`.

    Raises:
        TutelageError: tensors are missing or do not fit together.
    """
    missing = [name for name in ARRAYS[frame.kind] if name not in tensors]
    if missing:
        raise TutelageError(
            f"a packed {frame.kind} distribution has no tensor '{missing[0]}'",
            expected=", ".join(ARRAYS[frame.kind]),
            fix="build it again",
        )
    read = {name: t.float() if t.is_floating_point() else t.long() for name, t in tensors.items()}
    if frame.kind == "hidden":
        layer = frame.layer
        return Hidden(
            read["hidden"], layer["weight"], layer.get("bias"), frame.scale, frame.softcap, frame.never
        )
    if frame.kind == "dense":
        return Dense(read["log_probs"])
    if frame.kind == "top_k":
        return TopK(read["ids"], read["log_probs"], frame.vocab_size, read["log_tail"], frame.never, tail)
    return Sampled(read["ids"], read["log_probs"], read["weights"], frame.vocab_size, frame.never)
