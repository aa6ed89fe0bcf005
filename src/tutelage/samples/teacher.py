"""Text that the teacher wrote, once, after the prompts of a data set (sequence-level distillation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tutelage.samples.writing import WrittenSamples


@dataclass(frozen=True)
class TeacherSamples(WrittenSamples):
    """The teacher's own continuations of prompts, drawn when they are first needed and kept for good.

    What is kept is named by the teacher's weights, the prompts and the way of drawing: arms, seeds and later
    runs read it again, another teacher writes anew. It does not depend on the run's seed.

    Attributes:
        copies: different texts for each prompt; the n-th pass over the data takes the n-th, then the first
            again.
        store: folder in which they are kept; None keeps them in the run's own folder.

    Source: Kim and Rush 2016, SeqKD, arXiv:1606.07947; Wen et al. 2023, f-DISTILL, arXiv:2307.15190 (teacher
    samples drawn once, offline).
    """

    copies: Annotated[int, "[1, inf)"] = 1
    store: str | None = None

    @property
    def shares(self) -> dict[str, float]:
        """Share of the rows by writer; what is left is the data set's."""
        return {"teacher": 1.0}
