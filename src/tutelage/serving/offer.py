"""What a server offers: whose distributions, in which forms, over which tokens, and who it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import save_file

from tutelage.distribution import Distribution
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Teacher
from tutelage.models import LanguageModel, Vocabulary
from tutelage.serving.answers import PAD_ID, kinds
from tutelage.stores.payload import Form, Frame, Kind, framed
from tutelage.stores.question import PROTOCOL
from tutelage.stores.wire import Limits
from tutelage.teachers import moving
from tutelage.teachers.fingerprint import fingerprint, members
from tutelage.text import Example, collate

CHUNK = 1 << 20


@dataclass(frozen=True)
class Head:
    """The output layer that all `hidden` answers share, as a file without a name.

    Attributes:
        file: its safetensors bytes; unlinked, so that nothing is left behind by a kill.
        size: in bytes.
        sha256: of the bytes.
    """

    file: IO[bytes]
    size: int
    sha256: str

    def chunks(self) -> Iterator[bytes]:
        """The bytes, piece by piece; several readers do not disturb one another."""
        for start in range(0, self.size, CHUNK):
            yield os.pread(self.file.fileno(), CHUNK, start)


@dataclass(frozen=True)
class Offer:
    """An open teacher and what is known about it.

    Attributes:
        teacher: open.
        name: what it is called.
        device: where it is.
        frames: for each kind that can be sent what its answers have in common.
        width: of hidden states; 0 where none are sent.
        columns: what the teacher needs in every row: names, each with a value that it takes.
        anything: whether it can be asked about any text, or only about what it has stored.
        longest: tokens of a row at most, or None where nothing says.
        identity: a hash that changes with the weights, the vocabulary or the way they are combined.
        head: the output layer, where `hidden` can be sent.
        writer: the one model that can write text, or None.
        spelt: tokens that were spelt already, by id.
    """

    teacher: Teacher
    name: str
    device: str
    frames: Mapping[Kind, Frame]
    width: int
    columns: Mapping[str, Any]
    anything: bool
    longest: int | None
    identity: str
    head: Head | None
    writer: LanguageModel | None = field(repr=False)
    spelt: dict[int, str] = field(default_factory=dict, repr=False)

    @property
    def vocabulary(self) -> Vocabulary:
        """What the token ids mean."""
        return self.teacher.vocabulary

    def told(self, limits: Limits) -> dict[str, Any]:
        """The document of ``/v1/frame``: all that a client needs to prove and to read answers."""
        return {
            "protocol": PROTOCOL,
            "tutelage": version("tutelage"),
            "model": self.name,
            "identity": self.identity,
            "vocabulary": self.vocabulary.told() | {"name": self.name},
            "frames": {kind: frame.told() for kind, frame in self.frames.items()},
            "head": None if self.head is None else {"bytes": self.head.size, "sha256": self.head.sha256},
            "columns": self.columns,
            "anything": self.anything,
            "longest": self.longest,
            "writes": self.writer is not None,
            "limits": dataclasses.asdict(limits),
        }

    def spell(self, token: int) -> str:
        """How a token reads on its own."""
        if token not in self.spelt:
            self.spelt[token] = self.vocabulary.tokenizer.decode([token])
        return self.spelt[token]

    def said(self, batch: Batch) -> Distribution:
        """What the teacher says.

        Raises:
            TutelageError: hidden states belong to another output layer than the one that clients have.
        """
        distribution = self.teacher(batch)
        if "hidden" in self.frames:
            layer = self.frames["hidden"].layer["weight"]
            weight = getattr(distribution, "weight", None)
            if weight is None or weight.data_ptr() != layer.data_ptr() or weight.shape != layer.shape:
                raise TutelageError(
                    f"'{self.name}' speaks through several output layers",
                    expected="one output layer for all rows",
                    fix="ask for `top_k` or `dense`",
                )
        return distribution


def offered(teacher: Teacher, name: str, device: str, dtype: str = "float32") -> Offer:
    """Look at an open teacher: ask it once, hash its weights, write its output layer aside.

    Args:
        teacher: open on ``device``.
        name: what it is called.
        device: where it is.
        dtype: floating-point type of weights that do not say their own.

    Raises:
        TutelageError: what it says cannot be sent on.
    """
    moving.standing(teacher, "served")
    columns = _columns(teacher)
    vocabulary: Vocabulary = teacher.vocabulary
    known = [i for i, token in enumerate(vocabulary.tokens) if token is not None]
    # A teacher on disk knows its own rows alone, but also how it would speak about none.
    on_disk = any(hasattr(member, "prove_rows") for member in members(teacher))
    batch = collate([Example([known[0], known[-1]], [False, not on_disk], columns)], PAD_ID).to(device)
    with torch.no_grad():
        distribution = teacher(batch)
    sent: list[Kind] = [kind for kind in kinds(distribution) if kind != "hidden" or not columns]
    if not sent:
        raise TutelageError(
            f"what '{name}' says cannot be served: only some tokens of each position are known",
            expected="a probability for every token, or for k tokens and the rest",
            fix="serve the model itself, or a cache of the kind `hidden` or `top_k`",
        )
    frames: dict[Kind, Frame] = {kind: framed(distribution, Form(kind)) for kind in sent}
    writer = getattr(teacher, "loaded", None)
    models = [getattr(member, "loaded", None) for member in members(teacher)]
    lengths = [model.longest for model in models if isinstance(model, LanguageModel) and model.longest]
    return Offer(
        teacher,
        name,
        device,
        frames,
        frames["hidden"].layer["weight"].shape[1] if "hidden" in frames else 0,
        columns,
        not on_disk,
        min(lengths, default=None),
        _identity(teacher, dtype),
        _head(frames["hidden"]) if "hidden" in frames else None,
        writer if isinstance(writer, LanguageModel) else None,
    )


def _head(frame: Frame) -> Head:
    # `save_file` wants a name; the name is gone as soon as the file is open.
    with tempfile.TemporaryDirectory(prefix="tutelage-") as folder:
        path = Path(folder) / "head.safetensors"
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in frame.layer.items()}, path)
        file = path.open("rb")
        return Head(file, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _columns(teacher: Teacher) -> dict[str, Any]:
    """What the teacher or one inside it looks at in every row: names, each with a value that it takes."""
    routed: list[Any] = [one for one in members(teacher) if getattr(one, "route", None) is not None]
    values = {one.route: str(next(iter(one.names or ("0",)))) for one in routed}
    return {name: values.get(name, "") for name in getattr(teacher, "columns", ())}


def _identity(teacher: Teacher, dtype: str) -> str:
    said = [fingerprint(teacher, dtype), teacher.vocabulary.told() | {"name": ""}]
    return "sha256:" + hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
