"""The text of the miniature scaling study: bytes of instructions with answers, split by document.

A token is a byte, so the vocabulary has 256 and no text is out of it. Teachers and students learn from
disjoint halves, and both are measured on documents that neither saw.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tutelage.errors import TutelageError
from tutelage.files import write_text
from tutelage.reproductions.e2e import HOME as E2E

HOME = E2E.parent / "dolly"
PARTS = ("train", "dev", "eval")
CONTEXT = 128
"""Tokens that a model sees at most, so a piece of text has one more: the last is only said."""

SHARES = {"teacher": 0.45, "student": 0.45, "held_out": 0.10}
ROW = 60_000
"""Bytes of documents in one row of a file, roughly; recipes split it into pieces of the context."""

SEPARATOR = "\0"
"""Between two documents, and the end token: no document has that byte."""

SEED = 0
"""Of the order of documents, the same for every seed of the study."""


def documents(home: Path = HOME) -> list[str]:
    """Every instruction with its input and answer, in an order of its own.

    Raises:
        TutelageError: the data are not there.
    """
    found = []
    for part in PARTS:
        path = home / f"{part}.jsonl.gz"
        if not path.is_file():
            raise TutelageError(
                f"{path} is not there",
                expected="the dolly data set in `data/dolly` of a checkout of the project",
                fix="run this in a checkout, with `pip install -e .`",
            )
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found += [_document(json.loads(line)) for line in lines]
    random.Random(SEED).shuffle(found)
    return found


def split(found: Sequence[str]) -> dict[str, list[str]]:
    """Documents by what they are for: `SHARES` of their bytes, none in two parts.

    >>> {name: len(one) for name, one in split(["abcdefghij"] * 20).items()}
    {'teacher': 9, 'student': 9, 'held_out': 2}
    """
    total, seen = sum(len(one.encode()) for one in found), 0
    parts: dict[str, list[str]] = {name: [] for name in SHARES}
    ends = dict(zip(SHARES, itertools.accumulate(SHARES.values()), strict=True))
    for one in found:
        name = next((name for name, end in ends.items() if seen < round(end * total)), "held_out")
        parts[name].append(one)
        seen += len(one.encode())
    return parts


def write_corpus(folder: Path) -> dict[str, float]:
    """Write ``teacher.jsonl``, ``student.jsonl``, ``held_out.jsonl`` and ``tokenizer/``; bytes of each."""
    sizes: dict[str, float] = {}
    for name, part in split(documents()).items():
        rows = list(_rows(part))
        lines = "".join(f"{json.dumps({'text': row}, ensure_ascii=False)}\n" for row in rows)
        write_text(folder / f"{name}.jsonl", lines)
        sizes[f"{name}_bytes"] = float(sum(len(row.encode()) for row in rows))
    byte_tokenizer().save_pretrained(folder / "tokenizer")
    return sizes


def byte_tokenizer() -> Any:
    """A tokenizer whose 256 tokens are the bytes and whose ids are their values."""
    letters = _letters()
    made = Tokenizer(models.BPE({letters[byte]: byte for byte in range(256)}, []))
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = bytewise  # pyright: ignore[reportAttributeAccessIssue]
    made.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    end = letters[ord(SEPARATOR)]
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=end, pad_token=end, bos_token=None, unk_token=None
    )


def _letters() -> dict[int, str]:
    """The letter that byte-level tokenizers write for every byte: printable ones stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + number) for number, byte in enumerate(others)
    }


def _document(row: dict[str, Any]) -> str:
    said = row["output"]
    parts = (row["instruction"], row["input"], said if isinstance(said, str) else said[0])
    return "\n".join(part for part in parts if part)


def _rows(found: Sequence[str]) -> Iterator[str]:
    row: list[str] = []
    size = 0
    for one in found:
        row.append(one)
        size += len(one.encode()) + 1
        if size >= ROW:
            yield SEPARATOR.join(row)
            row, size = [], 0
    if row:
        yield SEPARATOR.join(row)
