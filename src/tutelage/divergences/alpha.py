"""Amari's alpha-divergence: one family that holds both KLs, Hellinger's distance and chi squared."""

from typing import Annotated

import torch

from tutelage.divergences.kl import forward_kl, reverse_kl
from tutelage.divergences.separable import separable
from tutelage.errors import OutOfRange
from tutelage.shapes import Logs, Probs


@separable
def alpha_divergence(
    log_q: Logs, log_p: Logs, q: Probs, p: Probs, *, order: Annotated[float, "[0, 1]"] = 0.5
) -> tuple[Logs, Logs]:
    """From reverse KL (order 0) over Hellinger (1/2) to forward KL (order 1), in nats per token.

    ``(1 - sum p^order q^(1 - order)) / (order (1 - order))``; the two KLs are its limits at 1 and 0.

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.
        order: the power of the teacher (Amari's and Cichocki's alpha), from 0 to 1; nearer to 1
            covers the teacher, nearer to 0 seeks a mode.

    Returns:
        Value density, never negative, and its slope by ``log_q``, elementwise. For an order strictly
        between 0 and 1 the sum is at most ``1 / (order (1 - order))``.

    Raises:
        OutOfRange: ``order`` is not inside [0, 1].

    Source: Amari 1985; Cichocki and Amari 2010, Entropy 12(6), doi:10.3390/e12061532.
    """
    if not 0 <= order <= 1:
        raise OutOfRange(
            f"order is {order}",
            expected="a power from 0 (reverse KL) to 1 (forward KL)",
            fix="write `order: 0.5` for four times the squared Hellinger distance",
        )
    # Nearer to an end than rounding it is the KL, and a smaller divisor would underflow.
    if min(order, 1 - order) < torch.finfo(log_q.dtype).eps ** 2:
        return (forward_kl if order > 0.5 else reverse_kl).density(log_q, log_p, q, p)
    gap = p - q
    # expm1 of the log ratio instead of a difference of powers: near 0 and 1 the divisor is tiny. The
    # ratio is taken to the smaller power, so that it is only undefined where its factor is zero.
    if order < 0.5:
        ratio = (log_p - log_q).masked_fill(q == 0, 0.0)
        excess = q * (ratio * order).expm1()  # p^order q^(1 - order) - q
        value = order * gap - excess
    else:
        ratio = (log_p - log_q).masked_fill(p == 0, 0.0)
        from_p = p * (ratio * (order - 1)).expm1()  # p^order q^(1 - order) - p
        excess = from_p + gap
        value = (order - 1) * gap - from_p
    return value / (order * (1 - order)), excess / -order
