"""Text that the student writes itself during the run, after the prompts of a data set (on-policy)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch

from tutelage.errors import TutelageError
from tutelage.interfaces import Batch
from tutelage.models import Drawing, LanguageModel, Shared, continued
from tutelage.samples.dataset import DatasetSamples, OpenDataset
from tutelage.seeds import stream, stream_seed
from tutelage.text import Example, collate


@dataclass(frozen=True)
class StudentSamples(DatasetSamples):
    """The student's own continuations of prompts; a share of the rows may stay the data set's.

    Every row is written anew whenever its turn comes, by the weights as they are then, and no gradient
    goes through the drawing. Which rows are the student's, and what it draws, are functions of the seed and
    of the row's place in the run.

    Attributes:
        on_policy: share of rows that the student writes, from 0 to 1; the others are the data set's own.
        prompt_tokens: of a row that is plain text: so many tokens are given (the start token included).
        max_new_tokens: tokens that are written after a prompt at most.
        temperature: of the sampling distribution; 1 is the student's own.
        top_k: draw among so many likeliest tokens; None draws among all.
        top_p: draw among the fewest likeliest tokens that make up this share of the probability.

    Source: Agarwal et al. 2024, GKD, arXiv:2306.13649 (its lambda is `on_policy`).
    """

    on_policy: Annotated[float, "[0, 1]"] = 1.0
    prompt_tokens: Annotated[int, "[1, inf)"] = 8
    max_new_tokens: Annotated[int, "[1, inf)"] = 128
    temperature: Annotated[float, "(0, inf)"] = 1.0
    top_k: Annotated[int, "[1, inf)"] | None = None
    top_p: Annotated[float, "(0, 1]"] = 1.0

    def open(self, tokenizer: Any) -> OpenStudent:
        """Read and tokenise the rows; nobody writes before `OpenStudent.written_with`."""
        found = super().open(tokenizer)
        own = {one.name: getattr(found, one.name) for one in dataclasses.fields(found)}
        return OpenStudent(**own, how=self)


@dataclass(frozen=True)
class OpenStudent(OpenDataset):
    """Tokenised rows whose prompts a student continues.

    Attributes:
        how: as described in the recipe.
        writer: the student, once there is one.
        shared: the ids that it may say.
        last: numbers about what was written in the last step that was asked for: see `health`.
    """

    how: Any = None
    writer: LanguageModel | None = None
    shared: Shared | None = None
    last: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def noted(self) -> Mapping[str, float]:
        """Length, truncation and repetition of the last step's own text."""
        return self.last

    @property
    def longest(self) -> int:
        """Tokens of the longest row that there can be."""
        if self.how.on_policy == 0:
            return super().longest
        prompt = max(len(self.prompt(row)) for row in self.examples)
        return max(super().longest, prompt + self.how.max_new_tokens)

    def written_with(self, writer: LanguageModel, shared: Shared) -> OpenStudent:
        """The same rows for a student that writes on the ids that it shares with its teacher."""
        return dataclasses.replace(self, writer=writer, shared=shared, last={})

    def prompt(self, row: Example) -> list[int]:
        """What is given of a row: all up to the first counted token, of plain text a few tokens."""
        if self.source.kind == "text":
            return row.tokens[: max(1, min(self.how.prompt_tokens, len(row.tokens) - 1))]
        return row.tokens[: row.counted.index(True)]

    def micro_batches(self, step: int) -> list[Batch]:
        """This process's micro-batches of optimiser step ``step``, written by the weights as they are."""
        first, batches, own = step * self.rows_per_step, [], []
        for micro in range(self.micro_steps):
            start = first + (micro * self.processes + self.process) * self.micro_rows
            places = range(start, start + self.micro_rows)
            rows = {place: self._row(place) for place in places}
            by_student = [place for place in places if self._is_own(place)]
            said = self._written(by_student, [rows[place] for place in by_student])
            rows |= dict(zip(by_student, said, strict=True))
            own += said
            writers = ["student" if place in by_student else "dataset" for place in places]
            batches.append(collate([rows[place] for place in places], self.pad_id, writers))
        self.last.clear()
        self.last.update(health(own))
        return batches

    def _is_own(self, place: int) -> bool:
        if self.how.on_policy in (0, 1):
            return self.how.on_policy == 1
        drawn = torch.rand((), generator=stream(self.seed, "who writes", place))
        return float(drawn) < self.how.on_policy

    def _written(self, places: list[int], rows: list[Example]) -> list[Example]:
        if not rows:
            return []
        if self.writer is None:
            raise TutelageError(
                "text of a student, and no student to write it",
                expected="an open student",
                fix="call `samples.written_with(student, shared)` first and use what it returns",
            )
        prompts = [self.prompt(row) for row in rows]
        found = continued(
            self.writer,
            prompts,
            most=self.how.max_new_tokens,
            seeds=[stream_seed(self.seed, "text of the student", place) for place in places],
            drawing=Drawing(self.how.temperature, self.how.top_k, self.how.top_p),
            shared=self.shared,
        )
        made = []
        for number, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            said = found.row(number)
            counted = [False] * len(prompt) + [True] * len(said)
            columns = {**row.columns, ENDED: bool(found.ended[number])}
            made.append(Example([*prompt, *said], counted, columns))
        return made


ENDED = "own_text_ended"
"""Column of rows that the student wrote: whether they ended with the end token."""


def health(rows: list[Example]) -> dict[str, float]:
    """How a student's own text looks, for ``metrics.jsonl``.

    Returns:
        ``own_length``: tokens written, mean; ``own_truncated``: share of rows that did not end by
        themselves; ``own_repeated``: share of 4-grams that stood in their row before. Empty without rows.
    """
    if not rows:
        return {}
    said = [[t for t, counts in zip(row.tokens, row.counted, strict=True) if counts] for row in rows]
    grams = [[tuple(row[i : i + 4]) for i in range(len(row) - 3)] for row in said]
    total = sum(map(len, grams))
    return {
        "own_length": sum(map(len, said)) / len(said),
        "own_truncated": sum(not row.columns[ENDED] for row in rows) / len(rows),
        "own_repeated": sum(len(row) - len(set(row)) for row in grams) / total if total else 0.0,
    }
