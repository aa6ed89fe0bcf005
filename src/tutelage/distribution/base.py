"""What every distribution is: lazy in its rows and in its tokens.

A chunk of positions is *opened*, then fills tiles ``[tokens, positions]`` of unnormalised logs; no
tensor of size positions x vocabulary has to exist. `Distribution.log_probs` is derived from that and
is what people and tests read.
"""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from tutelage.distribution.device import multiplies_bfloat16, sizes
from tutelage.errors import TutelageError
from tutelage.numerics import RunningNormaliser

_IDLE = threading.local()
"""Tiles that nobody uses at the moment, by type."""


@functools.cache
def _keep_small_blocks() -> None:
    """Have glibc keep freed blocks of up to some megabytes instead of asking the system for each anew.

    It does so by itself from the size of the largest block on that was freed before, up to 32 MiB. Without
    it the small results of elementwise work can cost three times what their arithmetic costs.
    """
    torch.empty(2**23 - 2**12)


Chunk = slice | Tensor
"""Positions to open: a slice of them, or their indices ``[n]``."""


class Workspace:
    """Tiles that are allocated once and used again for every chunk.

    On a CPU fresh memory costs more than the arithmetic done in it. Every chunk takes its tiles in
    the same order, so the k-th request is served from the k-th buffer.

    Args:
        like: gives device and floating-point type of all tiles.

    Attributes:
        sizes: how work is cut on the device.
        autocast: whether products are made of bfloat16 where the device is quick at that.
    """

    def __init__(self, like: Tensor) -> None:
        self.dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.device = like.device
        self.sizes = sizes(like.device)
        self.autocast = False
        self._cast: dict[int, tuple[Tensor, Tensor]] = {}
        self._buffers: list[Tensor] = []
        self._next = 0

    @classmethod
    @contextmanager
    def lent(cls, like: Tensor, *, autocast: bool = False) -> Iterator[Workspace]:
        """One whose tiles stay allocated afterwards, for whoever in this thread borrows the next one.

        On a CPU only: elsewhere torch keeps freed memory itself.
        """
        made = cls(like)
        made.autocast = autocast
        if made.device.type != "cpu":
            yield made
            return
        _keep_small_blocks()
        idle = _IDLE.__dict__.setdefault(str(made.dtype), [])
        # Taken away meanwhile, so that an evaluation inside another one gets tiles of its own.
        made._buffers, idle[:] = idle[:], []
        yield made
        made.reset()
        idle[:] = made._buffers

    def take(self, tokens: int, positions: int) -> Tensor:
        """A tile ``[tokens, positions]`` with anything in it, valid until `reset`."""
        size = tokens * positions
        if self._next == len(self._buffers):
            self._buffers.append(self.empty(size))
        elif self._buffers[self._next].numel() < size:
            self._buffers[self._next] = self.empty(size)
        self._next += 1
        return self._buffers[self._next - 1][:size].view(tokens, positions)

    def empty(self, *shape: int) -> Tensor:
        """A new tensor of the workspace's type with anything in it."""
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def factors(self, states: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Two matrices in the type in which they are multiplied; a weight that has another one may keep it.

        That is the tile's type, except on a GPU: bfloat16 is multiplied as it is there, with nothing lost
        since the products are added up in float32, and under autocast all is. A weight is cast once.
        """
        both = states.dtype == weight.dtype == torch.bfloat16
        if self.dtype == torch.float32 and (both or self.autocast) and multiplies_bfloat16(self.device):
            if weight.dtype != torch.bfloat16:
                if id(weight) not in self._cast:
                    # With the weight itself, so that its number is nobody else's meanwhile.
                    self._cast[id(weight)] = weight.detach().to(torch.bfloat16), weight
                weight = self._cast[id(weight)][0]
            return states.detach().to(torch.bfloat16), weight.detach()
        return states.detach().to(self.dtype), weight.detach()

    def mark(self) -> int:
        """How much has been taken, for `release`."""
        return self._next

    def release(self, mark: int) -> None:
        """What was taken since ``mark`` may be used again."""
        self._next = mark

    def reset(self) -> None:
        """Everything taken may be used again."""
        self._next = 0


class FullRows(ABC):
    """Opened positions that have a column for every token.

    Attributes:
        n: number of positions.
        vocab_size: number of tokens.
        ids: None, which says that the support is the whole vocabulary.
    """

    ids: None = None

    def __init__(self, n: int, vocab_size: int) -> None:
        self.n = n
        self.vocab_size = vocab_size

    @abstractmethod
    def fill(self, tokens: slice, out: Tensor) -> None:
        """Write the unnormalised logs of some tokens into the tile ``out`` ``[v, n]``."""

    def fill_all(self, out: Tensor) -> Tensor:
        """Fill ``out`` ``[V, n]`` slice by slice; returns the normaliser ``[n]`` gathered on the way."""
        normaliser = RunningNormaliser(self.n, out)
        for tokens in sizes(out.device).cut(self.n).slices(self.vocab_size):
            self.fill(tokens, out[tokens])
            normaliser.add(out[tokens])
        return normaliser.value()


class FilledRows(FullRows):
    """Opened positions whose whole tile ``[V, n]`` already exists."""

    def __init__(self, tile: Tensor) -> None:
        super().__init__(tile.shape[1], tile.shape[0])
        self.tile = tile

    def fill(self, tokens: slice, out: Tensor) -> None:
        """Copy the slice."""
        out.copy_(self.tile[tokens])


class BucketRows:
    """Opened positions that have a column for each of k kept tokens and one for all the rest.

    Args:
        ids: kept tokens ``[k, n]``; -1 marks an empty column.
        logs: unnormalised logs ``[k + 1, n]``, the last row is the rest; ``-inf`` in empty columns.
        vocab_size: number of tokens.
    """

    def __init__(self, ids: Tensor, logs: Tensor, vocab_size: int) -> None:
        self.n = ids.shape[1]
        self.vocab_size = vocab_size
        self.ids = ids
        self._logs = logs

    def columns(self) -> Tensor:
        """Unnormalised logs of the kept tokens and of the rest, ``[k + 1, n]``."""
        return self._logs


class PartialRows:
    """Opened positions of which only some tokens are known: a weighted sum over those.

    What is compared there is ``sum_i factors_i * f(log q_i, logs_i)`` with the student's own, uncut ``q``.

    Args:
        ids: known tokens ``[k, n]``, each once a position; -1 marks an empty column.
        logs: their natural log-probabilities ``[k, n]``, normalised over the whole vocabulary.
        factors: what each weighs in the sum ``[k, n]``; 0 in empty columns.
        vocab_size: number of tokens.
    """

    def __init__(self, ids: Tensor, logs: Tensor, factors: Tensor, vocab_size: int) -> None:
        self.n = ids.shape[1]
        self.vocab_size = vocab_size
        self.ids = ids
        self.logs = logs
        self.factors = factors


OpenRows = FullRows | BucketRows | PartialRows


class Distribution(ABC):
    """What is said at ``N`` positions about ``V`` tokens.

    Attributes:
        never: ids ``[m]`` that are not tokens and get no probability, where some are known; else None.
        needs: a law that a divergence must keep to be computed from it (`tutelage.divergences.TABLE`);
            None where any will do.
    """

    never: Tensor | None = None
    needs: str | None = None

    @property
    @abstractmethod
    def positions(self) -> int:
        """Number of positions, ``N``."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """Some tensor of it: tells device and floating-point type."""

    @abstractmethod
    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> OpenRows:
        """Make a chunk of positions ready to fill tiles.

        Args:
            chunk: which positions.
            workspace: where tiles come from; what is opened is valid until its next `reset`.
            student: the student's own tile ``[V, n]`` of unnormalised logs at these positions, for
                distributions that move with the student.
        """

    def on_support(
        self, rows: slice = slice(None), student: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """What is said on its own support: kept ids and natural logs that sum to one.

        Args:
            rows: which positions.
            student: the student's log-probabilities ``[n, V]`` there, if it moves with the student.

        Returns:
            ``(None, [n, V])`` where every token has a column, else the kept ids ``[n, k]`` and
            ``[n, k + 1]`` with the rest in the last column.
        """
        workspace = Workspace(self.like)
        tile = None if student is None else student.to(workspace.dtype).T.contiguous()
        opened = self.open(rows, workspace, tile)
        if isinstance(opened, PartialRows):
            raise partial("written out as a row that sums to one")
        if isinstance(opened, BucketRows):
            columns = opened.columns()
            return opened.ids.T, (columns - says_something(columns.logsumexp(0))).T
        tile = workspace.empty(opened.vocab_size, opened.n)
        normaliser = says_something(opened.fill_all(tile))
        return None, (tile - normaliser).T

    def log_probs(self, rows: slice = slice(None), student: Tensor | None = None) -> Tensor:
        """Normalised natural logs ``[n, V]``, for people and tests.

        Where only k tokens and the mass of the rest are known, that mass is shown spread evenly over
        the tokens that were not kept (and are tokens).
        """
        ids, logs = self.on_support(rows, student)
        if ids is None:
            return logs
        tokens = self.vocab_size - (0 if self.never is None else len(self.never.unique()))
        kept = (ids >= 0).sum(1, keepdim=True)
        share = logs[:, -1:] - (tokens - kept).clamp(min=1).to(logs.dtype).log()
        dense = share.expand(-1, self.vocab_size + 1).clone()  # one column more, for the empty ids
        dense.scatter_(1, torch.where(ids < 0, self.vocab_size, ids), logs[:, :-1])
        return dense[:, :-1] if self.never is None else dense[:, :-1].index_fill(1, self.never, -torch.inf)

    def __len__(self) -> int:
        return self.positions


def says_something(normaliser: Tensor) -> Tensor:
    """The normaliser ``[n]`` itself, unless some position gives no token any probability.

    Raises:
        TutelageError: everything is "never" there; normalised it would be NaN.
    """
    silent = normaliser == -torch.inf
    if bool(silent.any()):
        raise TutelageError(
            f"nothing is left to say at {int(silent.sum())} of {len(silent)} positions",
            expected="some token with a probability at every position",
            fix="combine distributions that have a token in common, and keep some of them when restricting",
        )
    return normaliser


def partial(what: str) -> TutelageError:
    """The error for asking rows of which only some tokens are known for what needs all of them."""
    return TutelageError(
        f"a distribution of which only some tokens are known cannot be {what}",
        expected="hidden states, rows written out, or k tokens with the mass of the rest",
        fix="compare a student with it as it is, or keep another kind (`hidden`, `top_k` with tail `bucket`)",
    )


def coarse(rows: FullRows | BucketRows, ids: Tensor, workspace: Workspace) -> Tensor:
    """Unnormalised logs of ``rows`` on the support ``ids`` ``[k, n]`` and the rest, ``[k + 1, n]``."""
    if isinstance(rows, BucketRows):
        return _coarse_buckets(rows, ids)
    tile = workspace.take(min(workspace.sizes.tokens, rows.vocab_size), rows.n)
    kept = torch.full(ids.shape, -torch.inf, dtype=tile.dtype, device=tile.device)
    rest = RunningNormaliser(rows.n, tile)
    for tokens in workspace.sizes.slices(rows.vocab_size):
        part = tile[: tokens.stop - tokens.start]
        rows.fill(tokens, part)
        inside = ((ids >= tokens.start) & (ids < tokens.stop)).nonzero(as_tuple=True)
        where = (ids[inside] - tokens.start, inside[1])
        kept[inside] = part[where]
        part[where] = -torch.inf
        rest.add(part)
    return torch.cat([kept, rest.value()[None]])


def common_support(opened: list[FullRows | BucketRows]) -> Tensor | None:
    """The finest support ``[k, n]`` that all have: tokens every cut member kept; None if none is cut."""
    cut = [rows.ids for rows in opened if rows.ids is not None]
    if not cut:
        return None
    first, *others = cut
    for ids in others:
        if ids is not first:
            found = (first[:, None] == ids[None]).any(1)
            first = torch.where(found, first, -1)
    return first


def _coarse_buckets(rows: BucketRows, ids: Tensor) -> Tensor:
    logs = rows.columns()
    if ids is rows.ids:
        return logs
    same = (ids[:, None] == rows.ids[None]) & (ids[:, None] >= 0)  # [k, own k, n]
    # Every id asked for is one of ours (`common_support`): the sum has one member, or none.
    kept = logs[None, :-1].masked_fill(~same, -torch.inf).amax(1)
    moved_to_rest = logs[:-1].masked_fill(same.any(0), -torch.inf)
    return torch.cat([kept, torch.cat([moved_to_rest, logs[-1:]]).logsumexp(0, keepdim=True)])


def same_shape(distributions: list[Distribution]) -> None:
    """Refuse members that differ in positions or vocabulary."""
    shapes = {(d.positions, d.vocab_size) for d in distributions}
    if len(shapes) > 1:
        raise TutelageError(
            f"distributions of different shapes were combined: {sorted(shapes)}",
            expected="the same positions and the same vocabulary for every member",
            fix="restrict all of them to the token ids that they share (`tutelage.distribution.restricted`)",
        )
