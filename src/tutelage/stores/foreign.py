"""Top-k lists that other tools wrote, a row of text at a time: Axolotl's and DistillKit's layouts.

What is read, as the public code of both projects had it in 2025:

- *Axolotl* (``axolotl.integrations.kd``), .jsonl or .parquet: `input_ids`, perhaps `attention_mask` and
  `labels` (-100 where a token does not count); `target_token_ids` with `target_logprobs` or `logprobs`, a
  list of k a token, or `logprobs` with ``{"token": "token_id:17", "logprob": -0.1}``. The list at place ``t``
  is about the token at ``t``; a shorter list of lists belongs to the end of the row.
- *DistillKit*, .parquet: `input_ids`, and either `compressed_logprobs` with `bytepacked_indices` (a
  ``compression_config.yaml`` lies beside them, see `tutelage.stores.distillkit`) or `token_ids` with
  `top_values`. The list at place ``t`` is about the token at ``t + 1``.

Source: https://github.com/axolotl-ai-cloud/axolotl, https://github.com/arcee-ai/DistillKit
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor

from tutelage.errors import TutelageError
from tutelage.stores.distillkit import CONFIG, Compression

IGNORED = -100
NOTHING = -1e6
"""Log-probabilities below this fill lists up and say nothing."""

LISTS = {
    "axolotl": ("target_logprobs", "logprobs"),
    "distillkit": ("compressed_logprobs", "top_values"),
}


@dataclass(frozen=True, eq=False)
class ForeignRow:
    """One row of text and what a teacher said of its tokens.

    Attributes:
        place: file and row, for errors.
        tokens: ids of the real tokens.
        counted: true where a token counts; never at the first, nor where nothing was said.
        ids: of the kept tokens ``[L, k]``, -1 in empty columns; row ``t`` is about the token at ``t``.
        log_probs: natural logs ``[L, k]``, ``-inf`` in empty columns.
    """

    place: str
    tokens: list[int]
    counted: list[bool]
    ids: Tensor
    log_probs: Tensor


def foreign_files(source: str) -> list[Path]:
    """The files of an import: one, or all .jsonl and .parquet files of a folder in the order of their names.

    Raises:
        TutelageError: there are none.
    """
    path = Path(source)
    found = [path] if path.is_file() else sorted(p for p in path.glob("*") if p.suffix in READERS)
    if not found or any(one.suffix not in READERS for one in found):
        raise TutelageError(
            f"{source}: no top-k lists to import",
            expected="a .jsonl or .parquet file, or a folder of them",
            fix="check the path; unpack the files if they are compressed",
        )
    return found


def foreign_hash(files: Sequence[Path]) -> str:
    """SHA-256 over the contents of the files, in hexadecimal."""
    sha256 = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            sha256.update(hashlib.file_digest(file, "sha256").digest())
    return sha256.hexdigest()


def foreign_rows(files: Sequence[Path], format: str) -> Iterator[ForeignRow]:
    """All rows of some files, one at a time.

    Args:
        files: as `foreign_files` gives them.
        format: `axolotl` or `distillkit`.

    Raises:
        TutelageError: a row is not of that layout; file and row are named.
    """
    compression = Compression.beside(files[0]) if format == "distillkit" else None
    for path in files:
        for number, row in enumerate(READERS[path.suffix](path), 1):
            place = f"{path}: row {number}"
            try:
                yield _row(row, place, format, compression)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise TutelageError(
                    f"{place}: not of {format}'s layout ({type(error).__name__}: {error})",
                    expected="`input_ids` and lists of k ids and natural log-probabilities, one list a token",
                    fix="compare the row with docs/cache.md; take it out if it is broken",
                ) from error


def _row(row: Mapping[str, Any], place: str, format: str, compression: Compression | None) -> ForeignRow:
    if row.get("input_ids") is None or not any(row.get(name) is not None for name in LISTS[format]):
        legacy = "packed_indices" in row
        raise TutelageError(
            f"{place}: has the columns {', '.join(map(str, row))}",
            expected="`input_ids` and " + " or ".join(f"`{name}`" for name in LISTS[format]),
            fix="DistillKit's older layout is not read: capture the teacher again, or convert it there"
            if legacy
            else "write the rows after they were tokenised; a chat alone cannot be matched with its lists",
        )
    tokens = [int(token) for token in row["input_ids"]]
    labels = row.get("labels")
    counts = [label != IGNORED for label in labels] if labels is not None else [True] * len(tokens)
    if len(counts) != len(tokens):
        raise ValueError(f"{len(counts)} labels for {len(tokens)} tokens")
    ids, logs = _lists(row, compression)
    if format == "axolotl":
        ids, logs = _ending_at(len(tokens), ids, logs)
    else:
        ids, logs = _shifted(len(tokens), ids, logs)
    empty = (ids < 0) | ~(logs > NOTHING)
    ids, logs = ids.masked_fill(empty, -1), logs.masked_fill(empty, -torch.inf)
    said = (~empty).any(1).tolist()
    real = [bool(one) for one in row["attention_mask"]] if row.get("attention_mask") else [True] * len(tokens)
    kept = torch.tensor([i for i, one in enumerate(real) if one], dtype=torch.long)
    counted = [counts[i] and said[i] and n > 0 for n, i in enumerate(kept.tolist())]
    return ForeignRow(place, [tokens[i] for i in kept.tolist()], counted, ids[kept], logs[kept])


def _lists(row: Mapping[str, Any], compression: Compression | None) -> tuple[Tensor, Tensor]:
    """Ids and logs ``[n, k]`` as they stand in the row."""
    if row.get("compressed_logprobs") is not None:
        if compression is None:
            raise ValueError(f"no {CONFIG} beside the file")
        return compression.read(row["compressed_logprobs"], row["bytepacked_indices"])
    lists = row.get("target_logprobs") or row.get("logprobs") or row.get("top_values") or []
    named = row.get("target_token_ids") or row.get("token_ids")
    if named is None:
        named = [[int(str(one["token"]).rpartition(":")[2]) for one in at or ()] for at in lists]
        lists = [[one["logprob"] for one in at or ()] for at in lists]
    mask = row.get("target_mask")
    k = max((len(at or ()) for at in lists), default=1) or 1
    ids = torch.full((len(lists), k), -1, dtype=torch.long)
    logs = torch.full((len(lists), k), -torch.inf)
    for place, (at, of) in enumerate(zip(lists, named, strict=True)):
        if len(at or ()) != len(of or ()):
            raise ValueError(f"{len(at or ())} log-probabilities for {len(of or ())} ids at place {place}")
        if at and (mask is None or any(mask[place])):
            ids[place, : len(at)] = torch.tensor(of, dtype=torch.long)
            logs[place, : len(at)] = torch.tensor(at, dtype=torch.float32)
    return ids, logs


def _ending_at(length: int, ids: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """Lists for every token, where those that are there belong to the end of the row."""
    if len(ids) > length:
        raise ValueError(f"{len(ids)} lists for {length} tokens")
    front = length - len(ids)
    pad = torch.nn.functional.pad
    return pad(ids, (0, 0, front, 0), value=-1), pad(logs, (0, 0, front, 0), value=-torch.inf)


def _shifted(length: int, ids: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """Lists for every token, where the list at ``t`` is about the token at ``t + 1``."""
    if len(ids) not in (length - 1, length):
        raise ValueError(f"{len(ids)} lists for {length} tokens")
    return _ending_at(length, ids[: length - 1], logs[: length - 1])


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise TutelageError(
                        f"{path}:{number}: not JSON ({error})",
                        expected="one JSON object a line",
                        fix="mend the line, or take it out",
                    ) from error
                yield row


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=64):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise TutelageError(
            f"{path}: can't be read as parquet ({str(error).splitlines()[0]})",
            expected="a whole parquet file",
            fix="copy it again",
        ) from error


READERS: Mapping[str, Callable[[Path], Iterator[Mapping[str, Any]]]] = {
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
