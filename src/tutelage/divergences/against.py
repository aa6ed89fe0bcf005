"""One term of an objective as the fused evaluation sees it: a divergence, a distribution, weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tutelage.distribution import Distribution, Hidden, TopK
from tutelage.divergences.bodies import Named
from tutelage.divergences.rows import Rows, column_of
from tutelage.interfaces import AfterStatistics, Divergence


@dataclass(frozen=True, eq=False)
class Against:
    """One term: a divergence from a teacher, and what each position weighs in it.

    Attributes:
        divergence: with a `density`.
        teacher: a distribution over the student's positions and tokens.
        weights: factor of every position ``[N]``; positions of weight 0 are not evaluated.
        temperature: tempers student and teacher alike, on the teacher's support.
        options: of the divergence.
        by_position: options that differ from position to position, ``[N]`` each.
        watched: its values are told and nothing else: no share of the sum, no gradient.
        target: token ids ``[N]`` for a divergence that asks for them.
        student: another view of the student's rows that this term looks at, such as standardised ones; None
            takes them as they are.
    """

    divergence: Divergence
    teacher: Distribution
    weights: Tensor
    temperature: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    by_position: Mapping[str, Tensor] = field(default_factory=dict)
    watched: bool = False
    target: Tensor | None = None
    student: Hidden | None = None

    @functools.cached_property
    def after_statistics(self) -> bool:
        """Whether its density must be told something of the whole row."""
        return isinstance(self.divergence, AfterStatistics)

    @property
    def local(self) -> bool:
        """Whether what its density is told differs from position to position."""
        return bool(self.by_position) or self.after_statistics

    @property
    def slope_sum(self) -> float | None:
        """What slopes sum to, whatever the rows; None where that must be summed up."""
        return None if self.local else getattr(self.divergence, "slope_sum", None)

    def whole(
        self,
        positions: Tensor,
        logits: Tensor,
        told: Tensor,
        norms: tuple[Tensor | None, Tensor | None] = (None, None),
        *,
        scale: float = 1.0,
        tokens: int | None = None,
        ids: Tensor | None = None,
    ) -> Rows | None:
        """The rows that its statistics are made of; None if it has none.

        Args:
            positions: which they are, ``[n]``.
            logits: the student's tile ``[V, n]``.
            told: the teacher's.
            norms: the normalisers of the scaled ``logits`` and of ``told``.
            scale: one over the temperature.
            tokens: columns that are looked at together.
            ids: kept tokens ``[k, n]``, where the last column is the rest.
        """
        if not self.after_statistics:
            return None
        target = None if self.target is None else self.target[positions]
        if target is not None and ids is not None:
            target = column_of(target, ids)
        return Rows(logits, told, *norms, scale, target, ids is not None, tokens)

    def named(self, positions: Tensor, whole: Rows | None = None) -> Named:
        """The divergence and what it is told at some positions ``[n]``, whichever the tokens."""
        told = {name: values[positions].to(self.weights.dtype) for name, values in self.by_position.items()}
        told = {**self.options, **told}
        if whole is not None and isinstance(self.divergence, AfterStatistics):
            told |= self.divergence.statistics(whole, **told)
        return self.divergence, tuple(told.items())

    def density(
        self, positions: Tensor, log_q: Tensor, log_p: Tensor, ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Value and slope of tiles ``[k, n]`` at some positions ``[n]``, given all columns there are.

        Args:
            positions: which they are.
            log_q: the student's log-probabilities.
            log_p: the teacher's.
            ids: kept tokens ``[k - 1, n]``, where the last column is the rest.
        """
        whole = self.whole(positions, log_q, log_p, ids=ids)
        divergence, told = aimed(self.named(positions, whole), whole, slice(0, len(log_q)))
        options: dict[str, Any] = dict(told)
        return divergence.density(log_q, log_p, **options)


def aimed(named: Named, whole: Rows | None, columns: slice) -> Named:
    """The same, and where the target stands among some columns if there is one."""
    if whole is None or whole.target is None:
        return named
    return named[0], (*named[1], ("target", whole.aim(columns)))


def grouped(terms: Sequence[Against]) -> list[list[tuple[int, Against]]]:
    """Terms that share teacher and temperature, with their places, so that its products are made once.

    In the order in which the fewest tiles are needed: kept tokens, whole rows, and at last those whose slopes
    have known sums, which keep the teacher's tile to the end.
    """
    groups: dict[tuple[int, float], list[tuple[int, Against]]] = {}
    for index, term in enumerate(terms):
        groups.setdefault((id(term.teacher), term.temperature), []).append((index, term))

    def place(group: list[tuple[int, Against]]) -> tuple[bool, bool]:
        known = all(term.watched or term.slope_sum is not None for _, term in group)
        return not isinstance(group[0][1].teacher, TopK), known

    return sorted(groups.values(), key=place)
