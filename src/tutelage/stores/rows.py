"""What a row of text is called in a cache: a hash of its tokens and of which of them count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tutelage.interfaces import Batch

KEY_BYTES = 16


def row_key(
    tokens: Sequence[int] | np.ndarray, counted: Sequence[bool] | np.ndarray, columns: Sequence[Any] = ()
) -> bytes:
    """The key of a row, ``KEY_BYTES`` long: rows with the same content have the same one.

    Args:
        tokens: ids of the real tokens, without padding.
        counted: true at the counted ones; the first token of a row never counts, whatever this says.
        columns: values of the columns that the teacher looks at, such as the one that routes a mixture.
    """
    mask = np.array(counted, dtype=bool)
    mask[:1] = False
    key = hashlib.blake2b(digest_size=KEY_BYTES, person=b"tutelage row 1")
    key.update(len(mask).to_bytes(8, "little"))
    key.update(np.asarray(tokens, dtype="<i8").tobytes())
    key.update(np.packbits(mask).tobytes())
    if columns:
        key.update(json.dumps([str(value) for value in columns]).encode())
    return key.digest()


def keys_of(batch: Batch, columns: Sequence[str] = ()) -> list[bytes]:
    """The keys of the rows of a batch; padding, on either side, changes none."""
    tokens, attention, mask = (t.cpu().numpy() for t in (batch.tokens, batch.attention, batch.mask))
    return [
        row_key(row[real], counts[real], [batch.columns[name][i] for name in columns])
        for i, (row, real, counts) in enumerate(zip(tokens, attention, mask, strict=True))
    ]
