"""The default estimator: exact over the vocabulary at every counted token, no gradient through sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Hidden, gold, standardised
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against
from tutelage.divergences.middle import forward_to_middle, reverse_to_middle
from tutelage.divergences.scored import log_probs_of
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, asks_target
from tutelage.objective import Term

Reduction = Literal["token_mean", "sequence_sum"]

MIDDLES = {"skew_forward_kl": forward_to_middle, "skew_reverse_kl": reverse_to_middle}
"""Divergences from a middle, and what they are where its shares differ from position to position."""


@dataclass(frozen=True)
class PerToken:
    """Every counted token weighs the same in its term, however rows were cut into micro-batches.

    A term is the mean of its divergence over all counted tokens that its writer wrote in the whole
    optimiser step: all micro-batches, all processes.

    Attributes:
        reduction: `token_mean`, or `sequence_sum`: the sum over a row's tokens, averaged over the rows.
        middle: of skew divergences: `stepwise` mixes by `skew` at every position, as it stands; `exact` by
            the share that the teacher has in the *sequence* mixture, given what was written before: the
            odds of `skew` times the ratio of both probabilities of the row so far (f-DISTILL's Eq. 12).

    Source: of the exact middle: Wen et al. 2023, f-DISTILL, arXiv:2307.15190; its closed form is derived.
    """

    reduction: Reduction = "token_mean"
    middle: Literal["stepwise", "exact"] = "stepwise"

    def suits(self, objective: Sequence[Term]) -> None:
        """Refuse an objective in which an option would change nothing.

        Raises:
            TutelageError: `middle: exact`, and no term has a middle, or standardised logits against tokens.
        """
        gold_has_none(objective)
        for term in objective:
            if term.standardise and self.middle == "exact" and term.divergence in MIDDLES:
                raise TutelageError(
                    f"`standardise: true` for the term '{term}': beside a middle of whole texts",
                    expected="a term against the teacher, position by position",
                    fix="delete `standardise:` there",
                )
        has_middle = any(term.divergence in MIDDLES and term.against == "teacher" for term in objective)
        if self.middle == "exact" and not has_middle:
            raise TutelageError(
                "`middle: exact`, and no term of the objective has a middle",
                expected="a term with skew_forward_kl or skew_reverse_kl against the teacher",
                fix="delete `middle:`, or begin with `tutelage run f_distill_js`",
            )

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
            counted: counted tokens of the whole step by writer, under ``all`` those of all writers; and
                rows with a counted token under ``all rows``, ``student rows``, ...
        """
        made = []
        ahead: Tensor | None = None
        views: tuple[Hidden, Distribution] | None = None
        for term in objective:
            if not counted[term.on]:
                continue
            weights = weights_of(term, batch, student, counted, self.reduction)
            if term.against == "gold":
                target: Distribution = gold(batch.gold, student.vocab_size, weights)
            else:
                target = required(teacher, term)
            if self.middle == "exact" and term.divergence in MIDDLES:
                ahead = _log_ratio_before(batch, student, target) if ahead is None else ahead
                share = {"share": _exact_share(term, ahead)}
                made.append(Against(MIDDLES[term.divergence], target, weights, term.temperature, {}, share))
                continue
            divergence = TABLE.load(term.divergence)
            token = batch.gold if asks_target(divergence) else None
            view = None
            if term.standardise:
                # Once for all such terms, which then share their products.
                views = views or (standardised_rows(student), standardised(target))
                view, target = views
            made.append(
                Against(
                    divergence,
                    target,
                    weights,
                    term.temperature,
                    term.options,
                    target=token,
                    student=view,
                )
            )
        return made


def gold_has_none(objective: Sequence[Term]) -> None:
    """Refuse standardised logits against gold tokens, whatever the estimator.

    Raises:
        TutelageError: there is such a term.
    """
    for term in objective:
        if term.standardise and term.against == "gold":
            raise TutelageError(
                f"`standardise: true` for the term '{term}': beside the gold tokens, which have no logits",
                expected="a term against the teacher",
                fix="delete `standardise:` there",
            )


def standardised_rows(student: Hidden) -> Hidden:
    """The student's own rows standardised, with the gradient that goes through their spread."""
    rows = standardised(student)
    assert isinstance(rows, Hidden)
    return rows


def weights_of(
    term: Term, batch: Batch, student: Hidden, counted: Mapping[str, int], reduction: Reduction
) -> Tensor:
    """What every position ``[N]`` of a micro-batch weighs in a term: 0 where another writer wrote."""
    kind = torch.float64 if student.hidden.dtype == torch.float64 else torch.float32
    asked = torch.ones(student.positions, dtype=torch.bool, device=student.hidden.device)
    if term.on != "all":
        asked = batch.written_by(term.on)
    over = counted[term.on] if reduction == "token_mean" else counted[f"{term.on} rows"]
    return asked.to(kind) * (term.weight / over)


def required(teacher: Distribution | None, term: Term) -> Distribution:
    """The teacher that a term compares with.

    Raises:
        TutelageError: there is none.
    """
    if teacher is None:
        raise TutelageError(
            f"the term '{term}' compares with a teacher and there is none",
            expected="a teacher",
            fix="name one under `teacher:`, or compare with `against: gold`",
        )
    return teacher


def _log_ratio_before(batch: Batch, student: Hidden, teacher: Distribution) -> Tensor:
    """``log p - log q`` of all that was written before each position in its row, ``[N]``."""
    ratio = log_probs_of(teacher, batch.gold, student).double() - log_probs_of(student, batch.gold).double()
    return batch.summed_before(ratio)


def _exact_share(term: Term, ahead: Tensor) -> Tensor:
    """The teacher's share ``[N]`` in the middle, given what was written before."""
    skew = float(term.options["skew"])
    teacher = skew if term.divergence == "skew_forward_kl" else 1 - skew
    return torch.sigmoid(ahead + math.log(teacher / (1 - teacher)))
