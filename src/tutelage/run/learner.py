"""The student inside a run: a module whose forward pass is one micro-batch's share of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from tutelage.distribution import Distribution, Hidden, restricted
from tutelage.divergences.fused import evaluate
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
    """

    def __init__(
        self, student: LanguageModel, objective: Sequence[Term], estimator: Any, shared: Shared
    ) -> None:
        super().__init__()
        self.model = student.model
        self.objective = tuple(objective)
        self.estimator = estimator
        self.shared = shared

    def forward(
        self, batch: Batch, teacher: Distribution | None, counted: Mapping[str, int]
    ) -> tuple[Tensor, list[Tensor]]:
        """This micro-batch's share of the step's loss, and each term's values ``[N]`` in nats."""
        student = self.rows(batch)
        if teacher is not None:
            teacher = meet(teacher, self.shared)
        terms = self.estimator.terms(self.objective, batch, student, teacher, counted)
        return evaluate(student, terms)

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
