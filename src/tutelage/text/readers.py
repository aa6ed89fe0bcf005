"""Rows of text from files and hubs, with what was recognised in them said in words.

Three layouts are recognised by their columns: `messages`, `prompt` with `completion`, and `text`.
Other columns can be laid out by format strings (`tutelage.text.Layout`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError
from tutelage.text.files import SUFFIXES, Placed, rows_of_file
from tutelage.text.hub import could_be_on_a_hub

KINDS = {"messages": ("messages",), "prompt, completion": ("prompt", "completion"), "text": ("text",)}


@dataclass(frozen=True)
class TextRows:
    """Rows as they were read.

    Attributes:
        rows: one mapping from column to value for each row.
        columns: names of the columns, in the order in which they first occur.
        found: what was recognised, such as ``found prompt, completion; 11,373 rows``.
        sha256: of the bytes of the file (of several files: of their hashes; of a hub's data: of the rows).
        path: where the rows come from.
        kind: ``messages``, ``prompt, completion``, ``text``, or "" where no layout was recognised.
        places: file and line of each row, for errors.
    """

    rows: list[dict[str, Any]]
    columns: tuple[str, ...]
    found: str
    sha256: str
    path: str
    kind: str = ""
    places: Sequence[str] = field(default=(), repr=False)

    def place(self, index: int) -> str:
        """File and line of a row: ``train.jsonl:12``."""
        return self.places[index] if index < len(self.places) else f"{self.path}: row {index + 1}"

    def __len__(self) -> int:
        return len(self.rows)


def read_rows(
    where: str | Path | Sequence[str | Path], *, split: str = "train", max_rows: int | None = None
) -> TextRows:
    """Read the rows of a file, of several files one after the other, or of a data set on a hub.

    Args:
        where: a file (.jsonl, .json, .csv, .txt, each also .gz; .parquet), a list of files, a folder
            written by `datasets.save_to_disk`, or a hub name such as ``owner/name``. A .txt file is cut
            into documents at ``<|endoftext|>``; where that never occurs at blank lines; where there are
            none at line ends.
        split: which split of a hub data set or saved folder; a file has only one.
        max_rows: only so many rows from the top.

    Raises:
        TutelageError: nothing is there, or it is broken or empty; file and line are named.
    """
    if max_rows is not None and max_rows < 1:
        raise TutelageError(
            f"max_rows is {max_rows}", expected="at least 1", fix="leave it out to read all rows"
        )
    paths = [where] if isinstance(where, str | Path) else list(where)
    if not paths:
        raise TutelageError("no file is named", expected="at least one", fix="name a file or a hub data set")
    placed: list[tuple[str, dict[str, Any]]] = []
    hashes: list[str] = []
    for path in map(str, paths):
        left = None if max_rows is None else max_rows - len(placed)
        rows, digest = _read_one(path, split, left)
        placed += rows
        hashes.append(digest)
    label = ", ".join(map(str, paths))
    sha256 = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return _recognised(label, [row for _, row in placed], [place for place, _ in placed], sha256, max_rows)


def _read_one(path: str, split: str, limit: int | None) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    if Path(path).is_dir():
        return _saved_folder(path, split, limit)
    if not Path(path).exists():
        if not _could_be_a_hub_name(path):
            raise TutelageError(
                f"{path}: there is no such file",
                expected="a file, a list of files, or a hub name such as owner/name",
                fix=f"check the path; it is looked up from {_here()}",
            )
        return _from_hub(path, split, limit)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise TutelageError(
            f"{path}: can't be read ({error.strerror})",
            expected="a readable file",
            fix="check its permissions",
        ) from error
    rows: Iterator[Placed] = rows_of_file(Path(path), content)
    joint = ": row " if ".parquet" in path or (".json" in path and content.lstrip()[:1] == b"[") else ":"
    taken = [(f"{path}{joint}{line}", row) for line, row in itertools.islice(rows, limit)]
    return taken, hashlib.sha256(content).hexdigest()


def _could_be_a_hub_name(path: str) -> bool:
    # A name that ends like a file was meant to be one: a typing error must not become a download.
    return could_be_on_a_hub(path) and not path.lower().endswith(SUFFIXES)


def _here() -> str:
    return os.path.basename(os.getcwd()) or "/"


def _saved_folder(path: str, split: str, limit: int | None) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    if not any((Path(path) / name).exists() for name in ("dataset_info.json", "dataset_dict.json")):
        files = sorted(p.name for p in Path(path).iterdir() if p.name.lower().endswith(SUFFIXES))
        raise TutelageError(
            f"{path}: a folder, and not one that `datasets` saved",
            expected="a file, or a folder written by `save_to_disk`",
            fix=f"name its files, such as {Path(path) / files[0]}" if files else "name a file",
        )
    from datasets import DatasetDict, load_from_disk  # two seconds; most runs read plain files

    try:
        loaded = load_from_disk(path)
    except Exception as error:  # whatever `datasets` makes of a damaged folder
        raise TutelageError(
            f"{path}: can't be opened as a saved data set ({_first_line(error)})",
            expected="a folder written by `datasets.save_to_disk`",
            fix="save it again",
        ) from error
    if isinstance(loaded, DatasetDict):
        if split not in loaded:
            raise TutelageError(
                f"{path}: has no split '{split}'",
                expected=f"one of {', '.join(map(str, loaded))}",
                fix=f"write `split: {next(iter(loaded), split)}`",
            )
        loaded = loaded[split]
    return _rows_of_dataset(path, loaded, limit)


def _from_hub(name: str, split: str, limit: int | None) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    from datasets import load_dataset

    try:
        loaded = load_dataset(name, split=split)
    except Exception as error:  # network, authorisation, unknown names and splits all look different
        raise TutelageError(
            f"{name}: neither a file here nor a data set that the hub gives out ({_first_line(error)})",
            expected="an existing file, or the name and a split of a reachable hub data set",
            fix=f"check the spelling, `split: {split}` and the network; a local file needs its full path",
        ) from error
    return _rows_of_dataset(name, loaded, limit)


def _rows_of_dataset(
    path: str, loaded: Any, limit: int | None
) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    if limit is not None:
        loaded = loaded.select(range(min(limit, len(loaded))))
    rows = [dict(row) for row in loaded]
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return [(f"{path}: row {number}", row) for number, row in enumerate(rows, 1)], digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _recognised(
    path: str, rows: list[dict[str, Any]], places: list[str], sha256: str, max_rows: int | None
) -> TextRows:
    if not rows:
        raise TutelageError(f"{path}: no rows", expected="at least one row", fix="name another file")
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    kind = next((kind for kind, needed in KINDS.items() if set(needed) <= set(columns)), "")
    counted = f"{len(rows):,} row{'s' if len(rows) > 1 else ''}"
    first = ", the first of the file" if len(rows) == max_rows else ""
    found = f"found {kind or ', '.join(map(str, columns))}; {counted}{first}"
    return TextRows(rows, columns, found, sha256, path, kind, places)
