"""How long the rows of a recipe's text are, from its files and tokenizer, without torch."""

from __future__ import annotations

import gzip
import json
import statistics
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BYTES_A_TOKEN = 4.0
"""Where the tokenizer cannot be asked; usual for English and a vocabulary of some ten thousand tokens."""

SAMPLED = 400
"""Rows that are tokenised, spread over the text."""

DOCUMENT_END = "<|endoftext|>"


@dataclass(frozen=True)
class Lengths:
    """What is known of the rows of a text.

    Attributes:
        rows: how many there are; None where the file was not read (a hub name, parquet).
        mean: tokens of a row, cut at `max_length`.
        longest: tokens of the longest row that was looked at.
        padded: mean over micro-batches of the longest row in each.
        asked: whether a tokenizer was asked; else bytes were divided (``uncertain``).
    """

    rows: int | None
    mean: float
    longest: int
    padded: float
    asked: bool


def lengths_of(options: Mapping[str, Any], tokenizer: str | None, micro_rows: int) -> Lengths:
    """The rows of a text as the options of samples describe them.

    Args:
        options: of the samples: `data`, `prompt`, `completion`, `max_length`, `long`, `max_rows`.
        tokenizer: folder with a `tokenizer.json`, or None.
        micro_rows: rows of a micro-batch, for how much is padded.
    """
    most = int(options.get("max_length", 512))
    data = options["data"]
    texts: list[str] | None = []
    for one in data if isinstance(data, list | tuple) else [data]:
        found = _texts(Path(str(one)), options)
        texts = None if found is None or texts is None else texts + found
    if not texts:
        return Lengths(None, float(most), most, float(most), False)
    if options.get("max_rows"):
        texts = texts[: int(options["max_rows"])]
    stride = max(1, len(texts) // SAMPLED)
    counted, asked = _tokens(texts[::stride], tokenizer)
    rows = float(len(texts))
    split = (options.get("long") or "split") == "split" and not options.get("completion")
    if split:
        # Pieces of a long text are rows of their own.
        pieces = [[most] * (n // most) + ([n % most] if n % most else []) for n in counted]
        rows *= sum(map(len, pieces)) / len(pieces)
        counted = [n for row in pieces for n in row]
    cut = [min(n, most) for n in counted]
    groups = [cut[start : start + micro_rows] for start in range(0, len(cut), micro_rows)]
    return Lengths(int(rows), statistics.fmean(cut), max(cut), statistics.fmean(map(max, groups)), asked)


def tokens_of(tokenizer: str | None) -> int | None:
    """How many tokens a tokenizer in a folder has; None where it cannot be asked."""
    opened = _opened(tokenizer)
    return None if opened is None else int(opened.get_vocab_size())


def _texts(path: Path, options: Mapping[str, Any]) -> list[str] | None:
    """Rows as plain text; None for what is not read here."""
    name = path.name.lower().removesuffix(".gz")
    if not path.is_file() or not name.endswith((".txt", ".jsonl", ".json")):
        return None
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.name.lower().endswith(".gz") else raw).decode("utf-8", "replace")
        if name.endswith(".txt"):
            return [part for part in text.split(DOCUMENT_END) if part.strip()]
        whole = text.lstrip().startswith("[")
        rows = json.loads(text) if whole else [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, EOFError, ValueError):
        return None  # whoever opens it for the run says what is wrong with it
    return [_laid_out(row, options) for row in rows if isinstance(row, dict)]


def _laid_out(row: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    layout = [str(options[part]) for part in ("prompt", "completion") if options.get(part)]
    columns = {key: "" if value is None else str(value) for key, value in row.items()}
    if layout:
        try:
            return string.Formatter().vformat("".join(layout), (), columns)
        except (KeyError, IndexError, ValueError):
            pass
    known = [columns[key] for key in ("text", "prompt", "completion", "messages") if key in columns]
    return "".join(known or columns.values())


def _tokens(texts: Iterable[str], tokenizer: str | None) -> tuple[list[int], bool]:
    # A start token in front of every row, and the end token behind it.
    opened = _opened(tokenizer)
    if opened is None:
        return [2 + int(len(text.encode()) / BYTES_A_TOKEN) for text in texts], False
    return [2 + len(one.ids) for one in opened.encode_batch(list(texts), add_special_tokens=False)], True


def _opened(tokenizer: str | None) -> Any:
    path = Path(tokenizer or "") / "tokenizer.json"
    if tokenizer is None or not path.is_file():
        return None
    try:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(path))
    except Exception:  # the library has no error class of its own for a file that it cannot read
        return None
