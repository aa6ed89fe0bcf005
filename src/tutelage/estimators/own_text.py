"""What estimators know about text that the student drew itself: how likely it was, and for whom."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import TutelageError
from tutelage.estimators.returns import by_row
from tutelage.interfaces import BEHAVIOUR, OWN, Batch
from tutelage.objective import Term


@dataclass(frozen=True, eq=False)
class Importance:
    """Weights of drawn tokens for what they were drawn from, ``[N]`` each, float64, constants.

    Attributes:
        step: the student's probability over that of the sampling distribution, when it was drawn.
        single: what the single part is multiplied with where it is weighted: `step`, or its product so far.
        factor: what advantages are multiplied with besides the ratio.
        log_behaviour: what the ratio is taken to: its logarithm.
    """

    step: Tensor
    single: Tensor
    factor: Tensor
    log_behaviour: Tensor

    @classmethod
    def of(cls, batch: Batch, kind: str) -> Importance:
        """The weights of a batch whose own rows carry what was recorded when they were written.

        Raises:
            TutelageError: nothing was recorded.
        """
        said, behaviour = batch.recorded_at(OWN), batch.recorded_at(BEHAVIOUR)
        if said is None or behaviour is None:
            raise TutelageError(
                "own text without the log-probabilities that it was drawn with",
                expected="samples that record them",
                fix="use samples of the kind `student`, `mixture` or `replay`",
            )
        logs = torch.where(batch.written_by("student"), said - behaviour, 0.0)
        placed = by_row(logs, batch.mask)
        so_far = placed.cumsum(1)
        whole = placed.sum(1, keepdim=True).expand_as(placed)
        step, product = logs.exp(), so_far[batch.mask].exp()
        one = torch.ones_like(step)
        if kind == "step":
            return cls(step, step, one, behaviour)
        if kind == "product":
            return cls(step, product, product, said)
        if kind == "trajectory":
            return cls(step, product, whole[batch.mask].exp(), said)
        return cls(step, product if kind == "by_reward" else one, one, said)


def is_own(term: Term) -> bool:
    """Whether a term compares the student's own text with a teacher."""
    return term.against == "teacher" and term.on in ("student", "all")


def finite(rewards: Tensor) -> None:
    """Refuse rewards that are not numbers.

    Raises:
        TutelageError: the teacher says "never" of a drawn token.
    """
    if not bool(rewards.isfinite().all()):
        raise TutelageError(
            f"{int((~rewards.isfinite()).sum())} drawn tokens have a reward that is not finite",
            expected="a teacher that gives every token that the student says some probability",
            fix="restrict what is drawn (`top_p: 0.95` under `samples:`), or use the estimator `per_token` "
            "with a divergence that stays finite (jensen_shannon)",
        )
