"""The student's own text, kept for a while: part of it is new, the rest drawn from what it wrote lately."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch

from tutelage.samples.student import StudentSamples
from tutelage.samples.together import together
from tutelage.samples.writing import OpenWritten, packed, unpacked
from tutelage.seeds import stream
from tutelage.text import Example


@dataclass(frozen=True)
class ReplaySamples(StudentSamples):
    """The student's own text, of which a part is drawn from a buffer of what it wrote lately.

    Writing is what an on-policy step spends its time on; text of a few steps ago is nearly as good. While the
    buffer is empty everything is written anew.

    Attributes:
        fresh: share of the student's rows that are written anew; the others come from the buffer.
        capacity: rows that the buffer holds; the oldest go first.
        oldest: steps after which a row is too old to be used; None keeps it until it is pushed out.

    Source: Ko et al. 2024, DistiLLM, arXiv:2402.03898 (its share is adapted during the run; here it stays).
    """

    fresh: Annotated[float, "[0, 1]"] = 0.5
    capacity: Annotated[int, "[1, inf)"] = 1000
    oldest: Annotated[int, "[1, inf)"] | None = None

    def open(self, tokenizer: Any) -> OpenReplay:
        """Read and tokenise the rows; nobody writes before `OpenWritten.written_with`."""
        return OpenReplay(**self._read(tokenizer), how=self)


@dataclass
class Buffer:
    """Written rows with the steps in which they were written, oldest first.

    Attributes:
        rows: by their place in the run.
        steps: when each was written.
        ages: of the rows that the last step took out of it, in steps.
    """

    rows: dict[int, Example] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    ages: list[int] = field(default_factory=list)

    def take_in(self, rows: Mapping[int, Example], step: int, capacity: int) -> None:
        """Add rows in the order of their places; the oldest beyond the capacity are forgotten."""
        for place in sorted(rows):
            self.rows[place], self.steps[place] = rows[place], step
        for place in list(self.rows)[: max(0, len(self.rows) - capacity)]:
            del self.rows[place], self.steps[place]

    def young(self, step: int, oldest: int | None) -> list[int]:
        """Places of the rows that may be used in a step."""
        return [p for p, written in self.steps.items() if oldest is None or step - written <= oldest]


@dataclass(frozen=True)
class OpenReplay(OpenWritten):
    """Tokenised rows whose prompts a student continues, or continued lately.

    Attributes:
        buffer: what it wrote lately, the same in every process.
    """

    buffer: Buffer = field(default_factory=Buffer, compare=False)

    def written_with(self, writers: Any) -> OpenReplay:
        """The same rows for a run, with who can write in it and an empty buffer."""
        made = super().written_with(writers)
        assert isinstance(made, OpenReplay)
        return dataclasses.replace(made, buffer=Buffer())

    @property
    def any_order(self) -> bool:
        """No: a step uses what steps before it wrote."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """The buffer, and the collection of text that is not used up yet."""
        steps = {str(place): step for place, step in self.buffer.steps.items()}
        return {**super().state_dict(), "buffer": packed(self.buffer.rows), "written": steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the buffer up again."""
        super().load_state_dict(state)
        self.buffer.rows = unpacked(state.get("buffer", []))
        self.buffer.steps = {int(place): int(step) for place, step in state.get("written", {}).items()}

    def _written_rows(self, step: int, places: list[list[int]]) -> dict[int, Example]:
        young = self.buffer.young(step, self.how.oldest)
        rows: dict[int, Example] = {}
        new: dict[int, Example] = {}
        self.buffer.ages.clear()
        for batch in places:
            rows |= {p: self._row(p) for p in batch}
            own = [p for p in batch if self.writer_of(p) == "student"]
            anew = [p for p in own if not young or self._is_fresh(p)]
            new |= dict(zip(anew, self.by_student(anew), strict=True))
            for place in set(own) - set(anew):
                chosen = young[int(self._chance("which of the kept", place) * len(young))]
                rows[place] = self.buffer.rows[chosen]
                self.buffer.ages.append(step - self.buffer.steps[chosen])
        # Only what all processes have together is the buffer of the run.
        self.buffer.take_in(together(new), step, self.how.capacity)
        return rows | new

    def micro_batches(self, step: int) -> list[Any]:
        """This process's micro-batches of optimiser step ``step``, with the mean age of kept rows noted."""
        batches = super().micro_batches(step)
        ages = self.buffer.ages
        if ages:
            self.kept.noted["own_age"] = sum(ages) / len(ages)
        return batches

    def _is_fresh(self, place: int) -> bool:
        return self._chance("new or kept", place) < self.how.fresh

    def _chance(self, what: str, place: int) -> float:
        return float(torch.rand((), generator=stream(self.seed, what, place), dtype=torch.float64))
