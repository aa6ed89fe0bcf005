"""Bytes of a file as rows, each with the line it stands on; every fault names file and line.

A file is read whole. Compressed files are told by their name (`.gz`); a parquet file by `.parquet`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tutelage.errors import Damaged, TutelageError

Placed = tuple[int, dict[str, Any]]
"""A row and the line (or, where a format has no lines, the row number) at which it stands."""

DOCUMENT_END = "<|endoftext|>"
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".txt", ".txt.gz", ".parquet")


def rows_of_file(path: Path, content: bytes) -> Iterator[Placed]:
    """The rows of one file, in order.

    Raises:
        TutelageError: the file is of no known kind, empty, or broken at some line.
        Damaged: a compressed or parquet file is cut short.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise TutelageError(
            f"{path}: not a kind of file that is read",
            expected=f"a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
            fix="convert it to .jsonl: one JSON object a line, with the columns as keys",
        )
    if name.endswith(".parquet"):
        return _parquet(path, content)
    text = decoded(path, unpacked(path, content) if name.endswith(".gz") else content)
    if not text.strip():
        raise TutelageError(
            f"{path}: the file is empty", expected="at least one row", fix="name another file"
        )
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "json" and text.lstrip().startswith("["):
        return _json_array(path, text)
    return {"jsonl": _json_lines, "json": _json_lines, "csv": _csv, "txt": _documents}[kind](path, text)


def unpacked(path: Path, content: bytes) -> bytes:
    """What a gzip file holds."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(
            f"{path}: not a whole gzip file ({error})",
            expected="a file that `gzip -t` accepts",
            fix="copy it again: it was cut short or changed; if it is not compressed, drop the `.gz`",
        ) from error


def decoded(path: Path, content: bytes) -> str:
    """Bytes as UTF-8 text; a byte-order mark in front is dropped."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TutelageError(
            f"{path}:{line}: byte {error.object[error.start]:#04x} is not UTF-8",
            expected="text in UTF-8",
            fix=f"convert it, for instance `iconv -f latin1 -t utf-8 {path.name}`",
        ) from error


def _json_lines(path: Path, text: str) -> Iterator[Placed]:
    # Not splitlines: a JSON string may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _object(f"{path}:{number}", _parsed(f"{path}:{number}", line))


def _json_array(path: Path, text: str) -> Iterator[Placed]:
    rows = _parsed(str(path), text)
    if not rows:
        raise TutelageError(f"{path}: an empty list", expected="at least one row", fix="name another file")
    for number, row in enumerate(rows, 1):
        yield number, _object(f"{path}: row {number}", row)


def _parsed(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if "\n" in text.strip():
            place = f"{place}:{error.lineno}"
        raise TutelageError(
            f"{place}: not JSON ({error.msg} at column {error.colno}: {_shortened(text, error.pos)})",
            expected='one JSON object a line, such as {"text": "Once upon a time"}',
            fix="mend that line, or write the file with a JSON library",
        ) from error
    except (ValueError, RecursionError) as error:
        raise TutelageError(
            f"{place}: JSON that can't be read ({error})",
            expected="plain objects with strings, numbers and short lists",
            fix="mend that line",
        ) from error


def _object(place: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise TutelageError(
            f"{place}: {_shortened(json.dumps(row), 0)} is not a row",
            expected="a JSON object with the columns as keys",
            fix='write {"text": ...}, {"prompt": ..., "completion": ...} or {"messages": [...]}',
        )
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise TutelageError(
            f"{place}: half a character ({error.object[error.start]!r}, a lone surrogate)",
            expected="text that UTF-8 can write",
            fix="write the file again from the original text",
        ) from error
    return row


def _shortened(text: str, at: int) -> str:
    piece = text[max(0, at - 10) : at + 20].strip()
    return repr(piece if len(text) <= 30 else f"...{piece}...")


def _csv(path: Path, text: str) -> Iterator[Placed]:
    csv.field_size_limit(2**31 - 1)  # the default refuses a long document
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines)
        if len(set(header)) < len(header) or not all(header):
            raise TutelageError(
                f"{path}:1: the header is {', '.join(map(repr, header))}",
                expected="a name for every column, each once",
                fix="write a first line such as `prompt,completion`",
            )
        start = lines.line_num + 1
        for values in lines:
            if values and len(values) != len(header):
                raise TutelageError(
                    f"{path}:{start}: {len(values)} values under {len(header)} columns",
                    expected=f"one value for each of {', '.join(header)}",
                    fix='put a value that holds a comma into double quotes: "a, b"',
                )
            if values:
                yield start, dict(zip(header, values, strict=True))
            start = lines.line_num + 1
    except csv.Error as error:
        raise TutelageError(
            f"{path}:{lines.line_num}: not CSV ({error})",
            expected="comma-separated values, quotes closed",
            fix="mend that line, or write the file with a CSV library",
        ) from error


def _documents(path: Path, text: str) -> Iterator[Placed]:
    """Documents end at `<|endoftext|>`; without it at blank lines; without those at line ends."""
    text = text.replace("\r\n", "\n")
    blank_lines = any(not line.strip() for line in text.strip().split("\n"))
    end = DOCUMENT_END if DOCUMENT_END in text else None
    lines: list[str] = []
    first = 1

    def finished(pieces: list[str], line: int) -> Iterator[Placed]:
        document = "\n".join(pieces)
        if document.strip():
            blank = next(i for i, piece in enumerate(pieces) if piece.strip())
            yield line + blank, {"text": document.strip("\n")}

    for number, line in enumerate(text.split("\n"), 1):
        if end is not None:
            *closed, rest = line.split(end)
            for piece in closed:
                yield from finished([*lines, piece], first)
                lines, first = [], number
            lines.append(rest)
        elif blank_lines and line.strip():
            lines.append(line)
        else:
            yield from finished([*lines, line], first)
            lines, first = [], number + 1
    yield from finished(lines, first)


def _parquet(path: Path, content: bytes) -> Iterator[Placed]:
    # Imported here: pyarrow costs a command line that reads no parquet a third of a second.
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
        rows = table.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise Damaged(
            f"{path}: not a whole parquet file ({str(error).splitlines()[0]})",
            expected="a file that pyarrow can read",
            fix="copy it again, or write it anew",
        ) from error
    if not rows:
        raise TutelageError(f"{path}: no rows", expected="at least one row", fix="name another file")
    yield from enumerate(rows, 1)
