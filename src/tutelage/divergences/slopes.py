"""The gradient of a chunk's logits ``l``, in the one form that all terms have:

    dense[j] + sum_k coefficient_k * exp(scale_k * l[j] - normaliser_k) + added[j]

A term on whole rows gives its slopes ``g`` as the dense part and ``-sum g`` times the student's own
probabilities; a term on a few tokens gives a few numbers and a multiple of those probabilities. So
objectives without whole rows need no second tile, and all terms share one exponential.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tutelage.distribution.base import slices
from tutelage.divergences.bodies import assemble


@dataclass(frozen=True, eq=False)
class Entries:
    """Single entries of a tile ``[V, n]``.

    Attributes:
        where: token and position of each, ``[e]`` both.
        columns: where they stand among kept columns ``[k, n]``.
        values: numbers that belong there, or None.
    """

    where: tuple[Tensor, Tensor]
    columns: tuple[Tensor, Tensor]
    values: Tensor | None = None

    @classmethod
    def at(cls, ids: Tensor) -> Entries:
        """Those that kept ids ``[k, n]`` name; -1 names none."""
        column, position = (ids >= 0).nonzero(as_tuple=True)
        tokens = ids[column, position]
        tokens, order = tokens.sort()  # a slice of the vocabulary is then a slice of the entries
        column, position = column[order], position[order]
        return cls((tokens, position), (column, position))

    def holding(self, values: Tensor) -> Entries:
        """The same entries with numbers ``[k, n]``."""
        return Entries(self.where, self.columns, values[self.columns])

    def edges(self, vocab_size: int) -> list[int]:
        """Where the entries of each slice of the vocabulary begin, and the end of the last."""
        starts = [tokens.start for tokens in slices(vocab_size)] + [vocab_size]
        device = self.where[0].device
        return torch.searchsorted(self.where[0], torch.tensor(starts, device=device)).tolist()


@dataclass(frozen=True, eq=False)
class Multiple:
    """``coefficient * exp(scale * logits - normaliser)``.

    Attributes:
        scale: a number.
        normaliser: ``[n]``.
        coefficient: ``[n]``.
        instead: entries that have another value, or None.
    """

    scale: float
    normaliser: Tensor
    coefficient: Tensor
    instead: Entries | None = None


@dataclass(eq=False)
class Slopes:
    """The gradient while terms add to it.

    Attributes:
        dense: ``[V, n]``, or None while no term needs one.
        multiples: of exponentials.
        added: single entries.
        spent: whether the exponentials of the only multiple stand where the logits were.
    """

    dense: Tensor | None = None
    multiples: list[Multiple] = field(default_factory=list)
    added: list[Entries] = field(default_factory=list)
    spent: bool = False

    def walked(self, logits: Tensor, scratch: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The gradient by slices of the vocabulary.

        Args:
            logits: ``[V, n]``, or their exponentials if `spent`.
            scratch: ``[v, n]``, as large as the largest slice; what is given lies there until the next
                slice is asked for, and may be written over.
        """
        plain = self._merged()
        if self.spent:
            (multiple,) = self.multiples
            for tokens in slices(len(logits)):
                assert self.dense is not None
                out = scratch[: tokens.stop - tokens.start]
                yield tokens, torch.addcmul(self.dense[tokens], logits[tokens], multiple.coefficient, out=out)
            return
        replaced = [m for m in self.multiples if m.instead is not None]
        cut = {id(e): e.edges(len(logits)) for e in self.added}
        cut |= {id(m.instead): m.instead.edges(len(logits)) for m in replaced if m.instead is not None}
        for number, tokens in enumerate(slices(len(logits))):
            part, out = logits[tokens], scratch[: tokens.stop - tokens.start]
            total = assemble(None if self.dense is None else self.dense[tokens], part, plain, out)
            for m in replaced:
                assert m.instead is not None
                other = assemble(None, part, [(m.scale, m.normaliser, m.coefficient)], torch.empty_like(out))
                where, values = _within(m.instead, cut[id(m.instead)], number, tokens)
                other[where] = values
                total.add_(other)
            for entries in self.added:
                where, values = _within(entries, cut[id(entries)], number, tokens)
                total.index_put_(where, values, accumulate=True)
            yield tokens, total

    def _merged(self) -> list[tuple[float, Tensor, Tensor]]:
        """Multiples of one exponential as one."""
        merged: dict[tuple[float, int], tuple[float, Tensor, Tensor]] = {}
        for m in self.multiples:
            if m.instead is None:
                key = (m.scale, id(m.normaliser))
                before = merged.get(key)
                coefficient = m.coefficient if before is None else before[2] + m.coefficient
                merged[key] = (m.scale, m.normaliser, coefficient)
        return list(merged.values())


def _within(
    entries: Entries, edges: list[int], number: int, tokens: slice
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    inside = slice(edges[number], edges[number + 1])
    assert entries.values is not None
    token, position = entries.where
    return (token[inside] - tokens.start, position[inside]), entries.values[inside]
