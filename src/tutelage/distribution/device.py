"""What depends on the device: how large the pieces are that work is cut into, and the type of products.

A CPU wants pieces that stay in its cache; a GPU wants few large ones, one kernel each.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    """How work is cut.

    Attributes:
        tokens: of the vocabulary in one slice, at least.
        elements: of a tile in one slice, where that is more; see `cut`.
        part: elements of a tile that a divergence sees at a time.
        tile_bytes: target size of one tile over the whole vocabulary; two of them exist at a time.
        few: positions of a chunk that make slow products; a tile may be twice as large where it held no more.
        most_rows: positions of a chunk at most.
        aligned: positions of a tile are a multiple of it; some may be there for that alone.
        twice: whether slopes are computed a second time where they are needed, in one kernel with all that
            is made of them, instead of being kept.
    """

    tokens: int = 1024
    elements: int = 0
    part: int = 2**18
    tile_bytes: int = 128 * 2**20
    few: int = 384
    most_rows: int = 1024
    aligned: int = 1
    twice: bool = False

    def slices(self, vocab_size: int) -> Iterator[slice]:
        """The vocabulary cut into slices."""
        for start in range(0, vocab_size, self.tokens):
            yield slice(start, min(start + self.tokens, vocab_size))

    def cut(self, rows: int) -> Sizes:
        """The same with slices as long as so many positions allow."""
        return replace(self, tokens=max(self.tokens, self.elements // max(rows, 1)))

    def most(self, vocab_size: int) -> int:
        """Positions of a chunk at most, in steps of 64."""
        rows = self.tile_bytes // (4 * vocab_size)
        rows = max(rows, min(self.few, 2 * rows))
        return max(64, min(self.most_rows, rows // 64 * 64))

    def in_parts(self, rows: int) -> Sizes:
        """The same with slices no longer than a part."""
        return replace(self, tokens=max(1, self.part // rows))

    def align(self, rows: Tensor) -> Tensor:
        """Indices ``[n]`` of positions; the first is repeated until their number is `aligned`."""
        missing = -len(rows) % self.aligned
        return torch.cat([rows, rows[:1].expand(missing)]) if missing else rows


ON_CPU = Sizes()
"""A slice of a few hundred positions stays in a CPU's cache, and so does what a divergence makes of a part:
small enough that the memory for it is used again instead of being asked for anew."""

ON_GPU = Sizes(
    tokens=16384, elements=2**28, part=2**26, tile_bytes=2**30, most_rows=8192, aligned=8, twice=True
)
"""A slice fills a GPU many times over and is as long as memory allows, because every call costs; what runs
eagerly sees less at a time, since each of its intermediate results is written out; rows of eight numbers lie
where the matrix units want them."""


@functools.cache
def sizes(device: torch.device) -> Sizes:
    """How work is cut on a device; a tile may take a 32nd of a GPU's memory."""
    if device.type != "cuda":
        return ON_CPU
    return replace(ON_GPU, tile_bytes=torch.cuda.get_device_properties(device).total_memory // 32)


@functools.cache
def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 can be had in float32 there, and quicker than those of float32."""
    return (
        device.type == "cuda"
        and hasattr(torch.ops.aten.addmm, "dtype_out")  # torch 2.8
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )


def add_product(out: Tensor, a: Tensor, b: Tensor, *, keep: bool = True) -> None:
    """``out = keep * out + a @ b``, added up in float32 (or float64) where the factors are bfloat16.

    Without ``keep`` nothing of what is there is read, not even a NaN.
    """
    if a.dtype == out.dtype:
        out.addmm_(a, b, beta=int(keep))
    else:
        torch.addmm(out, a, b, beta=int(keep), out_dtype=out.dtype, out=out)
