"""Skew KL (DistiLLM): one side is compared with a mixture that already holds a little of it."""

from typing import Annotated

from tutelage.divergences.middle import forward_to_middle, reverse_to_middle
from tutelage.divergences.separable import separable
from tutelage.errors import OutOfRange
from tutelage.shapes import Logs, Probs


@separable
def skew_forward_kl(
    log_q: Logs, log_p: Logs, q: Probs, p: Probs, *, skew: Annotated[float, "(0, 1)"] = 0.1
) -> tuple[Logs, Logs]:
    """KL from the teacher to a student that has already been told a little, in nats per token.

    ``KL(p || m)`` with ``m = skew * p + (1 - skew) * q``. The teacher's share of ``m`` keeps the
    loss finite where the student says "never".

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.
        skew: share of the teacher in the mixture, strictly between 0 and 1.

    Returns:
        Value density and its slope by ``log_q``, elementwise. Summed over the vocabulary the value
        is zero where the rows agree and at most ``-log(skew)``.

    Raises:
        OutOfRange: ``skew`` is not inside (0, 1).

    Source: Ko et al. 2024, DistiLLM, arXiv:2402.03898.
    """
    _proper(skew, "forward_kl", "teacher")
    return forward_to_middle.density(log_q, log_p, q, p, share=skew)


@separable
def skew_reverse_kl(
    log_q: Logs, log_p: Logs, q: Probs, p: Probs, *, skew: Annotated[float, "(0, 1)"] = 0.1
) -> tuple[Logs, Logs]:
    """KL from the student to a teacher that has already listened a little, in nats per token.

    ``KL(q || m)`` with ``m = skew * q + (1 - skew) * p``. The student's share of ``m`` keeps the
    loss finite where the teacher says "never".

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.
        skew: share of the student in the mixture, strictly between 0 and 1.

    Returns:
        Value density and its slope by ``log_q``, elementwise. Summed over the vocabulary the value
        is zero where the rows agree and at most ``-log(skew)``.

    Raises:
        OutOfRange: ``skew`` is not inside (0, 1).

    Source: Ko et al. 2024, DistiLLM, arXiv:2402.03898.
    """
    _proper(skew, "reverse_kl", "student")
    return reverse_to_middle.density(log_q, log_p, q, p, share=1 - skew)


def _proper(skew: float, plain: str, whose: str) -> None:
    if not 0 < skew < 1:
        raise OutOfRange(
            f"skew is {skew}",
            expected="a share strictly between 0 and 1",
            fix=f"use `{plain}` if you want no share of the {whose}",
        )
