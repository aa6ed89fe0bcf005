"""The gradient of a chunk's logits ``l``, in the one form that all terms have:

    dense[j] + sum_k coefficient_k * exp(scale_k * l[j] - normaliser_k) + added[j]

A term on whole rows gives its slopes ``g`` as the dense part and ``-sum g`` times the student's own
probabilities; a term on a few tokens gives a few numbers and a multiple of those probabilities. So
objectives without whole rows need no second tile, and all terms share one exponential.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tutelage.compiled import kernel
from tutelage.distribution.device import Sizes
from tutelage.divergences.bodies import Named, assemble, finish, gradient
from tutelage.numerics import exp_shifted


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

    def edges(self, slices: Sequence[slice]) -> list[int]:
        """Where the entries of each slice of the vocabulary begin, and the end of the last."""
        starts = [tokens.start for tokens in slices] + [slices[-1].stop]
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


@dataclass(frozen=True, eq=False)
class Again:
    """Slopes of terms on whole rows that are computed again where they are needed, and kept nowhere.

    Attributes:
        terms: their divergences.
        told: the teacher's tile ``[V, n]``, tempered.
        log_p_norm: its normaliser ``[n]``.
        weights: of every term at every position, times the scale, ``[K, n]``; None is one term that weighs 1.
        pulling: which terms have a gradient.
        own: the multiple of the student's probabilities that belongs to them.
        values: takes the terms' values ``[K, n]`` where they come with the slopes; None where they were made
            before.
    """

    terms: tuple[Named, ...]
    told: Tensor
    log_p_norm: Tensor
    weights: Tensor | None
    pulling: Sequence[int]
    own: Multiple
    values: Tensor | None = None


@dataclass(eq=False)
class Slopes:
    """The gradient while terms add to it.

    Attributes:
        sizes: how the vocabulary is cut.
        dense: ``[V, n]``, or None while no term needs one.
        again: what is computed again, at most once.
        multiples: of exponentials.
        added: single entries.
        spent: whether the exponentials of the only multiple stand where the logits were.
    """

    sizes: Sizes
    dense: Tensor | None = None
    again: Again | None = None
    multiples: list[Multiple] = field(default_factory=list)
    added: list[Entries] = field(default_factory=list)
    spent: bool = False

    def walked(
        self, logits: Tensor, scratch: Tensor | None, dtype: torch.dtype
    ) -> Iterator[tuple[slice, Tensor]]:
        """The gradient by slices of the vocabulary.

        Args:
            logits: ``[V, n]``, or their exponentials if `spent`.
            scratch: ``[v, n]``, as large as the largest slice; what is given lies there until the next
                slice is asked for, and may be written over. None where slopes are computed again.
            dtype: in which it is wanted, if it can be had at no cost; else it comes in that of the tile.
        """
        plain, slices = self._merged(), list(self.sizes.slices(len(logits)))
        if self.spent:
            (multiple,) = self.multiples
            for tokens in slices:
                assert self.dense is not None
                assert scratch is not None
                out = scratch[: tokens.stop - tokens.start]
                yield tokens, torch.addcmul(self.dense[tokens], logits[tokens], multiple.coefficient, out=out)
            return
        replaced = [m for m in self.multiples if m.instead is not None]
        cut = {id(e): e.edges(slices) for e in self.added}
        cut |= {id(m.instead): m.instead.edges(slices) for m in replaced if m.instead is not None}
        dtype = logits.dtype if cut else dtype
        for number, tokens in enumerate(slices):
            part = logits[tokens]
            total = self._made(part, tokens, plain, None if scratch is None else scratch[: len(part)], dtype)
            for m in replaced:
                assert m.instead is not None
                lone = [(m.scale, m.normaliser, m.coefficient)]
                other = Slopes(self.sizes)._made(part, tokens, lone, torch.empty_like(part), dtype)
                assert other is not None
                where, values = _within(m.instead, cut[id(m.instead)], number, tokens)
                other[where] = values
                total = other if total is None else total.add_(other)
            assert total is not None
            for entries in self.added:
                where, values = _within(entries, cut[id(entries)], number, tokens)
                total.index_put_(where, values, accumulate=True)
            yield tokens, total

    def _made(
        self,
        logits: Tensor,
        tokens: slice,
        plain: list[tuple[float, Tensor, Tensor]],
        scratch: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor | None:
        """Everything but single entries, of one slice; None where that is nothing."""
        dense = None if self.dense is None else self.dense[tokens]
        again = self.again
        if again is not None:
            # The multiple that belongs to it first: its exponentials are those that the slopes are made of.
            plain = sorted(plain, key=lambda part: part[1] is not again.own.normaliser)
        if not self.sizes.twice:
            assert scratch is not None
            if again is None:
                return assemble(dense, logits, plain, scratch)
            return self._finished(again, logits, tokens, plain, scratch)
        if not plain:
            return dense
        terms = () if again is None else again.terms
        valued = again is not None and again.values is not None
        total, values = kernel(gradient, tuple(scale for scale, _, _ in plain), terms, dtype, valued)(
            logits,
            dense,
            None if again is None else again.told[tokens],
            None if again is None else again.log_p_norm,
            None if again is None else again.weights,
            tuple((normaliser, coefficient) for _, normaliser, coefficient in plain),
        )
        if again is not None and again.values is not None:
            again.values.add_(values)
        return total

    def _finished(
        self,
        again: Again,
        logits: Tensor,
        tokens: slice,
        plain: Sequence[tuple[float, Tensor, Tensor]],
        scratch: Tensor,
    ) -> Tensor:
        """The same where slopes are made here and nowhere else, part by part."""
        (scale, normaliser, coefficient), *others = plain
        told = again.told[tokens]
        assert again.values is not None
        some_idle = again.weights is not None and bool((again.weights[again.pulling] == 0).any())
        for part in self.sizes.in_parts(logits.shape[1]).slices(len(logits)):
            values = finish(
                again.terms,
                scale,
                logits[part],
                told[part],
                normaliser,
                again.log_p_norm,
                again.weights,
                again.pulling,
                some_idle,
                coefficient,
                scratch[part],
            )
            again.values.add_(values)
        for scale, normaliser, coefficient in others:
            scratch.addcmul_(exp_shifted(logits, normaliser, scale=scale), coefficient)
        return scratch if self.dense is None else scratch.add_(self.dense[tokens])

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
