"""The client of `tutelage serve`: questions and answers as tensors, the output layer once."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

from tutelage.clients.http import Line
from tutelage.distribution import Distribution
from tutelage.errors import Damaged, TutelageError, listed
from tutelage.interfaces import Batch
from tutelage.models import Vocabulary
from tutelage.stores.payload import ARRAYS, Form, Frame, Kind, unpacked
from tutelage.stores.question import PROTOCOL, Question, rows_of_batch
from tutelage.stores.wire import MEDIA_TYPE, Limits, decoded
from tutelage.text import Example

MOST_FRAME_BYTES = 256 << 20
ROOM = 1 << 20
"""Bytes of an answer besides its tensors."""


class ServedClient:
    """A line to one served teacher, whose identity is looked at in every answer.

    Args:
        line: to the server.
        device: where distributions are put.
        form: how answers are packed; of `kind` None the best that the server can.
        keep: folder in which output layers are kept by their hash, or None.

    Attributes:
        name: what the server calls its model.
        identity: hash of weights, vocabulary and the way they are combined.
        vocabulary: what the token ids mean.
        longest: tokens of a row at most.
        columns: what the teacher needs in every row: names, each with a value that it takes.
        answers_anything: whether it can be asked about any text, or only about what it has stored.
        form: how answers are packed.

    Raises:
        TutelageError: the server speaks another protocol, or cannot send that kind.
    """

    def __init__(
        self, line: Line, device: str, kind: Kind | None, form: Form, keep: str | None = None
    ) -> None:
        self._line = line
        self._device = device
        told = self._told()
        try:
            self.name = str(told["model"])
            self.identity = str(told["identity"])
            self.vocabulary = Vocabulary.read(told["vocabulary"])
            self.limits = Limits(**told["limits"])
            self.columns = dict(told["columns"])
            self.answers_anything = bool(told["anything"])
            kinds: list[Kind] = list(told["frames"])
            first = kinds[0]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise self._odd(f"its frame is none of ours ({type(error).__name__}: {error})") from None
        self.longest = self.limits.row_tokens
        if kind is not None and kind not in kinds:
            raise TutelageError(
                f"{line.url}: '{self.name}' cannot be sent as `{kind}`",
                expected=listed(kinds),
                fix=f"write `payload: {first}`, or leave it out",
            )
        self.form = dataclasses.replace(form, kind=kind or first)
        layer = self._layer(told["head"], keep) if self.form.kind == "hidden" else {}
        self._frame = Frame.read(told["frames"][self.form.kind], layer)
        if self._frame.never is not None:
            self._frame = dataclasses.replace(self._frame, never=self._frame.never.to(device))

    def __call__(self, batch: Batch) -> Distribution:
        """What the server says at the counted positions of a batch.

        Raises:
            TutelageError: it refuses, is gone for good, is another one by now, or its answer does not fit.
        """
        rows = rows_of_batch(batch, tuple(self.columns))
        parts = [self._asked(part) for part in self._shares(rows)] or [self._empty()]
        tensors = {name: torch.cat([part[name] for part in parts]).to(self._device) for name in parts[0]}
        return unpacked(tensors, self._frame)

    def _asked(self, rows: Sequence[Example]) -> dict[str, torch.Tensor]:
        question = Question(tuple(rows), self.form)
        most = self.limits.response_bytes + ROOM
        reply = self._line.post("/v1/distributions", question.encoded(), MEDIA_TYPE, most_bytes=most)
        message = decoded(reply.content, most)
        if message.told.get("identity") != self.identity:
            raise TutelageError(
                f"{self._line.url}: another teacher answers there than at the beginning of this run",
                expected=f"'{self.name}' with the same weights and tokens",
                fix="serve the same model there again, then give the same command; the run goes on",
            )
        fits = all(
            name in message.tensors and len(message.tensors[name]) == question.counted
            for name in ARRAYS[self.form.kind]
        )
        if not fits:
            raise self._odd(f"no answer of the kind `{self.form.kind}` to {question.counted} positions")
        return {name: message.tensors[name] for name in ARRAYS[self.form.kind]}

    def _shares(self, rows: Sequence[Example]) -> list[list[Example]]:
        """The rows in as many requests as the server's limits ask for."""
        shares: list[list[Example]] = []
        tokens = size = 0
        for row in rows:
            answer = sum(row.counted) * self._bytes_a_position
            full = tokens + len(row.tokens) > self.limits.request_tokens
            if not shares or full or size + answer > self.limits.response_bytes:
                shares.append([])
                tokens = size = 0
            shares[-1].append(row)
            tokens, size = tokens + len(row.tokens), size + answer
        return shares

    @property
    def _bytes_a_position(self) -> int:
        number = self.form.dtype.itemsize
        if self.form.kind == "hidden":
            return self._frame.layer["weight"].shape[1] * number
        return (
            self._frame.vocab_size * number if self.form.kind == "dense" else self.form.k * (4 + number) + 4
        )

    def _empty(self) -> dict[str, torch.Tensor]:
        """The answer to no question at all: a batch in which nothing counts."""
        kind, dtype = self.form.kind, self.form.dtype
        if kind == "hidden":
            return {"hidden": torch.zeros(0, self._frame.layer["weight"].shape[1], dtype=dtype)}
        if kind == "dense":
            return {"log_probs": torch.zeros(0, self._frame.vocab_size, dtype=dtype)}
        logs = torch.zeros(0, self.form.k, dtype=dtype)
        return {"ids": logs.int(), "log_probs": logs, "log_tail": torch.zeros(0)}

    def _told(self) -> dict[str, Any]:
        reply = self._line.get("/v1/frame", most_bytes=MOST_FRAME_BYTES)
        try:
            told = json.loads(reply.content)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise self._odd("its frame is none of ours")
        if told.get("protocol") != PROTOCOL:
            raise self._odd(f"it speaks protocol {told.get('protocol')!r}, and this is protocol {PROTOCOL}")
        return told

    def _layer(self, head: dict[str, Any], keep: str | None) -> dict[str, torch.Tensor]:
        kept = None if keep is None else Path(keep).expanduser() / f"{head['sha256']}.safetensors"
        content = None
        if kept is not None and kept.is_file():
            content = kept.read_bytes()
            content = content if hashlib.sha256(content).hexdigest() == head["sha256"] else None
        if content is None:
            content = self._line.get("/v1/head", most_bytes=int(head["bytes"])).content
            if hashlib.sha256(content).hexdigest() != head["sha256"]:
                raise Damaged(
                    f"{self._line.url}: its output layer came over damaged",
                    expected=f"bytes with the hash {head['sha256'][:12]}...",
                    fix="start again",
                )
            if kept is not None:
                _write_whole(kept, content)
        return {name: tensor.to(self._device) for name, tensor in load(content).items()}

    def _odd(self, problem: str) -> TutelageError:
        return TutelageError(
            f"{self._line.url}: {problem}",
            expected="a server started by `tutelage serve`, of the same version",
            fix="check `url:`; for vLLM, SGLang and others write `protocol: openai`",
        )


def _write_whole(path: Path, content: bytes) -> None:
    # Another process may write the same at this moment; each renames a whole file into place.
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
