"""The student inside a run: a module whose forward pass is one micro-batch's share of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tutelage.distribution import Distribution, Hidden, restricted
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate
from tutelage.interfaces import Batch
from tutelage.models import LanguageModel, Shared, rows_of
from tutelage.objective import Term


class Learner(nn.Module):
    """The trained weights and how a loss is made of them.

    Output layer and body are used inside one forward pass, so that whatever wraps the module to
    gather gradients over processes sees all of them.

    Args:
        student: the language model to be trained.
        objective: the terms of the loss.
        estimator: turns terms and a batch into what the fused evaluation computes.
        shared: the token ids on which student and teacher meet.
        watches: divergences from the teacher to be told of beside the loss.

    Attributes:
        watches: names of all that is told: of these, and of what the estimator asks for.
    """

    def __init__(
        self,
        student: LanguageModel,
        objective: Sequence[Term],
        estimator: Any,
        shared: Shared,
        watches: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model = student.model
        self.objective = tuple(objective)
        self.estimator = estimator
        self.shared = shared
        self._of_teacher = tuple(watches)
        self.watches = (*self._of_teacher, *getattr(estimator, "watches", ()))

    def forward(
        self, batch: Batch, teacher: Distribution | None, counted: Mapping[str, int]
    ) -> tuple[Tensor, Tensor]:
        """This micro-batch's share of the step's loss, and of what is watched ``[K]``, in nats per token."""
        student = self.rows(batch)
        if teacher is not None:
            teacher = meet(teacher, self.shared)
        terms = self.estimator.terms(self.objective, batch, student, teacher, counted)
        if teacher is None or not self.watches:
            share, _ = evaluate(student, terms)
            return share, torch.zeros(len(self.watches), dtype=torch.float64)
        asked = self._asked(batch, counted)
        if asked is None:
            share, _ = evaluate(student, terms)
            return share, torch.full((len(self.watches),), torch.nan, dtype=torch.float64)
        weights = asked.to(student.hidden.device)
        watched = [Against(TABLE.load(name), teacher, weights, watched=True) for name in self._of_teacher]
        if hasattr(self.estimator, "watched"):
            watched += self.estimator.watched(self.objective, batch, student, teacher, counted)
        share, values = evaluate(student, [*terms, *watched])
        told = zip(watched, values[len(terms) :], strict=True)
        return share, torch.stack([(term.weights.double() * value.double()).sum() for term, value in told])

    def _asked(self, batch: Batch, counted: Mapping[str, int]) -> Tensor | None:
        """What each position ``[N]`` weighs in a mean over all that some term compares with the teacher.

        None if the whole step has none.
        """
        writers = {term.on for term in self.objective if term.against == "teacher"}
        if "all" in writers:
            writers = {"all"}
        total = sum(counted[writer] for writer in writers)
        if not total:
            return None
        asked = torch.zeros(batch.counted, dtype=torch.float32)
        for writer in writers:
            asked += 1.0 if writer == "all" else batch.written_by(writer).cpu().float()
        return asked / total

    def rows(self, batch: Batch) -> Hidden:
        """What the student says at the counted positions, on the shared tokens."""
        met = meet(said_by(self.model, batch), self.shared)
        assert isinstance(met, Hidden)
        return met


def recompute_activations(model: PreTrainedModel) -> None:
    """Keep no activations of the body: they are computed again on the way back."""
    # transformers 5 renames the method; the old name warns, the new one is missing in its first versions.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def said_by(model: PreTrainedModel, batch: Batch) -> Hidden:
    """What a model says at the counted positions, on all rows of its output layer."""
    hidden, layer = rows_of(model, batch)
    return Hidden(hidden, layer.weight, layer.bias, layer.scale, layer.softcap)


def meet(distribution: Distribution, shared: Shared) -> Distribution:
    """A distribution on the ids that student and teacher provably share."""
    return restricted(distribution, shared.width, shared.never_on(distribution.like.device))
