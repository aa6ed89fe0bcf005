"""Total variation distance (f-DISTILL's TVD): half the absolute difference in probability."""

from tutelage.divergences.separable import separable
from tutelage.shapes import Logs, Probs


@separable
def total_variation(log_q: Logs, log_p: Logs, q: Probs, p: Probs) -> tuple[Logs, Logs]:
    """Half of ``sum |p - q|``: the share of what is said that must move. A number, not nats.

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.

    Returns:
        Value density and its slope by ``log_q``, elementwise. The sum is symmetric and at most 1, at
        most ``sqrt(KL / 2)``; no logit's gradient exceeds 1/4. At ties the slope is 0.

    Source: Wen et al. 2023, f-DISTILL, arXiv:2307.15190, section 2.3.
    """
    ahead = q - p
    return ahead.abs() * 0.5, ahead.sign() * q * 0.5
