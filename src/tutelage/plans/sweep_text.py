"""One text in two halves: what teachers learn from, and what students learn from, document by document."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

from tutelage.errors import TutelageError
from tutelage.files import write_text

LONG = 50_000
"""Characters of documents in one row: runs split it into pieces, so that nearly every piece is full."""

PARTS = ("teacher", "student")


def halves(text: Path, folder: Path) -> dict[str, int]:
    """Write every second document to each half, joined to long rows; the bytes of each half.

    Args:
        text: a .jsonl or .jsonl.gz file whose rows have a `text`.
        folder: where ``teacher.jsonl`` and ``student.jsonl`` go.

    Raises:
        TutelageError: the file cannot be read, or has rows without text, or fewer than two.
    """
    rows: dict[str, list[str]] = {part: [] for part in PARTS}
    waiting: dict[str, list[str]] = {part: [] for part in PARTS}
    for number, document in enumerate(_documents(text)):
        part = PARTS[number % 2]
        waiting[part].append(document)
        if sum(map(len, waiting[part])) >= LONG:
            rows[part].append("\n\n".join(waiting[part]))
            waiting[part] = []
    for part, left in waiting.items():
        rows[part] += ["\n\n".join(left)] if left else []
    if not all(rows.values()):
        raise TutelageError(
            f"{text}: fewer than two documents",
            expected="one for teachers and one for students at least",
            fix="give more text, one document a row",
        )
    for part, some in rows.items():
        lines = (json.dumps({"text": row}, ensure_ascii=False) for row in some)
        write_text(folder / f"{part}.jsonl", "".join(f"{line}\n" for line in lines))
    return {part: sum(len(row.encode()) for row in some) for part, some in rows.items()}


def _documents(text: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(text), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise TutelageError(
                f"{text}:{number}: no row with a `text`",
                expected='lines such as {"text": "..."}',
                fix="write every document as such a line",
            ) from error
        if not isinstance(document, str):
            raise TutelageError(
                f"{text}:{number}: `text` is {type(document).__name__}",
                expected="a string",
                fix="mend the line",
            )
        if document.strip():
            yield document


def _lines(text: Path) -> Iterator[str]:
    opened = gzip.open if text.name.endswith(".gz") else io.open
    try:
        with opened(text, "rt", encoding="utf-8") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise TutelageError(
            f"{text}: cannot be read ({getattr(error, 'strerror', None) or error})",
            expected="a .jsonl or .jsonl.gz file, UTF-8, one document a row",
            fix="check the path",
        ) from error
