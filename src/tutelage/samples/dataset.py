"""Text from a data set, in an order that is a function of the seed: the default samples."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch

from tutelage.errors import TutelageError
from tutelage.interfaces import Batch
from tutelage.seeds import stream
from tutelage.text import Example, Layout, collate, examples_of, read_rows


@dataclass(frozen=True)
class DatasetSamples:
    """Rows of a file or of a data set on a hub, all written by ``dataset``.

    Attributes:
        data: a file (.jsonl, .csv, .parquet, .txt, each also .gz where that is usual), several of
            them, or a hub name. Its columns are `text`, `prompt` and `completion`, or `messages`.
        split: which split of a hub data set.
        prompt: how a prompt is made of other columns, such as "{instruction}\\n{input}".
        completion: how a completion is made of other columns.
        max_length: tokens in a row at most; at least one to start from and one to say.
        long: what is done with a longer row: `split` a text into pieces, `cut` it, or `drop` it; None takes
            the first of them that the kind of row allows.
        max_rows: only so many rows from the top; None takes all.
        shuffle: draw the order anew in every epoch; False keeps the file's.
    """

    data: str | tuple[str, ...]
    split: str = "train"
    prompt: str | None = None
    completion: str | None = None
    max_length: Annotated[int, "[2, inf)"] = 512
    long: Literal["split", "cut", "drop"] | None = None
    max_rows: Annotated[int, "[1, inf)"] | None = None
    shuffle: bool = True

    def open(self, tokenizer: Any) -> OpenDataset:
        """Read and tokenise the rows."""
        rows = read_rows(self.data, split=self.split, max_rows=self.max_rows)
        layout = Layout(self.prompt, self.completion, self.max_length, self.long)
        made = examples_of(rows, tokenizer, layout)
        if not made.examples:
            raise TutelageError(
                f"{rows.path}: no row is left to learn from ({made.said})",
                expected=f"rows of at most {self.max_length} tokens",
                fix="raise `max_length`, or write `long: cut`",
            )
        return OpenDataset(tuple(made.examples), rows, made.said, self.shuffle, tokenizer.pad_token_id)


@dataclass(frozen=True)
class OpenDataset:
    """Tokenised rows, handed out by step.

    Attributes:
        examples: the rows.
        source: what was read (path, hash, columns found).
        said: what became of the rows, for people: how many, how many cut or dropped.
        shuffle: whether the order is drawn.
        pad_id: token id that fills short rows up.
        seed, micro_rows, micro_steps, processes, process: this process's share; see `shared_out`.
    """

    examples: tuple[Example, ...]
    source: Any
    said: str
    shuffle: bool
    pad_id: int
    seed: int = 0
    micro_rows: int = 8
    micro_steps: int = 1
    processes: int = 1
    process: int = 0

    def shared_out(
        self, *, seed: int, micro_rows: int, micro_steps: int, processes: int = 1, process: int = 0
    ) -> OpenDataset:
        """The same rows for one process of a run.

        Args:
            seed: of the run; the order is a function of it.
            micro_rows: rows of one micro-batch.
            micro_steps: micro-batches of one step in one process.
            processes: how many processes share a step.
            process: which of them this is.
        """
        return dataclasses.replace(
            self,
            seed=seed,
            micro_rows=micro_rows,
            micro_steps=micro_steps,
            processes=processes,
            process=process,
        )

    @property
    def noted(self) -> Mapping[str, float]:
        """Nothing: this text stays what it is."""
        return {}

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(len(example.tokens) for example in self.examples)

    def written_with(self, writers: Any) -> OpenDataset:
        """The same: this text is written already."""
        return self

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimiser step over all processes."""
        return self.micro_rows * self.micro_steps * self.processes

    def steps(self, epochs: float) -> int:
        """Optimiser steps that see every row ``epochs`` times; the last is filled from the next epoch."""
        return max(1, math.ceil(epochs * len(self.examples) / self.rows_per_step))

    def micro_batches(self, step: int) -> list[Batch]:
        """This process's micro-batches of optimiser step ``step``, counted from 0."""
        first = step * self.rows_per_step
        batches = []
        for micro in range(self.micro_steps):
            start = first + (micro * self.processes + self.process) * self.micro_rows
            rows = [self._row(start + i) for i in range(self.micro_rows)]
            batches.append(collate(rows, self.pad_id, "dataset"))
        return batches

    def in_order(self, micro_rows: int, max_rows: int | None = None) -> list[Batch]:
        """All rows once, in the file's order, for evaluation."""
        rows = self.examples[:max_rows]
        return [
            collate(list(rows[start : start + micro_rows]), self.pad_id, "dataset")
            for start in range(0, len(rows), micro_rows)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep: a batch is a function of seed and step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up."""

    def lengths(self, step: int) -> list[list[int]]:
        """Tokens of each row of this process's micro-batches; what is to be written counts whole."""
        first = step * self.rows_per_step
        starts = [
            first + (m * self.processes + self.process) * self.micro_rows for m in range(self.micro_steps)
        ]
        return [[len(self._row(start + i).tokens) for i in range(self.micro_rows)] for start in starts]

    @property
    def any_order(self) -> bool:
        """Whether a step can be made without those before it."""
        return True

    def _row(self, index: int) -> Example:
        return self.examples[self.numbered(index)[1]]

    def numbered(self, index: int) -> tuple[int, int]:
        """Epoch and number of the row that has the place ``index`` in the run."""
        epoch, place = divmod(index, len(self.examples))
        if not self.shuffle:
            return epoch, place
        return epoch, _order(self.seed, epoch, len(self.examples))[place]


@functools.lru_cache(maxsize=8)
def _order(seed: int, epoch: int, rows: int) -> list[int]:
    return torch.randperm(rows, generator=stream(seed, "order of rows", epoch)).tolist()
