"""Where in a cache a row is: its key, the shard, and from which position to which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tutelage.errors import Damaged
from tutelage.stores.rows import KEY_BYTES


@dataclass(frozen=True)
class Entry:
    """One row of a cache.

    Attributes:
        key: of its content.
        shard: number of the shard that holds it.
        row: its number in that shard.
        start: its first position in the shard.
        count: how many positions it has.
    """

    key: bytes
    shard: int
    row: int
    start: int
    count: int


@dataclass(frozen=True, eq=False)
class Index:
    """All rows of a cache, sorted by key, so that one is found in the logarithm of their number.

    Attributes:
        keys: ``[R, KEY_BYTES]``, bytes.
        shards, rows, starts, counts: ``[R]`` each, as in `Entry`.
    """

    keys: np.ndarray
    shards: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Index:
        """The index of these rows; each key once."""
        ordered = sorted(entries, key=lambda entry: entry.key)
        keys = np.frombuffer(b"".join(entry.key for entry in ordered), dtype=np.uint8)
        columns = ([getattr(entry, name) for entry in ordered] for name in ("shard", "row", "start", "count"))
        return cls(keys.reshape(-1, KEY_BYTES), *(np.array(column, dtype=np.int64) for column in columns))

    @classmethod
    def read(cls, path: Path) -> Index:
        """The index in a file.

        Raises:
            Damaged: the file is not what was written.
        """
        try:
            found = load_file(path)
            return cls(**{field.name: found[field.name] for field in fields(cls)})
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise Damaged(
                f"{path}: the index of the cache cannot be read ({error})",
                expected="the file as it was written",
                fix="`tutelage cache verify` names all that is damaged; build the cache again",
            ) from error

    def file(self) -> bytes:
        """The content of the file that `read` reads."""
        return save({field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)})

    def find(self, keys: Sequence[bytes]) -> list[int]:
        """The place of each key in this index; -1 where there is none."""
        if not len(self):
            return [-1] * len(keys)
        sorted_keys = self.keys.view(f"S{KEY_BYTES}")[:, 0]
        asked = np.frombuffer(b"".join(keys), dtype=f"S{KEY_BYTES}")
        places = np.searchsorted(sorted_keys, asked).clip(max=len(self) - 1)
        return [
            int(place) if self.keys[place].tobytes() == key else -1
            for place, key in zip(places, keys, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.keys)
