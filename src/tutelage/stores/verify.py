"""Is a cache what was written? Every file's hash, and whether index and shards tell the same rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tutelage.errors import Damaged, TutelageError
from tutelage.stores.index import Index
from tutelage.stores.manifest import (
    DESCRIPTION,
    INDEX,
    MANIFEST,
    FileRecord,
    Manifest,
    read_description,
    read_manifest,
)
from tutelage.stores.places import Folder, folder_at
from tutelage.stores.shards import Shard


@dataclass(frozen=True)
class Verified:
    """What `tutelage cache verify` found.

    Attributes:
        place: of the cache.
        files: files that were read.
        bytes: how much that was.
        rows, tokens: of the manifest.
        damage: one line a fault, the file's name first; empty where the cache is what was written.
    """

    place: str
    files: int
    bytes: int
    rows: int
    tokens: int
    damage: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        """0 where all is well, 3 where something is damaged."""
        return 3 if self.damage else 0

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        return asdict(self) | {"exit_status": self.exit_status}

    def text(self) -> str:
        """For people."""
        if not self.damage:
            return (
                f"{self.place}: {self.files} files, {self.bytes:,} bytes, {self.rows:,} rows, "
                f"{self.tokens:,} tokens: as they were written"
            )
        fix = "to mend it, remove those files and give the same `tutelage cache build` command again"
        return "\n".join([f"{self.place}: DAMAGED", *(f"  {line}" for line in self.damage), fix])


def verify(place: str) -> Verified:
    """Read a whole cache and compare it with its manifest; a remote one is read where it lies.

    Raises:
        TutelageError: there is no cache at all, or it cannot be reached.
    """
    folder = folder_at(place)
    if folder.read(DESCRIPTION) is None and folder.read(MANIFEST) is None:
        read_manifest(folder)  # says what is missing
    try:
        manifest = read_manifest(folder)
    except (Damaged, TutelageError) as error:
        return Verified(place, 0, 0, 0, 0, (error.problem,))
    there = folder.names()
    damage = [line for name, file in manifest.files.items() for line in _file(folder, there, name, file)]
    if not damage:
        damage = _contents(folder, manifest)
    return Verified(place, len(manifest.files), manifest.bytes, manifest.rows, manifest.tokens, tuple(damage))


def _file(folder: Folder, there: dict[str, int], name: str, file: FileRecord) -> list[str]:
    if name not in there:
        return [f"{name}: is not there"]
    if there[name] != file.bytes:
        return [f"{name}: {there[name]:,} bytes, in the manifest {file.bytes:,}"]
    try:
        found = folder.hash(name)
    except OSError as error:
        return [f"{name}: cannot be read ({error.strerror or error})"]
    return [] if found == file.sha256 else [f"{name}: its SHA-256 is not the one in the manifest"]


def _contents(folder: Folder, manifest: Manifest) -> list[str]:
    """What hashes do not tell: that the files are those of one build."""
    damage = []
    description = read_description(folder)
    if description is None or description.identity != manifest.identity:
        damage.append(f"{DESCRIPTION}: its hash is not the cache's identity")
    try:
        index = Index.read(folder.local(INDEX, manifest.files[INDEX].sha256))
    except Damaged as error:
        return [*damage, error.problem]
    if len(index) != manifest.rows or int(index.counts.sum()) != manifest.tokens:
        damage.append(
            f"{INDEX}: {len(index):,} rows of {int(index.counts.sum()):,} tokens, in the manifest "
            f"{manifest.rows:,} rows of {manifest.tokens:,}"
        )
    for number, name in manifest.shards.items():
        here = index.shards == number
        order = index.rows[here].argsort()
        shard = Shard(folder.local(name, manifest.files[name].sha256))
        keys, counts = index.keys[here][order], index.counts[here][order]
        if keys.tobytes() != shard.keys.numpy().tobytes() or counts.tolist() != shard.counts:
            damage.append(f"{name}: holds other rows than {INDEX} says")
    return damage
