"""Decoupled distillation (DKD): the target against all others, and the others among themselves."""

from typing import Annotated

import torch
from torch import Tensor

from tutelage.divergences.separable import separable_after
from tutelage.errors import OutOfRange
from tutelage.interfaces import WholeRows
from tutelage.numerics import times_log
from tutelage.shapes import Logs, Probs, Where


def _others(rows: WholeRows) -> dict[str, Tensor]:
    """What both sides give to everything but the target, in logs."""
    of_student, of_teacher = rows.others()
    return {"others_q": of_student, "others_p": of_teacher}


@separable_after(_others, asks_target=True)
def decoupled(
    log_q: Logs,
    log_p: Logs,
    q: Probs,
    p: Probs,
    target: Where,
    others_q: Logs,
    others_p: Logs,
    *,
    target_weight: Annotated[float, "[0, inf)"] = 1.0,
    non_target_weight: Annotated[float, "[0, inf)"] = 8.0,
) -> tuple[Logs, Logs]:
    """Forward KL in its two parts, each with a weight of its own, in nats per token.

    ``target_weight * TCKD + non_target_weight * NCKD``: TCKD is the KL of (target, not target), NCKD that of
    the rows without the target, renormalised. Forward KL is ``TCKD + (1 - p(target)) NCKD``, whatever the
    target: it nearly forgets the others where the teacher is sure of the target, and this does not. In a
    recipe the target is the token that was written.

    Args:
        log_q: the student's log-probabilities, tokens first; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.
        target: true where the target stands, same shape. Called as a function of rows ``(..., V)`` it takes
            token ids ``(...)`` instead.
        others_q: log of what the student gives to all tokens but the target, one a position.
        others_p: the same of the teacher.
        target_weight: factor of the KL of (target, not target); the paper's alpha.
        non_target_weight: factor of the KL without the target; the paper's beta. The authors' code takes 8
            unless a pair of models has its own, on images of 100 classes at temperature 4.

    Returns:
        Value density and its slope by ``log_q``, elementwise. The sum is infinite where the teacher says what
        the student never does. Where the teacher says nothing but the target NCKD is 0.

    Raises:
        OutOfRange: a weight is negative or infinite, or both are 0.

    Where k tokens and the rest are kept, a target that was not kept is the rest.

    Source: Zhao et al. 2022, arXiv:2203.08679.
    """
    if not (0 <= target_weight < torch.inf and 0 <= non_target_weight < torch.inf):
        raise OutOfRange(
            f"target_weight is {target_weight}, non_target_weight is {non_target_weight}",
            expected="numbers from 0 up",
            fix="write `target_weight: 1.0` and `non_target_weight: 8.0`",
        )
    if target_weight == non_target_weight == 0:
        raise OutOfRange(
            "target_weight and non_target_weight are 0",
            expected="at least one of them above 0",
            fix="delete the term, or write `target_weight: 1.0`",
        )
    alone = others_p == -torch.inf
    # Among the others alone. Where a side says none of them, its logs stay "never".
    log_p_among = log_p - others_p.masked_fill(alone, 0.0)
    log_q_among = log_q - others_q.masked_fill(others_q == -torch.inf, 0.0)
    p_among, q_among = log_p_among.exp(), log_q_among.exp()
    apart = times_log(p, torch.where(target, log_p - log_q, others_p - others_q))
    among = times_log(p_among.masked_fill(target, 0.0), log_p_among - log_q_among)
    # What moves the target's share moves all others in proportion, so a part of TCKD's slope is theirs.
    slope_apart = torch.where(target, -p, -others_p.exp() * q_among)
    slope_among = (q_among - p_among).masked_fill(target | alone, 0.0)
    if not (target_weight and non_target_weight):  # zero times infinity is NaN
        parts = (apart, slope_apart) if target_weight else (among, slope_among)
        value, slope = ((target_weight or non_target_weight) * of for of in parts)
        return value, slope
    return (
        target_weight * apart + non_target_weight * among,
        target_weight * slope_apart + non_target_weight * slope_among,
    )
