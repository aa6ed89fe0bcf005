"""Kullback-Leibler divergence in both directions: forward covers the teacher, reverse seeks a mode."""

from tutelage.divergences.separable import separable, separable_summing_to
from tutelage.numerics import times_log
from tutelage.shapes import Logs, Probs


@separable_summing_to(-1.0)
def forward_kl(log_q: Logs, log_p: Logs, q: Probs, p: Probs) -> tuple[Logs, Logs]:
    """KL(teacher || student), in nats per token: the student must cover all that the teacher says.

    ``sum p log(p / q)``; the gradient by logit is ``q - p``.

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.

    Returns:
        Value density and its slope by ``log_q``, elementwise. The sum is infinite where the teacher
        says what the student never does.

    Source: Hinton et al. 2015, arXiv:1503.02531 (with temperature); Kullback and Leibler 1951.
    """
    return times_log(p, log_p - log_q), -p


@separable
def reverse_kl(log_q: Logs, log_p: Logs, q: Probs, p: Probs) -> tuple[Logs, Logs]:
    """KL(student || teacher), in nats per token: the student says only what the teacher would.

    ``sum q log(q / p)``; the gradient by logit is ``q (log(q / p) - KL)``.

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.

    Returns:
        Value density and its slope by ``log_q``, elementwise. The sum is infinite where the student
        says what the teacher never does.

    Source: Gu et al. 2024, MiniLLM, arXiv:2306.08543 (the single-step part).
    """
    value = times_log(q, log_q - log_p)
    return value, value + q
