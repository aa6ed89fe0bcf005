"""Rows of several writers in one run: the teacher's, the student's own, and the data set's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tutelage.errors import OutOfRange
from tutelage.samples.writing import WrittenSamples


@dataclass(frozen=True)
class MixtureSamples(WrittenSamples):
    """Each row written by the teacher, by the student or by whoever wrote the data set, by shares.

    The writers take turns evenly, so that already a few rows hold about the shares that were asked for.

    Attributes:
        teacher: share of rows that the teacher wrote; see the kind `teacher`.
        student: share of rows that the student writes itself; see the kind `student`.
        teacher_tokens: in the student's rows: share of the teacher in the sampling distribution of every
            token.
        copies: different texts of the teacher for each prompt.
        store: folder in which the teacher's texts are kept; None keeps them in the run's own folder.
        inner_epochs: how often one collection of text is gone through before new text is written.
        steps_per_rollout: optimiser steps that go through a collection once.
        on_collapse: what happens when the student's own text has become repetitive, very short or endless:
            `warn` says so once, `stop` ends the run with advice.

    Raises:
        OutOfRange: the shares are more than 1 together.

    Source: Wen et al. 2023, f-DISTILL, arXiv:2307.15190 (a half from each); Gu et al. 2024, MiniLLM,
    arXiv:2306.08543 (mixing by token).
    """

    teacher: Annotated[float, "[0, 1]"] = 0.5
    student: Annotated[float, "[0, 1]"] = 0.5
    teacher_tokens: Annotated[float, "[0, 1)"] = 0.0
    copies: Annotated[int, "[1, inf)"] = 1
    store: str | None = None
    inner_epochs: Annotated[int, "[1, inf)"] = 1
    steps_per_rollout: Annotated[int, "[1, inf)"] = 1
    on_collapse: Literal["warn", "stop"] = "warn"

    def __post_init__(self) -> None:
        if self.teacher + self.student > 1 + 1e-9:
            raise OutOfRange(
                f"the teacher's share {self.teacher:g} and the student's {self.student:g} are more than 1 "
                "together",
                expected="shares that sum to 1 at most; what is left is the data set's",
                fix="write for instance `teacher: 0.5` and `student: 0.5`",
            )

    @property
    def shares(self) -> dict[str, float]:
        """Share of the rows by writer; what is left is the data set's."""
        return {"teacher": self.teacher, "student": self.student}
