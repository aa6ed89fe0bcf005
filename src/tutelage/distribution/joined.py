"""Several distributions end to end: each says what it says at positions of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.distribution.base import (
    BucketRows,
    Chunk,
    Distribution,
    FullRows,
    OpenRows,
    Workspace,
    partial,
)
from tutelage.errors import TutelageError


class Joined(Distribution):
    """Positions gathered from several distributions over the same vocabulary.

    Args:
        members: all of them with a column for every token, or all with k tokens and the rest.
        which: the member that speaks at each position, ``[N]``.
        place: the position within that member, ``[N]``.

    Raises:
        TutelageError: the vocabularies differ.
    """

    def __init__(self, members: Sequence[Distribution], which: Tensor, place: Tensor) -> None:
        sizes = {member.vocab_size for member in members}
        if len(sizes) != 1:
            raise TutelageError(
                f"distributions over vocabularies of {sorted(sizes)} tokens were joined",
                expected="one vocabulary for all members",
                fix="restrict all of them to the token ids that they share "
                "(`tutelage.distribution.restricted`)",
            )
        self.members = tuple(members)
        self.which = which
        self.place = place
        self.never = self.members[0].never

    @property
    def positions(self) -> int:
        """Number of positions, ``N``."""
        return len(self.which)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return self.members[0].vocab_size

    @property
    def like(self) -> Tensor:
        """A tensor of the widest member's type."""
        return max((m.like for m in self.members), key=lambda t: t.dtype.itemsize)

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> OpenRows:
        """Open every member at those positions of the chunk that are its own."""
        which, place = self.which[chunk], self.place[chunk]
        parts: list[tuple[Tensor, OpenRows]] = []
        for number, member in enumerate(self.members):
            columns = (which == number).nonzero()[:, 0]
            if len(columns):
                tile = None if student is None else student[:, columns].contiguous()
                parts.append((columns, member.open(place[columns], workspace, tile)))
        if len(parts) == 1:
            return parts[0][1]
        full = [(columns, rows) for columns, rows in parts if isinstance(rows, FullRows)]
        if len(full) == len(parts):
            return JoinedRows(full, len(which), self.vocab_size, workspace)
        buckets = [(columns, rows) for columns, rows in parts if isinstance(rows, BucketRows)]
        if len(buckets) == len(parts):
            return _joined_buckets(buckets, len(which), self.vocab_size)
        raise partial("joined with one that knows all tokens")


class JoinedRows(FullRows):
    """Opened members that each fill their own columns of a tile."""

    def __init__(
        self, parts: Sequence[tuple[Tensor, FullRows]], n: int, vocab_size: int, workspace: Workspace
    ) -> None:
        super().__init__(n, vocab_size)
        self._parts = parts
        self._tiles = [workspace.take(min(workspace.sizes.tokens, vocab_size), rows.n) for _, rows in parts]

    def fill(self, tokens: slice, out: Tensor) -> None:
        """Fill one tile a member and put its columns where they belong."""
        for (columns, rows), tile in zip(self._parts, self._tiles, strict=True):
            part = tile[: tokens.stop - tokens.start]
            rows.fill(tokens, part)
            out[:, columns] = part


def _joined_buckets(parts: Sequence[tuple[Tensor, BucketRows]], n: int, vocab_size: int) -> BucketRows:
    first = parts[0][1]
    width = max(rows.ids.shape[0] for _, rows in parts)
    ids = first.ids.new_full((width, n), -1)
    logs = first.columns().new_full((width + 1, n), -torch.inf)
    for columns, rows in parts:
        k = rows.ids.shape[0]
        ids[:k, columns] = rows.ids
        logs[:k, columns] = rows.columns()[:-1]
        logs[-1, columns] = rows.columns()[-1]
    return BucketRows(ids, logs, vocab_size)
