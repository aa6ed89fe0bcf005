"""One temperature that is learnt against the student, and made to count little by little (CTKD)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Hidden
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against
from tutelage.divergences.temperature import kl_by_log_temperature
from tutelage.errors import TutelageError
from tutelage.estimators.per_token import PerToken, Reduction, gold_has_none, required, weights_of
from tutelage.interfaces import Batch
from tutelage.objective import Term
from tutelage.schedules import logistic


@dataclass(frozen=True)
class CurriculumTemperature:
    """Exact over the vocabulary at every counted token, at a temperature that makes it harder.

    ``temperature = lowest + span * logistic(theta)``, one for all; terms against the teacher count the square
    of it times. After every step ``theta`` climbs the loss: ``theta += rate * lambda * dL/dtheta``, where
    ``lambda`` grows from 0 to 1 over the first part of the run. So student and temperature pull in opposite
    directions. The gradient is exact and of the whole step; it costs one more pass over the tiles.

    Attributes:
        lowest: the least temperature.
        span: what is added to it at most.
        begin: ``theta`` at the first step; with the defaults that is a temperature of 15.6.
        rate: how far ``theta`` goes in a step.
        rising: share of the run over which ``lambda`` grows, as half a cosine.
        reduction: as in `per_token`.

    uncertain: `rate` and `rising` have no counterpart that carries over from the paper's images; there
    ``lambda`` rises over 10 of 240 epochs, and ``theta`` is in the student's own optimiser.

    Source: Li et al. 2023, CTKD, arXiv:2211.16231 (the version with one global temperature).
    """

    lowest: Annotated[float, "(0, inf)"] = 1.0
    span: Annotated[float, "(0, inf)"] = 20.0
    begin: float = 1.0
    rate: Annotated[float, "[0, inf)"] = 0.1
    rising: Annotated[float, "(0, 1]"] = 0.25
    reduction: Reduction = "token_mean"
    state: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    # What it wants to be told after every step (`tutelage.run.learner`), and that it tempers; no options.
    tempers = True
    watches = ("tempered_kl", "tempered_kl_by_log_temperature")

    def begun(self, steps: int) -> CurriculumTemperature:
        """The same at the beginning of a run of so many steps."""
        return dataclasses.replace(self, state={"theta": self.begin, "step": 0.0, "steps": float(steps)})

    @property
    def temperature(self) -> float:
        """Of the step that is being made."""
        return self.lowest + self.span * logistic(self._theta)

    @property
    def strength(self) -> float:
        """``lambda``: how much of the reversed gradient counts after this step."""
        made = self.state.get("step", 0.0) / (self.rising * self.state.get("steps", 1.0))
        return (1 - math.cos(math.pi * min(1.0, made))) / 2

    @property
    def noted(self) -> dict[str, float]:
        """For ``metrics.jsonl``."""
        return {"temperature": self.temperature, "temperature_strength": self.strength}

    def suits(self, objective: Sequence[Term]) -> None:
        """Refuse an objective without a divergence whose change with the temperature is known.

        Raises:
            TutelageError: a term against the teacher is not plain forward KL, there is none, or gold tokens
                are to be standardised.
        """
        gold_has_none(objective)
        told = [term for term in objective if term.against == "teacher"]
        for term in told:
            if term.divergence != "forward_kl" or term.temperature != 1 or term.standardise:
                raise TutelageError(
                    f"the term '{term}' at a learned temperature",
                    expected="`divergence: forward_kl`, whose change with the temperature is known, and no "
                    "temperature of its own",
                    fix="write it so, or use the estimator `per_token`",
                )
        if not told:
            raise TutelageError(
                "a learned temperature, and no term compares with a teacher",
                expected="a term with `divergence: forward_kl`",
                fix="add it, or delete `estimator:`",
            )

    def terms(
        self,
        objective: Sequence[Term],
        batch: Batch,
        student: Hidden,
        teacher: Distribution | None,
        counted: Mapping[str, int],
    ) -> list[Against]:
        """What the fused evaluation is to compute for one micro-batch; see `PerToken.terms`."""
        warm = self.temperature
        tempered = [
            dataclasses.replace(term, temperature=warm, weight=term.weight * warm**2)
            if term.against == "teacher"
            else term
            for term in objective
        ]
        return PerToken(self.reduction).terms(tempered, batch, student, teacher, counted)

    def watched(
        self,
        objective: Sequence[Term],
        batch: Batch,
        student: Hidden,
        teacher: Distribution | None,
        counted: Mapping[str, int],
    ) -> list[Against]:
        """What has to be known of the whole step to move on: KL at this temperature, and its slope."""
        told = [term for term in objective if term.against == "teacher" and counted[term.on]]
        weights: Tensor | float = torch.zeros(student.positions, device=student.hidden.device)
        for term in told:
            weights = weights + weights_of(term, batch, student, counted, self.reduction)
        assert isinstance(weights, Tensor)
        of = required(teacher, objective[0])
        return [
            Against(divergence, of, weights, self.temperature, watched=True)
            for divergence in (TABLE.load("forward_kl"), kl_by_log_temperature)
        ]

    def stepped(self, step: int, seen: Mapping[str, float]) -> None:
        """Climb by what was seen in optimiser step ``step`` (from 0)."""
        warm = self.temperature
        by_temperature = warm * (2 * seen[self.watches[0]] + seen[self.watches[1]])
        share = logistic(self._theta)
        climb = self.rate * self.strength * by_temperature * self.span * share * (1 - share)
        if math.isfinite(climb):
            self.state["theta"] = self._theta + climb
        self.state["step"] = float(step + 1)

    def state_dict(self) -> dict[str, Any]:
        """Where the temperature has got to."""
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.state.update(state)

    @property
    def _theta(self) -> float:
        return self.state.get("theta", self.begin)
