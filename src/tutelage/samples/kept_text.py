"""Text that a teacher wrote once, kept on disk for all arms, seeds and later runs."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.files import cannot_write

Said = tuple[list[int], bool]
"""Tokens, and whether they ended by themselves."""


class KeptText:
    """Rows of text by prompt and copy, in a folder named by all that they follow from.

    Every process appends to a file of its own, a line a row, so that a kill loses no more than the row that
    was being written; a line cut short is passed over. The first line of a file says what the text is of.

    Args:
        folder: where such texts are kept; None keeps them in memory.
        told: what the text is a function of, as plain JSON values; another teacher has another folder.
    """

    def __init__(self, folder: Path | None, told: Mapping[str, Any]) -> None:
        self._told = told
        content = json.dumps(told, sort_keys=True, default=str)
        self.identity = hashlib.sha256(content.encode()).hexdigest()
        self._rows: dict[tuple[int, int], Said] = {}
        self._file: Path | None = None
        if folder is None:
            return
        place = folder / self.identity[:16]
        for path in sorted(place.glob("part-*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                self._take(line)
        self._file = place / f"part-{os.getpid()}-{secrets.token_hex(4)}.jsonl"

    def get(self, row: int, copy: int) -> Said | None:
        """What was written after a prompt, or None."""
        return self._rows.get((row, copy))

    def add(self, row: int, copy: int, said: Said, *, own: bool) -> None:
        """Keep a row; only ``own`` rows are written to this process's file.

        Raises:
            TutelageError: the disk is full or the folder cannot be written.
        """
        if (row, copy) in self._rows:
            return
        self._rows[row, copy] = said
        if own and self._file is not None:
            line = json.dumps({"row": row, "copy": copy, "tokens": said[0], "ended": said[1]})
            try:
                if not self._file.exists():
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                    line = json.dumps({"text": self._told}, default=str) + "\n" + line
                with self._file.open("a", encoding="utf-8", newline="\n") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise cannot_write(self._file, error) from error

    def _take(self, line: str) -> None:
        try:
            said = json.loads(line)
            key = (int(said["row"]), int(said["copy"]))
            tokens = [int(token) for token in said["tokens"]]
            self._rows.setdefault(key, (tokens, bool(said["ended"])))
        except (ValueError, KeyError, TypeError):
            return
