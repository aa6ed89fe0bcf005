"""Hard labels: cross-entropy with the one token that the teacher finds most likely."""

from torch import Tensor

from tutelage.divergences.separable import separable_after
from tutelage.interfaces import WholeRows
from tutelage.numerics import times_log
from tutelage.shapes import Logs, Probs


def _most_likely(rows: WholeRows) -> dict[str, Tensor]:
    """The teacher's highest log-probability, and how many have it, ``[n]`` each."""
    top = rows.highest()
    (ties,) = rows.sums(lambda log_q, log_p, token: ((log_p == top).to(log_p.dtype),))
    return {"top": top, "ties": ties}


@separable_after(_most_likely)
def top1_cross_entropy(
    log_q: Logs, log_p: Logs, q: Probs, p: Probs, top: Logs, ties: Logs
) -> tuple[Logs, Logs]:
    """``-log q`` at the teacher's most likely token, in nats per token: what greedy decoding would label.

    Tokens that are equally likely share the label equally.

    Args:
        log_q: the student's log-probabilities, tokens first; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.
        top: the teacher's highest log-probability, one a position.
        ties: how many tokens have it.

    Returns:
        Value density and its slope by ``log_q``, elementwise. Not zero at equality: it is least for a student
        that says this token alone. Infinite where the student never says it.

    Where k tokens and the rest are kept, the most likely one is among those k.

    Source: Hinton et al. 2015, arXiv:1503.02531, of which this is the limit where the teacher's temperature
    goes to 0.
    """
    label = (log_p == top).to(log_q.dtype) / ties
    return -times_log(label, log_q), -label
