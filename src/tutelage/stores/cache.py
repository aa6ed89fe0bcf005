"""A finished cache, open for reading: rows are found by their content, in any order."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tutelage.errors import Damaged
from tutelage.stores.index import Index
from tutelage.stores.manifest import (
    DESCRIPTION,
    INDEX,
    LAYER,
    Description,
    Manifest,
    read_description,
    read_manifest,
)
from tutelage.stores.payload import Frame
from tutelage.stores.places import Folder, folder_at
from tutelage.stores.shards import Shard, damaged

OPEN_SHARDS = 64
"""Shards that are kept open; each takes a file handle and some address space."""


class Cache:
    """Rows of a teacher's distributions, mapped into memory.

    Args:
        folder: where it is.
        manifest: of a cache that is not finished yet; None reads the one that is there.

    Raises:
        TutelageError: there is no cache. Damaged: a file is not what was written.
    """

    def __init__(self, folder: Folder, manifest: Manifest | None = None) -> None:
        self.folder = folder
        self.manifest: Manifest = manifest or read_manifest(folder)
        description = read_description(folder)
        if description is None or description.identity != self.manifest.identity:
            raise Damaged(
                f"{folder.place}/{DESCRIPTION}: "
                + (
                    "is not there"
                    if description is None
                    else "damaged (its hash is not the cache's identity)"
                ),
                expected="the file as `tutelage cache build` wrote it",
                fix="remove the folder and build again",
            )
        self.description: Description = description
        self.index = Index.read(self.path(INDEX))
        self._open_shard = functools.lru_cache(maxsize=OPEN_SHARDS)(self._shard)

    @functools.cached_property
    def frame(self) -> Frame:
        """What all positions have in common, with the output layer where there is one."""
        layer: Mapping[str, Tensor] = {}
        if LAYER in self.manifest.files:
            path = self.path(LAYER)
            try:
                layer = load_file(path)
            except (OSError, SafetensorError) as error:
                raise damaged(path, str(error)) from error
        return Frame.read(self.description.frame, layer)

    def path(self, name: str) -> Path:
        """A file on this machine with the content of a file of the cache, compared with its hash.

        Shards do not come through here: their rows are compared one by one.

        Raises:
            Damaged: it is not in the manifest, not there, or not what was written.
        """
        if name not in self.manifest.files:
            raise Damaged(
                f"{self.folder.place}: its manifest lists no `{name}`",
                expected="the cache as `tutelage cache build` wrote it",
                fix="build it again",
            )
        path = self.folder.local(name, self.manifest.files[name].sha256)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.manifest.files[name].sha256:
            raise damaged(path, "its SHA-256 is not the one in the manifest")
        return path

    def rows(self, places: Sequence[int]) -> dict[str, Tensor]:
        """The tensors of some rows, joined in the order in which they are asked for.

        Args:
            places: of rows, as `Index.find` gives them.

        Raises:
            Damaged: what is read is not what was written.
        """
        index = self.index
        found = [
            self._open_shard(int(index.shards[place])).row(
                int(index.rows[place]), int(index.starts[place]), int(index.counts[place])
            )
            for place in places
        ]
        return {name: torch.cat([row[name] for row in found]) for name in found[0]}

    def _shard(self, number: int) -> Shard:
        shards = self.manifest.shards
        if number not in shards:
            raise Damaged(
                f"{self.folder.place}/{INDEX}: names shard {number}, which the manifest does not list",
                expected="an index and a manifest of one build",
                fix="build again with the same command",
            )
        return Shard(self.folder.local(shards[number], self.manifest.files[shards[number]].sha256))


def open_cache(place: str) -> Cache:
    """The finished cache at a path or an address."""
    return Cache(folder_at(place))
