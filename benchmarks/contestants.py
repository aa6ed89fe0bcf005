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
from tutelage.interfaces import asks_target

PIECES = {"cpu": (1024, 256), "cuda": (16384, 4096)}
"""Tokens of a slice and rows of a chunk of the matrix products alone, in their two forms."""

SPREAD = 2.0
"""Standard deviation of the logits: about that of a trained model's at one position."""


@dataclass(frozen=True)
class Size:
    """How large the tensors are; student and teacher are equally wide."""

    rows: int
    vocab: int
    width: int
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def where(self) -> dict[str, Any]:
        """Device and type of all tensors."""
        return {"device": self.device, "dtype": getattr(torch, self.dtype)}


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
    hidden, told = (torch.randn(size.rows, size.width, **size.where) for _ in range(2))
    weight, theirs = (torch.randn(size.vocab, size.width, **size.where) * scale for _ in range(2))
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
        return gold(written(of.size), of.size.vocab, told)
    return Hidden(told, theirs)


def written(size: Size) -> Tensor:
    """Token ids, one a position."""
    ids = torch.randint(size.vocab, (size.rows,), generator=torch.Generator().manual_seed(1))
    return ids.to(size.device)


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
        if of.size.device != "cpu" or of.size.dtype != "float32":
            return Trained(of.size, lambda h, w, *theirs: dense_loss(h, w, *theirs, named))
        return Trained(of.size, lambda h, w, *_: plain_loss(Hidden(h, w), told, named).mean())
    if of.kind in ("hidden", "dense", "top_k", "gold"):
        told = teacher(of)
        aim = {"target": written(of.size)} if asks_target(TABLE.load(of.option)) else {}
        return Trained(of.size, lambda h, w, *_: loss(h, w, told, of.option, **aim))
    from peers import PEERS

    return Trained(of.size, PEERS[of.kind].loss(of.option))


def dense_loss(hidden: Tensor, weight: Tensor, told: Tensor, theirs: Tensor, named: Any) -> Tensor:
    """The usual dense way of a GPU: products in the type of the tensors, log-probabilities in float32."""
    student = (hidden @ weight.T).float().log_softmax(-1)
    with torch.no_grad():
        teacher = (told @ theirs.T).float().log_softmax(-1)
    return named(student, teacher).mean()


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
        self._tokens, self._rows = PIECES[size.device]
        tile = (self._tokens, size.rows) if by_vocabulary else (self._rows, size.vocab)
        self._logits, self._others = (
            torch.empty(shape, **size.where) for shape in (tile, tile if teacher else (0,))
        )

    def __call__(self) -> None:
        """One run."""
        with torch.no_grad():
            (self._slices if self._by_vocabulary else self._chunks)()

    def _slices(self) -> None:
        for start in range(0, len(self._weight), self._tokens):
            weight = self._weight[start : start + self._tokens]
            logits = self._logits[: len(weight)]
            torch.mm(weight, self._hidden.T, out=logits)
            if self._teacher:
                torch.mm(
                    self._theirs[start : start + self._tokens],
                    self._told.T,
                    out=self._others[: len(weight)],
                )
            self._grad_hidden.addmm_(logits.T, weight)
            torch.mm(logits, self._hidden, out=self._grad_weight[start : start + self._tokens])

    def _chunks(self) -> None:
        for start in range(0, len(self._hidden), self._rows):
            hidden = self._hidden[start : start + self._rows]
            logits = self._logits[: len(hidden)]
            torch.mm(hidden, self._weight.T, out=logits)
            if self._teacher:
                torch.mm(
                    self._told[start : start + self._rows], self._theirs.T, out=self._others[: len(hidden)]
                )
            torch.mm(logits, self._weight, out=self._grad_hidden[start : start + self._rows])
            self._grad_weight.addmm_(logits.T, hidden)
