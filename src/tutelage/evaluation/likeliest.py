"""How much the likeliest tokens of student and teacher have in common."""

from __future__ import annotations

from torch import Tensor


def top_overlap(log_q: Tensor, log_p: Tensor, k: int = 10) -> float:
    """Mean share of the ``k`` likeliest tokens that both have, from 0 to 1.

    Args:
        log_q, log_p: log-probabilities ``[n, V]``, at least one row.
        k: how many; of a smaller vocabulary all.
    """
    k = min(k, log_q.shape[1])
    ours, theirs = log_q.topk(k, -1).indices, log_p.topk(k, -1).indices
    return float((ours[:, :, None] == theirs[:, None, :]).any(2).double().mean())
