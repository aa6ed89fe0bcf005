"""Text that the student writes itself during the run, after the prompts of a data set (on-policy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tutelage.samples.writing import WrittenSamples


@dataclass(frozen=True)
class StudentSamples(WrittenSamples):
    """The student's own continuations of prompts; a share of the rows may stay the data set's.

    Every row is written anew whenever its turn comes, by the weights as they are then, and no gradient
    goes through the drawing. Which rows are the student's, and what it draws, are functions of the seed and
    of the row's place in the run.

    Attributes:
        on_policy: share of rows that the student writes, from 0 to 1; the others are the data set's own.
        teacher_tokens: share of the teacher in the sampling distribution of every token that the student
            writes (MiniLLM's alpha); the estimator `policy_gradient` corrects for it.
        inner_epochs: how often one collection of own text is gone through before new text is written.
        steps_per_rollout: optimiser steps that go through a collection once.
        on_collapse: what happens when the student's own text has become repetitive, very short or endless:
            `warn` says so once, `stop` ends the run with advice.

    Source: Agarwal et al. 2024, GKD, arXiv:2306.13649 (its lambda is `on_policy`); Gu et al. 2024, MiniLLM,
    arXiv:2306.08543 (mixing with the teacher, inner epochs).
    """

    on_policy: Annotated[float, "[0, 1]"] = 1.0
    teacher_tokens: Annotated[float, "[0, 1)"] = 0.0
    inner_epochs: Annotated[int, "[1, inf)"] = 1
    steps_per_rollout: Annotated[int, "[1, inf)"] = 1
    on_collapse: Literal["warn", "stop"] = "warn"

    @property
    def shares(self) -> dict[str, float]:
        """Share of the rows by writer; what is left is the data set's."""
        return {"student": self.on_policy}
