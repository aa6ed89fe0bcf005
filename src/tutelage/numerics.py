"""Edge conventions in one place: 0 log 0, the log of a mixture, running normalisers.

Natural logarithms throughout; ``-inf`` says "never". Nothing here turns a NaN that came in into a number.
"""

import functools
import math
import platform
from pathlib import Path

import torch
from torch import Tensor

from tutelage.compiled import kernel

BLOCK = 64
"""Tokens that a GPU adds up while it has them in its registers."""

LOG2E = 1 / math.log(2)

FAR = 2.0**20
"""A sum of exponentials from which on their shift lies too low for the digits of its logarithm."""

LOWEST = -1e30
"""A logarithm that no finite one is below, and that can be multiplied without becoming infinite."""


def times_log(p: Tensor, log_x: Tensor) -> Tensor:
    """``p * log_x`` with ``0 * log_x = 0``, also where ``log_x`` is infinite or undefined.

    The gradient is zero where ``p`` is zero, so that a token nobody ever says moves nothing.
    """
    if _is_plain(log_x):
        return p * log_x
    never = p == 0
    return (p * log_x.masked_fill(never, 0.0)).masked_fill(never, 0.0)


def _is_plain(x: Tensor) -> bool:
    """Whether all numbers are finite, where looking costs less than masking: on a CPU, outside autograd."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or x.requires_grad:
        return False
    return math.isfinite(float(x.detach().sum()))


def mixture(a: Tensor, b: Tensor, *, weight: float | Tensor) -> Tensor:
    """``weight * a + (1 - weight) * b`` of probabilities; exactly ``a`` where both are equal.

    Where both are zero it is the smallest normal number and carries no gradient: its log is finite,
    because the gradient of an infinite one is undefined even where it is multiplied by zero.
    """
    return torch.lerp(b, a, weight).clamp_(min=torch.finfo(a.dtype).tiny)


def log_mixture(mixed: Tensor, a: Tensor, b: Tensor, log_a: Tensor, log_b: Tensor) -> Tensor:
    """The log of a `mixture` of ``a`` and ``b``; exactly ``log_a`` where both are equal.

    ``a`` and ``b`` are exponentials as floating point has them, so the log of their mixture alone would be
    some rounding off the logarithms that it is compared with, always to one side.
    """
    larger = torch.maximum(a, b).clamp_(min=torch.finfo(a.dtype).tiny)
    return torch.maximum(log_a, log_b) + (mixed / larger).log()


def log_one_minus_exp(log_p: Tensor) -> Tensor:
    """``log(1 - exp(log_p))`` for ``log_p <= 0`` without cancellation at either end."""
    near_zero = log_p > -math.log(2)
    return torch.where(
        near_zero,
        torch.log(-torch.expm1(torch.where(near_zero, log_p, -1.0))),
        torch.log1p(-torch.exp(torch.where(near_zero, -1.0, log_p))),
    )


def log_sum_exp(logs: Tensor) -> Tensor:
    """Log of the sum of exponentials over the first axis; "never", without gradient, where all of it is."""
    silent = (logs == -torch.inf).all(0)
    return logs.masked_fill(silent, 0.0).logsumexp(0).masked_fill(silent, -torch.inf)


@functools.cache
def _by_exp(device: torch.device) -> bool:
    """Whether exponentials are made by `torch.exp` rather than `torch.exp2`.

    On Intel's own processors its library makes them, in half the time and to the last digit; on others
    `exp2` takes half the time of `exp`, and a GPU does as well with either.
    """
    if device.type != "cpu" or not torch.backends.mkl.is_available():
        return False
    told = Path("/proc/cpuinfo")
    return "GenuineIntel" in (
        told.read_text(encoding="utf-8", errors="replace")[:512] if told.exists() else platform.processor()
    )


def exp_shifted(x: Tensor, shift: Tensor, *, scale: float = 1.0, out: Tensor | None = None) -> Tensor:
    """``exp(scale * x - shift)`` for a shift that is broadcast, in two passes over the memory.

    By way of powers of two where `torch.exp2` is quicker than `torch.exp`. The relative error is then some
    ``|scale * x|`` units in the last place; ``-inf`` gives 0.

    Args:
        x: any shape.
        shift: broadcasts to it.
        scale: a number.
        out: where to; it may be ``x`` itself.
    """
    if _by_exp(x.device):
        return torch.add(-shift, x, alpha=scale, out=out).exp_()
    return torch.add(shift * -LOG2E, x, alpha=scale * LOG2E, out=out).exp2_()


def exp(x: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``exp(x)`` the quick way; more exact near 0 than `exp_shifted`, where ``x`` is at hand."""
    if not torch.compiler.is_compiling() and _by_exp(x.device):
        return torch.exp(x, out=out)
    return torch.mul(x, LOG2E, out=out).exp2_()


class RunningNormaliser:
    """Log-sum-exp over the vocabulary, gathered tile by tile while the tiles are filled.

    Args:
        n: number of positions of the chunk.
        like: a tensor that gives device and floating-point type.
        scale: above 0; what is summed up are exponentials of ``scale`` times the tiles.
    """

    def __init__(self, n: int, like: Tensor, scale: float = 1.0) -> None:
        self._by_exp = _by_exp(like.device)
        # As the type rounds it, so that shifts and tiles are brought to powers of two by one factor.
        unit = 1.0 if self._by_exp else LOG2E
        self._factor = float(torch.tensor(scale * unit, dtype=like.dtype))
        self._scale = scale
        self._first = True
        # Not -inf: a tile in which everything is "never" must give exp(-inf - finite) = 0, not NaN.
        self._shift = torch.full((n,), LOWEST, dtype=like.dtype, device=like.device)
        self._sum = torch.zeros(n, dtype=like.dtype, device=like.device)

    def add(self, tile: Tensor, scratch: Tensor | None = None) -> None:
        """Take in a tile ``[v, n]`` of unnormalised logs; ``scratch`` is overwritten if given."""
        if tile.device.type == "cuda":
            self._shift, self._sum = kernel(_taken_in, self._factor)(tile, self._shift, self._sum)
            return
        if not self._first:
            # The largest of the first tile will do for others too, unless they go far beyond it.
            sums = self._powers(tile, self._shift, scratch)
            if bool((sums < FAR).all()):
                self._sum += sums
                return
        self._first = False
        shift = torch.maximum(self._shift, tile.amax(0) * self._factor)
        self._sum = self._sum * self._power(self._shift - shift) + self._powers(tile, shift, scratch)
        self._shift = shift

    def _power(self, exponents: Tensor) -> Tensor:
        """Of e or of two, in place."""
        return exponents.exp_() if self._by_exp else exponents.exp2_()

    def _powers(self, tile: Tensor, shift: Tensor, scratch: Tensor | None) -> Tensor:
        return self._power(torch.add(-shift, tile, alpha=self._factor, out=scratch)).sum(0)

    def value(self) -> Tensor:
        """The normaliser ``[n]`` of everything taken in so far; ``-inf`` where all was "never"."""
        shift = self._shift.double() * (self._scale / self._factor)
        return (shift + self._sum.double().log()).to(self._sum.dtype)


def _taken_in(tile: Tensor, highest: Tensor, total: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """`RunningNormaliser.add` block by block, so that a kernel reads the tile once."""
    for part in blocks(tile):
        tops = (part.amax(1) * factor).clamp(min=LOWEST)
        sums = torch.exp2(part * factor - tops[:, None]).sum(1)
        top = torch.maximum(highest, tops.amax(0))
        total = total * torch.exp2(highest - top) + (sums * torch.exp2(tops - top)).sum(0)
        highest = top
    return highest, total


def sum_of_blocks(tile: Tensor) -> Tensor:
    """The sum ``[n]`` of a tile ``[v, n]``, block by block."""
    first, *others = (part.sum(1).sum(0) for part in blocks(tile))
    return first + others[0] if others else first


def blocks(tile: Tensor) -> list[Tensor]:
    """A tile ``[v, n]`` as ``[m, b, n]``, blocks of 64 tokens, and what is left over as a single block."""
    v, n = tile.shape
    whole = v // BLOCK * BLOCK
    parts = [tile[:whole].view(v // BLOCK, BLOCK, n)] if whole else []
    return parts if whole == v else [*parts, tile[whole:][None]]


def largest(tile: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest numbers of each column of a tile ``[v, n]`` in order, and their rows, ``[k, n]``.

    Sorting out k of very many numbers is slow, so blocks are looked at first: the largest k lie in those k
    blocks that have the largest maxima.
    """
    v, n = tile.shape
    block = math.isqrt(v // k)
    if block < 2:
        return tile.topk(k, 0)
    whole = v // block * block
    maxima = tile[:whole].view(whole // block, block, n).amax(1)
    best = maxima.T.topk(k, 1, sorted=False).indices.T  # [k, n]; rows of numbers are quicker than columns
    inside = torch.arange(block, device=tile.device)
    rest = torch.arange(whole, v, device=tile.device)[:, None].expand(-1, n)
    rows = torch.cat([(best[:, None] * block + inside[:, None]).reshape(k * block, n), rest])
    numbers, at = tile.gather(0, rows).T.topk(k, 1)
    return numbers.T, rows.gather(0, at.T)
