"""The default estimator: exact over the vocabulary at every counted token, no gradient through sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tutelage.distribution import Distribution, Hidden, gold
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch
from tutelage.objective import Term


@dataclass(frozen=True)
class PerToken:
    """Every counted token weighs the same in its term, however rows were cut into micro-batches.

    A term is the mean of its divergence over all counted tokens that its writer wrote in the whole
    optimiser step: all micro-batches, all processes.
    """

    def terms(
        self,
        objective: Sequence[Term],
        batch: Batch,
        student: Hidden,
        teacher: Distribution | None,
        counted: Mapping[str, int],
    ) -> list[Against]:
        """What the fused evaluation is to compute for one micro-batch.

        Args:
            objective: the terms.
            batch: the micro-batch.
            student: its rows at the batch's positions.
            teacher: the teacher's, on the same tokens; None if no term asks for it.
            counted: counted tokens of the whole step by writer; under ``all`` those of all writers.
        """
        kind = torch.float64 if student.hidden.dtype == torch.float64 else torch.float32
        made = []
        for term in objective:
            if not counted[term.on]:
                continue
            asked = torch.ones(student.positions, dtype=torch.bool, device=student.hidden.device)
            if term.on != "all":
                asked = batch.written_by(term.on)
            weights = asked.to(kind) * (term.weight / counted[term.on])
            if term.against == "gold":
                target: Distribution = gold(batch.gold, student.vocab_size, weights)
            elif teacher is None:
                raise TutelageError(
                    f"the term '{term}' compares with a teacher and there is none",
                    expected="a teacher",
                    fix="name one under `teacher:`, or compare with `against: gold`",
                )
            else:
                target = teacher
            divergence = TABLE.load(term.divergence)
            made.append(Against(divergence, target, weights, term.temperature, term.options))
        return made
