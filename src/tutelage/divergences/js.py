"""Jensen-Shannon divergence with a weight (GKD's generalised JSD; f-DISTILL's JS at one half)."""

import math
from typing import Annotated

import torch

from tutelage.divergences.kl import forward_kl, reverse_kl
from tutelage.divergences.separable import separable
from tutelage.errors import OutOfRange
from tutelage.numerics import log_mixture, mixture, times_log
from tutelage.shapes import Logs, Probs


@separable
def jensen_shannon(
    log_q: Logs,
    log_p: Logs,
    q: Probs,
    p: Probs,
    *,
    beta: Annotated[float, "[0, 1]"] = 0.5,
    scaled: bool = True,
) -> tuple[Logs, Logs]:
    """Both against their middle, in nats per token: bounded, and between the two KLs.

    ``beta KL(p || m) + (1 - beta) KL(q || m)`` with ``m = beta p + (1 - beta) q``, times a scale that
    is 1 at one half and makes the whole run continuously into `forward_kl` at ``beta = 0`` and into
    `reverse_kl` at ``beta = 1``: ``1 / (beta (1 - beta)) - 3``.

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.
        beta: share of the teacher in the middle, from 0 to 1.
        scaled: False leaves the scale out, as GKD and TRL do: the loss then fades to zero at both
            ends (at exactly 0 and 1 it is that zero; TRL puts the KLs there instead).

    Returns:
        Value density and its slope by ``log_q``, elementwise. At ``beta = 0.5`` the sum is at most
        log 2 and symmetric in student and teacher.

    Raises:
        OutOfRange: ``beta`` is not inside [0, 1].

    Source: Agarwal et al. 2024, GKD, arXiv:2306.13649; Lin 1991; Wen et al. 2023, f-DISTILL,
    arXiv:2307.15190. The scale is ours (derived).
    """
    if not 0 <= beta <= 1:
        raise OutOfRange(
            f"beta is {beta}",
            expected="a share from 0 (forward KL) to 1 (reverse KL)",
            fix="write `beta: 0.5` for the ordinary Jensen-Shannon divergence",
        )
    # So near to an end the divergence is the KL to a relative `end`, and the formula loses more digits.
    end = math.sqrt(torch.finfo(log_q.dtype).eps)
    if scaled and min(beta, 1 - beta) < end:
        return (reverse_kl if beta > 0.5 else forward_kl).density(log_q, log_p, q, p)
    if beta in (0, 1):
        return q * 0, q * 0  # not by the formula: zero times the infinite KL is undefined
    log_m = log_mixture(mixture(p, q, weight=beta), p, q, log_p, log_q)
    scale = 1 / (beta * (1 - beta)) - 3 if scaled else 1.0
    slope = times_log(q, log_q - log_m) * (scale * (1 - beta))
    return times_log(p, log_p - log_m) * (scale * beta) + slope, slope
