"""Both sides against a middle whose share of the teacher differs from position to position.

The exact middle of two distributions over whole texts needs it; a recipe asks for them by ``middle: exact``.
With one share everywhere they are `skew_forward_kl` and `skew_reverse_kl`.
"""

from torch import Tensor

from tutelage.divergences.separable import separable
from tutelage.numerics import log_mixture, mixture, times_log
from tutelage.shapes import Logs, Probs


@separable
def forward_to_middle(
    log_q: Logs, log_p: Logs, q: Probs, p: Probs, *, share: float | Tensor
) -> tuple[Logs, Logs]:
    """``KL(p || m)`` with ``m = share * p + (1 - share) * q``, in nats per token; the share is held constant.

    Args:
        log_q: the student's log-probabilities, tokens first.
        log_p: the teacher's, same shape.
        q, p: their exponentials.
        share: of the teacher in the middle, from 0 to 1: one number, or one for each position ``[n]``.

    Source: Wen et al. 2023, f-DISTILL, arXiv:2307.15190 (its Eq. 12).
    """
    m = mixture(p, q, weight=share)
    return times_log(p, log_p - log_mixture(m, p, q, log_p, log_q)), p * (q / m) * (share - 1)


@separable
def reverse_to_middle(
    log_q: Logs, log_p: Logs, q: Probs, p: Probs, *, share: float | Tensor
) -> tuple[Logs, Logs]:
    """``KL(q || m)`` with ``m = share * p + (1 - share) * q``, in nats per token; the share is held constant.

    Args:
        log_q: the student's log-probabilities, tokens first.
        log_p: the teacher's, same shape.
        q, p: their exponentials.
        share: of the teacher in the middle, from 0 to 1: one number, or one for each position ``[n]``.

    Source: Wen et al. 2023, f-DISTILL, arXiv:2307.15190 (its Eq. 12).
    """
    m = mixture(p, q, weight=share)
    value = times_log(q, log_q - log_mixture(m, p, q, log_p, log_q))
    return value, value + q * (1 - (1 - share) * (q / m))
