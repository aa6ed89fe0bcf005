"""Cross-entropy both ways: fine-tuning on gold tokens (SFT), soft labels, and what ENGINE minimises."""

from tutelage.divergences.separable import separable, separable_summing_to
from tutelage.numerics import times_log
from tutelage.shapes import Logs, Probs


@separable_summing_to(-1.0)
def cross_entropy(log_q: Logs, log_p: Logs, q: Probs, p: Probs) -> tuple[Logs, Logs]:
    """``-sum p log q``, in nats per token; in a recipe the rows ``p`` are the gold tokens themselves.

    Forward KL plus the entropy of ``p``, so the gradient by logit is the same ``q - p``. A term of an
    objective may ask for `against: teacher` to compare with the teacher's rows instead.

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: what it should say, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: those of what it should say.

    Returns:
        Value density and its slope by ``log_q``, elementwise. Not zero at equality: the least value
        is the entropy of ``p``.
    """
    return -times_log(p, log_q), -p


@separable
def reverse_cross_entropy(log_q: Logs, log_p: Logs, q: Probs, p: Probs) -> tuple[Logs, Logs]:
    """``-sum q log p``, in nats per token: how unlikely the teacher finds what the student says (ENGINE).

    Reverse KL without the student's entropy, so that nothing rewards variety: on the student's own text it
    collapses onto a few texts. It is infinite where the student says what the teacher never does.

    Args:
        log_q: the student's log-probabilities, any shape; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.

    Returns:
        Value density and its slope by ``log_q``, elementwise. Not zero at equality: the least value is
        minus the log of the teacher's largest probability.

    Source: Tu et al. 2020, ENGINE, arXiv:2005.00850; as a baseline in Wen et al. 2023, f-DISTILL,
    arXiv:2307.15190.
    """
    value = -times_log(q, log_p)
    return value, value
