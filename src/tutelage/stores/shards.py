"""Shards: positions of many rows in one file of tensors, mapped into memory and read a row at a time.

Beside the tensors of `tutelage.stores.payload.ARRAYS` a shard holds the keys of its rows, how many
positions each has, and a checksum a row, which is compared whenever the row is read.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tutelage.errors import Damaged
from tutelage.files import cannot_write, flush
from tutelage.stores.rows import KEY_BYTES

KEYS, COUNTS, CHECKS = "row_keys", "row_counts", "row_checks"
GOLD = "gold_log_probs"
"""What the teacher said of the token that was written, ``[N]``, where the rest does not tell it."""


def planned(counts: Sequence[int], most: int) -> list[range]:
    """Which rows each shard holds: consecutive ones with at most ``most`` positions, or a single row."""
    shards: list[range] = []
    first = positions = 0
    for row, count in enumerate(counts):
        if row > first and positions + count > most:
            shards.append(range(first, row))
            first, positions = row, 0
        positions += count
    return [*shards, range(first, len(counts))] if counts else []


def write_shard(
    path: Path, tensors: Mapping[str, Tensor], keys: Sequence[bytes], counts: Sequence[int]
) -> str:
    """Write a shard and bring it to the disk; the same content gives the same bytes.

    Args:
        path: a file that nobody else writes.
        tensors: first axes are the positions of all rows, one row after the other.
        keys, counts: of the rows, in that order.

    Returns:
        The file's SHA-256, in hexadecimal.

    Raises:
        TutelageError: the disk is full or the folder cannot be written.
    """
    checks, start = [], 0
    for count in counts:
        checks.append(_check({name: t[start : start + count] for name, t in tensors.items()}))
        start += count
    rows = {
        KEYS: torch.tensor(list(b"".join(keys)), dtype=torch.uint8).view(-1, KEY_BYTES),
        COUNTS: torch.tensor(counts, dtype=torch.int64),
        CHECKS: torch.tensor(checks, dtype=torch.int64),
    }
    try:
        content = save({**tensors, **rows})
        path.write_bytes(content)
        flush(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    return hashlib.sha256(content).hexdigest()


class Shard:
    """An open shard; only what is asked for is read from the disk.

    Args:
        path: of the file.

    Raises:
        Damaged: the file is cut short or no shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            file = safe_open(path, framework="pt")
            self.keys: Tensor = file.get_tensor(KEYS)
            self.counts: list[int] = file.get_tensor(COUNTS).tolist()
            self._checks: list[int] = file.get_tensor(CHECKS).tolist()
            names = sorted(set(file.keys()) - {KEYS, COUNTS, CHECKS})
            self._slices = {name: file.get_slice(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise damaged(path, str(error)) from error

    @property
    def names(self) -> list[str]:
        """Names of its tensors."""
        return list(self._slices)

    def row(self, row: int, start: int, count: int) -> dict[str, Tensor]:
        """The tensors of one row.

        Raises:
            Damaged: they are not what was written.
        """
        try:
            found = {name: tensor[start : start + count] for name, tensor in self._slices.items()}
        except (OSError, SafetensorError) as error:
            raise damaged(self.path, str(error)) from error
        if row >= len(self._checks) or _check(found) != self._checks[row]:
            raise damaged(self.path, f"row {row} is not what was written")
        return found


def damaged(path: Path, why: str) -> Damaged:
    """The error for a file of a cache that is not what was written."""
    return Damaged(
        f"{path}: damaged ({why})",
        expected="the file as `tutelage cache build` wrote it",
        fix="`tutelage cache verify` names all that is damaged; remove those files and build again",
    )


def _check(tensors: Mapping[str, Tensor]) -> int:
    sum_ = 0
    for name in sorted(tensors):
        content = tensors[name].contiguous()
        if content.numel():
            sum_ = zlib.crc32(memoryview(content.view(torch.uint8).numpy()), sum_)  # pyright: ignore[reportArgumentType]
    return sum_
