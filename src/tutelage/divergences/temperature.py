"""How forward KL changes with the temperature of both rows: what a learned temperature follows (CTKD)."""

import torch
from torch import Tensor

from tutelage.divergences.separable import separable_after
from tutelage.interfaces import WholeRows
from tutelage.numerics import times_log
from tutelage.shapes import Logs, Probs


def _mean_log(rows: WholeRows) -> dict[str, Tensor]:
    """The teacher's mean log-probability, ``[n]``."""
    (mean,) = rows.sums(lambda log_q, log_p, token: (times_log(log_p.exp(), log_p),))
    return {"mean_log_p": mean}


@separable_after(_mean_log)
def kl_by_log_temperature(
    log_q: Logs, log_p: Logs, q: Probs, p: Probs, mean_log_p: Logs
) -> tuple[Logs, Logs]:
    """``d KL(p || q) / d log temperature`` of rows that are both tempered by it, in nats per token.

    ``-E_p[(log p - E_p log p) (log p - log q)] + E_p log q - E_q log q``: the first part is what the
    teacher's rows change, the others what the student's do. It is looked at and never minimised: its slope
    by the student is given as zero.

    Args:
        log_q: the student's log-probabilities, tokens first; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.
        mean_log_p: minus the teacher's entropy, one a position.

    Source: derived, by differentiating the softmax of logits over a temperature.
    """
    teacher = -times_log(p, (log_p - mean_log_p) * (log_p - log_q))
    value = teacher + times_log(p, log_q) - times_log(q, log_q)
    return value, torch.zeros_like(value)
