"""What `fused.py` lets run against each other: matrix products alone, ours, and the dense way."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution import Dense, Distribution, Hidden, gold, kept
from tutelage.divergences import TABLE, loss
from tutelage.divergences.plain import plain_loss

SLICE_TOKENS, CHUNK_ROWS = 1024, 256
"""Of the matrix products alone, in their two forms."""

SPREAD = 2.0
"""Standard deviation of the logits: about that of a trained model's at one position."""


@dataclass(frozen=True)
class Size:
    """How large the tensors are; student and teacher are equally wide."""

    rows: int
    vocab: int
    width: int


@dataclass(frozen=True)
class Contestant:
    """One way to do it.

    Attributes:
        size: of the tensors.
        kind: ``products``, ``hidden``, ``dense``, ``top_k``, ``gold`` (ours, by teacher), ``plain`` (the
            dense way), or the name of a peer.
        option: the divergence; of ``products`` their form.
        teacher: of ``products``: whether the teacher's logits are among them.
        k: kept tokens of ``top_k``.
    """

    size: Size
    kind: str
    option: str
    teacher: bool = True
    k: int = 64


@functools.lru_cache(maxsize=1)
def inputs(size: Size) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The student's hidden states and output layer, with gradients wanted, and the teacher's."""
    torch.manual_seed(0)
    scale = SPREAD / size.width**0.5
    hidden, told = (torch.randn(size.rows, size.width) for _ in range(2))
    weight, theirs = (torch.randn(size.vocab, size.width) * scale for _ in range(2))
    return hidden.requires_grad_(), weight.requires_grad_(), told, theirs


@functools.lru_cache(maxsize=1)
def dense(size: Size) -> Dense:
    """The teacher's logits, written out."""
    _, _, told, theirs = inputs(size)
    return Dense(told @ theirs.T)


@functools.lru_cache(maxsize=1)
def top_k(size: Size, k: int) -> Distribution:
    """The teacher's k most likely tokens."""
    return kept(Hidden(*inputs(size)[2:]), min(k, size.vocab))


def teacher(of: Contestant) -> Distribution:
    """What the student is compared with."""
    _, _, told, theirs = inputs(of.size)
    if of.kind == "dense":
        return dense(of.size)
    if of.kind == "top_k":
        return top_k(of.size, of.k)
    if of.kind == "gold":
        written = torch.randint(of.size.vocab, (of.size.rows,), generator=torch.Generator().manual_seed(1))
        return gold(written, of.size.vocab, told)
    return Hidden(told, theirs)


class Trained:
    """Forward and backward of a loss on the inputs, gradients included.

    Args:
        size: of the inputs.
        loss: a scalar of `inputs`.
    """

    def __init__(self, size: Size, loss: Any) -> None:
        self._inputs, self._loss = inputs(size), loss

    def __call__(self) -> None:
        """One run; the gradients of the one before are thrown away first."""
        self.clear()
        self._loss(*self._inputs).backward()

    def clear(self) -> None:
        """Throw the gradients away."""
        hidden, weight, _, _ = self._inputs
        hidden.grad = weight.grad = None


def make(of: Contestant) -> Any:
    """A contestant from its description: a function without arguments."""
    if of.kind == "products":
        return Products(of.size, by_vocabulary=of.option == "by vocabulary", teacher=of.teacher)
    if of.kind == "plain":
        named, told = TABLE.load(of.option), teacher(of)
        return Trained(of.size, lambda h, w, *_: plain_loss(Hidden(h, w), told, named).mean())
    if of.kind in ("hidden", "dense", "top_k", "gold"):
        told = teacher(of)
        return Trained(of.size, lambda h, w, *_: loss(h, w, told, of.option))
    from peers import PEERS

    return Trained(of.size, PEERS[of.kind].loss(of.option))


class Products:
    """The matrix products alone, with buffers made beforehand.

    Any evaluation needs the student's logits, the gradients of its hidden states and of its output layer, and
    the teacher's logits where they are not given. Either slices of the vocabulary are taken with all rows, or
    chunks of rows with the whole vocabulary.

    Args:
        size: of the inputs.
        by_vocabulary: the first of the two forms.
        teacher: whether the teacher's logits are made.
    """

    def __init__(self, size: Size, *, by_vocabulary: bool, teacher: bool) -> None:
        hidden, weight, self._told, self._theirs = inputs(size)
        self._hidden, self._weight = hidden.detach(), weight.detach()
        self._by_vocabulary, self._teacher = by_vocabulary, teacher
        self._grad_hidden, self._grad_weight = torch.zeros_like(hidden), torch.zeros_like(weight)
        tile = (SLICE_TOKENS, size.rows) if by_vocabulary else (CHUNK_ROWS, size.vocab)
        self._logits, self._others = torch.empty(tile), torch.empty(tile if teacher else (0,))

    def __call__(self) -> None:
        """One run."""
        with torch.no_grad():
            (self._slices if self._by_vocabulary else self._chunks)()

    def _slices(self) -> None:
        for start in range(0, len(self._weight), SLICE_TOKENS):
            weight = self._weight[start : start + SLICE_TOKENS]
            logits = self._logits[: len(weight)]
            torch.mm(weight, self._hidden.T, out=logits)
            if self._teacher:
                torch.mm(
                    self._theirs[start : start + SLICE_TOKENS],
                    self._told.T,
                    out=self._others[: len(weight)],
                )
            self._grad_hidden.addmm_(logits.T, weight)
            torch.mm(logits, self._hidden, out=self._grad_weight[start : start + SLICE_TOKENS])

    def _chunks(self) -> None:
        for start in range(0, len(self._hidden), CHUNK_ROWS):
            hidden = self._hidden[start : start + CHUNK_ROWS]
            logits = self._logits[: len(hidden)]
            torch.mm(hidden, self._weight.T, out=logits)
            if self._teacher:
                torch.mm(
                    self._told[start : start + CHUNK_ROWS], self._theirs.T, out=self._others[: len(hidden)]
                )
            torch.mm(logits, self._weight, out=self._grad_hidden[start : start + CHUNK_ROWS])
            self._grad_weight.addmm_(logits.T, hidden)
