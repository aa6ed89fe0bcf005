"""What all samples share in which somebody writes: prompts, who writes which row, and what is kept.

A row's place in the run says which prompt it has and who writes it; what is drawn is a function of the seed,
of the place and of the weights at that time. So micro-batches and processes change no text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch

from tutelage.errors import TutelageError
from tutelage.interfaces import BEHAVIOUR, OWN, TEACHER, Batch, Writers, writes_text
from tutelage.models import Drawing, Written, continued
from tutelage.samples.dataset import DatasetSamples, OpenDataset
from tutelage.samples.health import ENDED, ENTROPY, health
from tutelage.samples.kept_text import KeptText, Said
from tutelage.samples.together import together
from tutelage.seeds import stream, stream_seed
from tutelage.text import Example, collate

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, less their whole part, fill the unit interval evenly from the first few on."""


@dataclass(frozen=True)
class WrittenSamples(DatasetSamples, ABC):
    """Continuations of prompts that are written during the run.

    Attributes:
        prompt_tokens: of a row that is plain text: so many tokens are given (the start token included).
        max_new_tokens: tokens that are written after a prompt at most.
        temperature: of the sampling distribution; 1 is the writer's own.
        top_k: draw among so many likeliest tokens; None draws among all.
        top_p: draw among the fewest likeliest tokens that make up this share of the probability.
    """

    prompt_tokens: Annotated[int, "[1, inf)"] = 8
    max_new_tokens: Annotated[int, "[1, inf)"] = 128
    temperature: Annotated[float, "(0, inf)"] = 1.0
    top_k: Annotated[int, "[1, inf)"] | None = None
    top_p: Annotated[float, "(0, 1]"] = 1.0

    # No options but what holds where a kind has none of its own: only a student's text is told more.
    teacher_tokens = 0.0
    inner_epochs = 1
    steps_per_rollout = 1

    @property
    @abstractmethod
    def shares(self) -> dict[str, float]:
        """Share of the rows by writer; what is left is the data set's."""

    def open(self, tokenizer: Any) -> OpenWritten:
        """Read and tokenise the rows; nobody writes before `OpenWritten.written_with`."""
        return OpenWritten(**self._read(tokenizer), how=self)

    def _read(self, tokenizer: Any) -> dict[str, Any]:
        found = super().open(tokenizer)
        return {one.name: getattr(found, one.name) for one in dataclasses.fields(found)}


@dataclass
class Kept:
    """What open samples hold from one step to the next.

    Attributes:
        rows: written rows by their place in the run.
        collection: which collection of own text `rows` belongs to; -1 before the first.
        noted: numbers about the last step's text.
        text: the teacher's, where a teacher writes.
    """

    rows: dict[int, Example] = field(default_factory=dict)
    collection: int = -1
    noted: dict[str, float] = field(default_factory=dict)
    text: KeptText | None = None


@dataclass(frozen=True)
class OpenWritten(OpenDataset):
    """Tokenised rows whose prompts somebody continues.

    Attributes:
        how: as described in the recipe.
        writers: who can write, once there is a run.
        kept: what is held from one step to the next.
    """

    how: Any = None
    writers: Writers | None = None
    kept: Kept = field(default_factory=Kept, compare=False)

    @property
    def noted(self) -> Mapping[str, float]:
        """Length, truncation, repetition and entropy of the last step's own text."""
        return self.kept.noted

    @property
    def on_collapse(self) -> str:
        """`warn` or `stop`."""
        return self.how.on_collapse

    @property
    def longest(self) -> int:
        """Tokens of the longest row that there can be."""
        if not any(self.how.shares.values()):
            return super().longest
        prompt = max(len(self.prompt(row)) for row in self.examples)
        return max(super().longest, prompt + self.how.max_new_tokens)

    def written_with(self, writers: Writers) -> OpenWritten:
        """The same rows for a run, with who can write in it.

        Raises:
            TutelageError: a teacher is to write, and there is none, or one that cannot.
        """
        needs = self.how.shares.get("teacher", 0.0) > 0
        mixes = self.how.teacher_tokens > 0 and self.how.shares.get("student", 0.0) > 0
        kept = Kept()
        if needs or mixes:
            _able(writers, mixes)
        if needs:
            kept.text = KeptText(self._place(writers), self._text_told(writers))
        return dataclasses.replace(self, writers=writers, kept=kept)

    def prompt(self, row: Example) -> list[int]:
        """What is given of a row: all up to the first counted token, of plain text a few tokens."""
        if self.source.kind == "text":
            return row.tokens[: max(1, min(self.how.prompt_tokens, len(row.tokens) - 1))]
        return row.tokens[: row.counted.index(True)]

    def writer_of(self, place: int) -> str:
        """Who writes the row at a place of the run: spread evenly over the places, by the shares."""
        where = (float(torch.rand((), generator=stream(self.seed, "who writes"))) + place * GOLDEN) % 1
        for writer, share in self.how.shares.items():
            if where < share:
                return writer
            where -= share
        return "dataset"

    def micro_batches(self, step: int) -> list[Batch]:
        """This process's micro-batches of optimiser step ``step``; what is not written yet is written now."""
        places = [self._places(step, micro) for micro in range(self.micro_steps)]
        rows = self._rows(step, places)
        own = [rows[p] for batch in places for p in batch if self.writer_of(p) == "student"]
        self.kept.noted.clear()
        self.kept.noted.update(health(own))
        return [
            collate([rows[p] for p in batch], self.pad_id, [self.writer_of(p) for p in batch])
            for batch in places
        ]

    def lengths(self, step: int) -> list[list[int]]:
        """Tokens of each row of this process's micro-batches; what is to be written counts whole."""
        return [
            [self._length(place) for place in self._places(step, micro)] for micro in range(self.micro_steps)
        ]

    def _length(self, place: int) -> int:
        row = self._row(place)
        if self.writer_of(place) == "dataset":
            return len(row.tokens)
        return len(self.prompt(row)) + self.how.max_new_tokens

    @property
    def any_order(self) -> bool:
        """Whether a step can be made without those before it: where text is used once."""
        return self.steps_per_collection == 1

    @property
    def steps_per_collection(self) -> int:
        """Optimiser steps for which one collection of text is used."""
        return self.how.inner_epochs * self.how.steps_per_rollout

    def state_dict(self) -> dict[str, Any]:
        """The collection of own text that is not used up yet."""
        if self.steps_per_collection == 1:
            return {}
        return {"collection": self.kept.collection, "rows": packed(self.kept.rows)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a collection up again."""
        if self.steps_per_collection > 1 and state:
            self.kept.collection = int(state["collection"])
            self.kept.rows = unpacked(state["rows"])

    def _places(self, step: int, micro: int) -> list[int]:
        """Places in the run of the rows of a micro-batch of this process."""
        start = (micro * self.processes + self.process) * self.micro_rows
        within = range(start, start + self.micro_rows)
        collection, inner = divmod(step, self.steps_per_collection)
        each = self.how.steps_per_rollout
        epoch, part = divmod(inner, each)
        size = each * self.rows_per_step
        order: Sequence[int] = range(size)
        if epoch and each > 1:
            order = torch.randperm(
                size, generator=stream(self.seed, "order of own text", collection, epoch)
            ).tolist()
        return [collection * size + order[part * self.rows_per_step + i] for i in within]

    def _rows(self, step: int, places: list[list[int]]) -> dict[int, Example]:
        """The rows at all places of a step of this process, written where they are not yet."""
        collection = step // self.steps_per_collection
        if self.steps_per_collection == 1:
            return self._written_rows(step, places)
        if self.kept.collection != collection:
            first = collection * self.steps_per_collection
            rows: dict[int, Example] = {}
            for at in range(first, first + self.how.steps_per_rollout):
                mine = [self._places(at, micro) for micro in range(self.micro_steps)]
                rows |= self._written_rows(at, mine)
            self.kept.rows, self.kept.collection = together(rows), collection
        return self.kept.rows

    def _written_rows(self, step: int, places: list[list[int]]) -> dict[int, Example]:
        """The rows of a step, micro-batch by micro-batch."""
        rows: dict[int, Example] = {}
        for batch in places:
            by = {name: [p for p in batch if self.writer_of(p) == name] for name in ("student", "teacher")}
            rows |= {p: self._row(p) for p in batch}
            rows |= dict(zip(by["student"], self.by_student(by["student"]), strict=True))
            rows |= dict(zip(by["teacher"], self.by_teacher(by["teacher"]), strict=True))
        return rows

    def by_student(self, places: list[int]) -> list[Example]:
        """Rows that the student writes now; with a share of the teacher's in every token if asked for."""
        if not places:
            return []
        writers, rows = self._writers(), [self._row(place) for place in places]
        share = self.how.teacher_tokens
        found = continued(
            writers.student,
            [self.prompt(row) for row in rows],
            most=self.how.max_new_tokens,
            seeds=[stream_seed(self.seed, "text of the student", place) for place in places],
            drawing=self._drawing,
            shared=writers.shared,
            beside=None if share == 0 else _reader(writers),
            share=share,
        )
        return [self._example(row, found, number) for number, row in enumerate(rows)]

    def by_teacher(self, places: list[int]) -> list[Example]:
        """Rows that the teacher wrote, once for all runs that ask for the same."""
        keys = [self._text_key(place) for place in places]
        text = self.kept.text
        if text is None:
            if not places:
                return []
            raise nobody("teacher")
        missing = sorted({key for key in keys if text.get(*key) is None})
        fresh = dict(zip(missing, self._teacher_writes(missing), strict=True)) if missing else {}
        everyone = together(fresh)
        for key, said in everyone.items():
            text.add(*key, said, own=key in fresh)
        made = []
        for (number, copy), place in zip(keys, places, strict=True):
            found = text.get(number, copy)
            assert found is not None, place
            row = self.examples[number]
            prompt, (said, ended) = self.prompt(row), found
            counted = [False] * len(prompt) + [True] * len(said)
            made.append(Example([*prompt, *said], counted, {**row.columns, ENDED: ended}))
        return made

    def _teacher_writes(self, keys: list[tuple[int, int]]) -> list[Said]:
        writers = self._writers()
        prompts = [self.prompt(self.examples[number]) for number, _ in keys]
        seeds = [stream_seed(0, "text of the teacher", *key) for key in keys]
        over_the_wire = getattr(writers.teacher, "writes", None)
        if over_the_wire is not None:
            return over_the_wire(prompts, self.how.max_new_tokens, seeds[0], self._drawing)
        found = continued(
            writers.student,
            prompts,
            most=self.how.max_new_tokens,
            seeds=seeds,
            drawing=self._drawing,
            shared=writers.shared,
            beside=_reader(writers),
            share=1.0,
        )
        return [(found.row(i), bool(found.ended[i])) for i in range(len(keys))]

    def _example(self, row: Example, found: Written, number: int) -> Example:
        prompt, said = self.prompt(row), found.row(number)
        mask = found.mask[number]
        named = {OWN: found.own, BEHAVIOUR: found.log_probs, ENTROPY: found.entropy}
        if found.others is not None:
            named[TEACHER] = found.others
        zeros = [0.0] * len(prompt)
        recorded = {name: zeros + values[number][mask].double().tolist() for name, values in named.items()}
        counted = [False] * len(prompt) + [True] * len(said)
        return Example([*prompt, *said], counted, {**row.columns, ENDED: bool(found.ended[number])}, recorded)

    def _text_key(self, place: int) -> tuple[int, int]:
        epoch, number = self.numbered(place)
        return number, epoch % self.how.copies

    def _text_told(self, writers: Writers) -> dict[str, Any]:
        prompts = json.dumps([self.prompt(row) for row in self.examples])
        return {
            "teacher": dict(writers.told),
            "drawing": dataclasses.asdict(self._drawing),
            "max_new_tokens": self.how.max_new_tokens,
            "prompts": hashlib.sha256(prompts.encode()).hexdigest(),
        }

    def _place(self, writers: Writers) -> Path | None:
        # Who keeps nothing (`check`) leaves the recipe's own folder alone too.
        store = self.how.store
        return writers.folder if store is None or writers.folder is None else Path(store)

    @property
    def _drawing(self) -> Drawing:
        return Drawing(self.how.temperature, self.how.top_k, self.how.top_p)

    def _writers(self) -> Writers:
        if self.writers is None:
            raise nobody("student")
        return self.writers


def nobody(who: str) -> TutelageError:
    """The error for text of somebody who is not there."""
    return TutelageError(
        f"text of a {who}, and no {who} to write it",
        expected=f"an open {who}",
        fix="call `samples.written_with(writers)` first and use what it returns",
    )


def packed(rows: Mapping[int, Example]) -> list[dict[str, Any]]:
    """Written rows as plain JSON values."""
    return [{"place": place, **dataclasses.asdict(row)} for place, row in rows.items()]


def unpacked(rows: Sequence[Mapping[str, Any]]) -> dict[int, Example]:
    """The rows that `packed` made plain."""
    return {
        int(row["place"]): Example(row["tokens"], row["counted"], row["columns"], row["recorded"])
        for row in rows
    }


def _able(writers: Writers, mixes: bool) -> None:
    teacher = writers.teacher
    if teacher is None:
        raise TutelageError(
            "the teacher is to write, and the recipe has none",
            expected="a teacher that can write: `model`, or a `mixture` of such",
            fix="name one under `teacher:`",
        )
    if not writes_text(teacher) and (mixes or not hasattr(teacher, "writes")):
        raise TutelageError(
            f"a {type(teacher).__name__} cannot write"
            + (" token by token beside the student" if mixes else ""),
            expected="a teacher of the kind `model`, or a `mixture` of such"
            + ("" if mixes else ", or `server`"),
            fix="name such a teacher" + (", or write `teacher_tokens: 0`" if mixes else ""),
        )


def _reader(writers: Writers) -> Any:
    return getattr(writers.teacher, "reader")  # noqa: B009
