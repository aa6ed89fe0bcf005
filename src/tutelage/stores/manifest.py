"""What a cache says about itself: a description, whose hash is its identity, and a manifest of its files.

`description.json` is written first and holds all that the content follows from: weights, tokenizer,
template, text, form. `manifest.json` is written last and holds size and SHA-256 of every file, so a folder
without it is a build that has not ended. Names of files and places, which change nothing, are told in
the manifest for people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.errors import Damaged, TutelageError
from tutelage.stores.places import Folder

DESCRIPTION, MANIFEST, INDEX = "description.json", "manifest.json", "index.safetensors"
LAYER, VOCABULARY, TOKENIZER, SHARDS = "layer.safetensors", "vocabulary.json", "tokenizer/", "shards/"
VERSION = 1


@dataclass(frozen=True)
class Description:
    """All that the content of a cache follows from, as plain JSON values.

    Attributes:
        form: how much of a distribution is kept (`tutelage.stores.payload.Form`).
        frame: what all positions have in common, without the output layer.
        teacher: kinds, options and hashes of weights.
        dtype: floating-point type in which the teacher was computed.
        tokenizer: hashes of tokens, rules and chat template with which the text was laid out, end token.
        text: what was read (hashes), how it was laid out, and a hash of all keys of rows.
        columns: columns of the data that the teacher looks at.
        shard_tokens: counted tokens in a shard at most.
    """

    form: Mapping[str, Any]
    frame: Mapping[str, Any]
    teacher: Mapping[str, Any]
    dtype: str | None
    tokenizer: Mapping[str, Any]
    text: Mapping[str, Any]
    columns: tuple[str, ...]
    shard_tokens: int
    version: int = VERSION

    def file(self) -> bytes:
        """The content of `description.json`; the same description gives the same bytes."""
        return encoded(asdict(self))

    @property
    def identity(self) -> str:
        """The cache's name by content: SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.file()).hexdigest()

    def differences(self, other: Description, here: str = "here", there: str = "there") -> list[str]:
        """Every value that differs, as ``text.max_length: 192 here, 256 there``."""
        return differences(asdict(self), asdict(other), here, there)


@dataclass(frozen=True)
class FileRecord:
    """Size and hash of a file of a cache."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is in a finished cache.

    Attributes:
        identity: of its description.
        rows: rows of text.
        tokens: counted positions of all rows.
        files: size and hash of every other file, by name.
        measured: what the cache gives back compared with the teacher, in nats per token.
        recorded: for people: names of teacher and text, versions.
    """

    identity: str
    rows: int
    tokens: int
    files: Mapping[str, FileRecord]
    measured: Mapping[str, Any] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files.values())

    @property
    def shards(self) -> dict[int, str]:
        """Names of the shards by their numbers."""
        names = sorted(name for name in self.files if name.startswith(SHARDS))
        return {shard_number(name): name for name in names}

    def file(self) -> bytes:
        """The content of `manifest.json`."""
        return encoded(asdict(self))


def shard_name(number: int, sha256: str) -> str:
    """The name of a shard: its number and its hash, so that no file is ever replaced by another."""
    return f"{SHARDS}{number:06d}-{sha256}.safetensors"


def shard_number(name: str) -> int:
    """The number in the name of a shard."""
    return int(name.removeprefix(SHARDS).partition("-")[0])


def read_description(folder: Folder) -> Description | None:
    """What a cache, or one that is being built, says about itself; None where there is none.

    Raises:
        Damaged: the file is not what was written.
    """
    content = folder.read(DESCRIPTION)
    return None if content is None else _read(folder, DESCRIPTION, content, _description)


def read_manifest(folder: Folder) -> Manifest:
    """What is in a finished cache.

    Raises:
        TutelageError: there is no cache, or its build has not ended.
        Damaged: the file is not what was written.
    """
    content = folder.read(MANIFEST)
    if content is None:
        begun = folder.read(DESCRIPTION) is not None
        raise TutelageError(
            f"{folder.place}: " + ("a cache whose build has not ended" if begun else "no cache there"),
            expected=f"a folder or an address with a `{MANIFEST}`",
            fix="give the same `tutelage cache build` command again; it goes on where it was"
            if begun
            else f"tutelage cache build RECIPE --out {folder.place}",
        )
    return _read(folder, MANIFEST, content, _manifest)


def encoded(value: Any) -> bytes:
    """JSON with its keys in order, for files whose bytes are compared."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def differences(ours: Any, theirs: Any, here: str, there: str) -> list[str]:
    """Every leaf of two JSON values that differs, with both values."""
    flat, other = dict(_flat(ours)), dict(_flat(theirs))
    return [
        f"{key}: {_shown(flat.get(key))} {here}, {_shown(other.get(key))} {there}"
        for key in dict.fromkeys([*flat, *other])
        if flat.get(key) != other.get(key)
    ]


def _flat(value: Any, key: str = "") -> list[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    found: list[tuple[str, Any]] = []
    for part, item in items:
        name = f"{key}.{part}" if key else str(part)
        nested = isinstance(item, Mapping | list | tuple) and len(item) > 0
        found += _flat(item, name) if nested else [(name, item)]
    return found


def _shown(value: Any) -> str:
    text = "none" if value is None or value in ([], {}, ()) else str(value)
    # Hashes and lists of tokens are told apart by their beginnings.
    return text if len(text) <= 40 else f"{text[:16]}..."


def _description(said: dict[str, Any]) -> Description:
    return Description(**{**said, "columns": tuple(said["columns"])})


def _manifest(said: dict[str, Any]) -> Manifest:
    return Manifest(**{**said, "files": {name: FileRecord(**file) for name, file in said["files"].items()}})


def _read(folder: Folder, name: str, content: bytes, make: Any) -> Any:
    try:
        said = json.loads(content)
        version = said["version"]
        if version != VERSION:
            raise TutelageError(
                f"{folder.place}/{name}: written in version {version} of the format",
                expected=f"version {VERSION}",
                fix="build it again with this version of tutelage",
            )
        return make(said)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"{folder.place}/{name}: damaged ({type(error).__name__}: {error})",
            expected="the file as `tutelage cache build` wrote it",
            fix="remove the folder and build again",
        ) from error
