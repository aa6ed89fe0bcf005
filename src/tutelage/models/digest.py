"""Which weights are these? A hash of a checkpoint's tensors, taken from its files without loading a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from tutelage.errors import Damaged, TutelageError

BLOCK = 2**22
FILES = ("model.safetensors", "model.safetensors.index.json")


def weights_digest(where: str) -> str:
    """SHA-256 over the tensors of a checkpoint (name, type, shape and bytes), in hexadecimal.

    It does not depend on how the tensors are spread over files, nor on the files' metadata.

    Args:
        where: a folder with safetensors, or a hub name whose files are in the hub's local cache.

    Raises:
        TutelageError: no safetensors are there. Damaged: a file is cut short or no safetensors file.
    """
    folder = Path(where) if Path(where).is_dir() else _from_hub(where)
    files = sorted(folder.glob("*.safetensors")) if folder is not None else []
    if not files:
        raise TutelageError(
            f"{where}: no weights in safetensors to tell it apart by",
            expected="a folder with model.safetensors, or a hub name that was opened on this machine before",
            fix="name the folder of the checkpoint",
        )
    sha256 = hashlib.sha256()
    named = sorted((name, path, told, start) for path in files for name, told, start in _tensors(path))
    for name, path, told, start in named:
        sha256.update(json.dumps([name, told["dtype"], told["shape"]]).encode())
        first, last = told["data_offsets"]
        with path.open("rb") as file:
            file.seek(start + first)
            left = last - first
            while left:
                block = file.read(min(BLOCK, left))
                if not block:
                    raise _damaged(path, "it is cut short")
                sha256.update(block)
                left -= len(block)
    return sha256.hexdigest()


def _tensors(path: Path) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Name, header and start of the data of every tensor of a file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        for name, told in header.items():
            if name != "__metadata__":
                _ = told["dtype"], told["shape"], told["data_offsets"]
                yield name, told, 8 + length
    except (ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise _damaged(path, str(error)) from error


def _from_hub(name: str) -> Path | None:
    for file in FILES:
        try:
            found: Any = cached_file(name, file, local_files_only=True)
        except (OSError, ValueError):
            continue
        if found is not None:
            return Path(found).parent
    return None


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(
        f"{path}: no whole safetensors file ({why})",
        expected="the file as `save_pretrained` wrote it",
        fix="copy the checkpoint again",
    )
