"""Estimators from the drawn tokens alone, for teachers that only score what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from tutelage.distribution import Distribution, Hidden, gold
from tutelage.divergences.fused import Against
from tutelage.divergences.scored import log_probs_of
from tutelage.errors import TutelageError
from tutelage.estimators.own_text import Importance, finite, is_own
from tutelage.estimators.per_token import PerToken, Reduction, gold_has_none, required, weights_of
from tutelage.estimators.surrogates import Reading, clipped_ratio, half_square, positive_ratio
from tutelage.interfaces import OWN, TEACHER, Batch
from tutelage.objective import Term


@dataclass(frozen=True)
class SampledToken:
    """Reverse KL on the student's own text, estimated from the drawn tokens.

    Attributes:
        form: `k1`: the log-ratio as an advantage, held constant, never differentiated itself; `k2`: half its
            square, differentiated, which has the same mean gradient; `k3`: ``p / q - 1 - log(p / q)``,
            differentiated: its *value* estimates the reverse KL, its mean gradient is the *forward* KL's.
        clip: of `k1`: how far the ratio of a drawn token's probabilities now and then may be from 1; `none`
            never clips.
        reading: of the clip: `ppo`, or `paper` for MiniLLM's Algorithm 1 to the letter.
        reduction: `token_mean`, or `sequence_sum`: the sum over a row's tokens, averaged over the rows.

    Source: Schulman 2020, "Approximating KL divergence" (a note on the web); Lu and Thinking Machines Lab
    2025, "On-Policy Distillation" (k1 as advantage).
    """

    form: Literal["k1", "k2", "k3"] = "k1"
    clip: Annotated[float, "(0, 1)"] | None = 0.2
    reading: Reading = "ppo"
    reduction: Reduction = "token_mean"

    def suits(self, objective: Sequence[Term]) -> None:
        """Refuse an objective that drawn tokens say nothing about.

        Raises:
            TutelageError: a term against the teacher is not the reverse KL on the student's own text.
        """
        gold_has_none(objective)
        told = [term for term in objective if term.against == "teacher"]
        for term in told:
            plain = term.temperature == 1 and not term.standardise
            if term.divergence != "reverse_kl" or term.on != "student" or not plain:
                raise TutelageError(
                    f"the term '{term}' from drawn tokens",
                    expected="`{divergence: reverse_kl, on: student}` at temperature 1",
                    fix="write it so, or use the estimator `per_token`",
                )
        if not told:
            raise TutelageError(
                "an estimator from drawn tokens, and no term compares with a teacher",
                expected="the term `{divergence: reverse_kl, on: student}`",
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
        plain = [term for term in objective if not is_own(term)]
        made = PerToken(self.reduction).terms(plain, batch, student, teacher, counted)
        own = batch.written_by("student")
        for term in objective:
            if not is_own(term) or not counted[term.on] or not bool(own.any()):
                continue
            share = weights_of(term, batch, student, counted, self.reduction)
            log_p = batch.recorded_at(TEACHER)
            if log_p is None:
                log_p = log_probs_of(required(teacher, term), batch.gold, student).double()
            finite(log_p[own])
            target = gold(batch.gold, student.vocab_size, share)
            log_p = torch.where(own, log_p, 0.0)
            if self.form != "k1":
                part = half_square if self.form == "k2" else positive_ratio
                made.append(Against(part, target, share, 1.0, {}, {"log_teacher": log_p}))
                continue
            weights, said = Importance.of(batch, "step"), batch.recorded_at(OWN)
            assert said is not None
            told = {"advantage": log_p - said, "log_behaviour": weights.log_behaviour}
            options = {"clip": self.clip, "reading": self.reading}
            made.append(Against(clipped_ratio, target, share, 1.0, options, told))
        return made
