"""What all operations on distributions have in common: members are opened, columns are combined."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tutelage.distribution.base import (
    BucketRows,
    Chunk,
    Distribution,
    FilledRows,
    FullRows,
    OpenRows,
    PartialRows,
    Workspace,
    coarse,
    common_support,
    partial,
    same_shape,
    says_something,
)
from tutelage.errors import TutelageError
from tutelage.numerics import RunningNormaliser


@dataclass(frozen=True)
class Place:
    """Where a tile is that members are combined in.

    Attributes:
        chunk: its positions.
        tokens: its tokens: a slice of the vocabulary, or kept ids ``[v - 1, n]`` before the rest.
        normaliser: gives a member's own normaliser ``[n]``; in a full row it costs one more walk.
        told: what `Combined.over_rows` found in the whole rows of the members.
    """

    chunk: Chunk
    tokens: slice | Tensor
    normaliser: Callable[[int], Tensor]
    told: Any = None


class Combined(Distribution):
    """Several distributions made into one, column by column.

    Where all members have a column for every token, so has the result. Where some kept only k tokens
    and the rest, all members are brought onto the finest columns that they share.

    Attributes:
        members: what is combined, over the same positions and the same vocabulary.
        from_probabilities: False where the operation is linear in the logs, so that unnormalised tiles
            will do; True where the members' normalisers are needed first.
        one_support: whether members that kept other tokens than one another are refused.
    """

    members: tuple[Distribution, ...]
    from_probabilities: bool = False
    one_support: bool = False

    def __init__(self, members: Sequence[Distribution]) -> None:
        same_shape(list(members))
        self.members = tuple(members)

    @abstractmethod
    def combine(self, logs: list[Tensor], place: Place) -> Tensor:
        """The combined unnormalised logs of one tile ``[v, n]`` a member; may write into the first."""

    def over_rows(self, rows: list[Tensor]) -> Any:
        """What is to be known of whole rows before they are combined, where `from_probabilities` is true.

        Args:
            rows: normalised logs of each member, ``[V, n]``, or ``[k + 1, n]`` of kept tokens and the rest.
        """
        return None

    @property
    def positions(self) -> int:
        """Number of positions, ``N``."""
        return self.members[0].positions

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return self.members[0].vocab_size

    @property
    def like(self) -> Tensor:
        """A tensor of the widest member's type."""
        return max((m.like for m in self.members), key=lambda t: t.dtype.itemsize)

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> OpenRows:
        """Open the members; nothing is computed yet unless their normalisers are needed."""
        opened: list[FullRows | BucketRows] = []
        for member in self.members:
            rows = member.open(chunk, workspace, student)
            if isinstance(rows, PartialRows):
                raise partial("combined with others or tempered")
            opened.append(rows)
        ids = common_support(opened)
        if ids is not None:
            if self.one_support:
                _kept_the_same(opened, ids)
            columns = [coarse(rows, ids, workspace) for rows in opened]
            told = None
            if self.from_probabilities:
                columns = [logs - says_something(logs.logsumexp(0)) for logs in columns]
                told = self.over_rows(columns)
            place = Place(chunk, ids, lambda member: says_something(columns[member].logsumexp(0)), told)
            combined = self.combine([logs.clone() for logs in columns], place)
            return BucketRows(ids, combined, self.vocab_size)
        full = [rows for rows in opened if isinstance(rows, FullRows)]
        if not self.from_probabilities:
            return CombinedRows(self, chunk, full, workspace)
        whole = [_normalised(rows, workspace) for rows in full]
        told = self.over_rows([rows.tile for rows in whole])
        return CombinedRows(self, chunk, whole, workspace, told)


class CombinedRows(FullRows):
    """Opened members, combined tile by tile."""

    def __init__(
        self,
        of: Combined,
        chunk: Chunk,
        members: Sequence[FullRows],
        workspace: Workspace,
        told: Any = None,
    ) -> None:
        super().__init__(members[0].n, of.vocab_size)
        self._of = of
        self._told = told
        self._chunk = chunk
        self._members = members
        self._tiles = [workspace.take(min(workspace.sizes.tokens, self.vocab_size), self.n) for _ in members]
        self._sizes = workspace.sizes
        self._normalisers: dict[int, Tensor] = {}

    def fill(self, tokens: slice, out: Tensor) -> None:
        """Fill one tile a member and combine them."""
        width = tokens.stop - tokens.start
        tiles = [tile[:width] for tile in self._tiles]
        for member, tile in zip(self._members, tiles, strict=True):
            member.fill(tokens, tile)
        out.copy_(self._of.combine(tiles, Place(self._chunk, tokens, self._normaliser, self._told)))

    def _normaliser(self, member: int) -> Tensor:
        if member not in self._normalisers:
            # Not in the member's own tile, which is being combined right now.
            tile = self._tiles[member].new_empty(self._tiles[member].shape)
            running = RunningNormaliser(self.n, tile)
            for tokens in self._sizes.slices(self.vocab_size):
                part = tile[: tokens.stop - tokens.start]
                self._members[member].fill(tokens, part)
                running.add(part)
            self._normalisers[member] = says_something(running.value())
        return self._normalisers[member]


def _normalised(rows: FullRows, workspace: Workspace) -> FilledRows:
    # Kept whole for the chunk: filling it twice would cost the matrix product twice.
    tile = workspace.take(rows.vocab_size, rows.n)
    normaliser = says_something(rows.fill_all(tile))
    for tokens in workspace.sizes.slices(rows.vocab_size):
        tile[tokens] -= normaliser
    return FilledRows(tile)


def _kept_the_same(opened: Sequence[FullRows | BucketRows], ids: Tensor) -> None:
    kept = (ids >= 0).sum(0)
    for rows in opened:
        if rows.ids is not None and bool(((rows.ids >= 0).sum(0) != kept).any()):
            raise TutelageError(
                "two members of a shift kept different tokens: what is left is little, and a difference of "
                "two lists of likeliest tokens is far from that of the distributions",
                expected="members that know every token, or kept the very same tokens at every position",
                fix="cache the shifted distribution itself, or its members in a cache of the kind `hidden`",
            )
