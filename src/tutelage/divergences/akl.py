"""Adaptive KL (AKL): forward KL as far as the head is apart, reverse KL as far as the tail is."""

from typing import Annotated

import torch
from torch import Tensor

from tutelage.divergences.kl import forward_kl, reverse_kl
from tutelage.divergences.separable import separable_after
from tutelage.errors import OutOfRange
from tutelage.interfaces import WholeRows
from tutelage.shapes import Logs, Probs

HEAD_MASS = 0.5


def _head_share(rows: WholeRows, head_mass: float = HEAD_MASS) -> dict[str, Tensor]:
    """How much of the gap between the two lies in the teacher's head, ``[n]``; a constant to the gradient."""
    cutoff = rows.cutoff(head_mass)
    all_said = cutoff == -torch.inf  # tokens with a column of their own do not hold the mass

    def gaps(log_q: Tensor, log_p: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        gap = (log_p.detach().exp() - log_q.detach().exp()).abs()
        head = (token | all_said) & (log_p >= cutoff) & (log_p > -torch.inf)
        return gap, torch.where(head, gap, 0.0)

    whole, head = rows.sums(gaps)
    return {"head_share": torch.where(whole > 0, (head / whole).clamp(max=1.0), 0.5)}


@separable_after(_head_share)
def adaptive_kl(
    log_q: Logs,
    log_p: Logs,
    q: Probs,
    p: Probs,
    head_share: Logs,
    *,
    head_mass: Annotated[float, "(0, 1)"] = HEAD_MASS,
) -> tuple[Logs, Logs]:
    """Forward KL where likely tokens are wrong, reverse KL where unlikely ones are, in nats per token.

    ``w KL(p || q) + (1 - w) KL(q || p)``. The head is the smallest set of the teacher's most likely tokens
    that holds `head_mass`; ``w`` is its share in ``sum |p - q|``, a constant that no gradient flows through.
    Tokens that are as likely as the last one of the head belong to it too: their ids do not matter. What the
    teacher never says is tail.

    Args:
        log_q: the student's log-probabilities, tokens first; over the vocabulary they sum to one.
        log_p: the teacher's, same shape; ``-inf`` says "never".
        q: the student's probabilities.
        p: the teacher's.
        head_share: ``w``, one a position.
        head_mass: what the head holds at least of the teacher's probability, strictly between 0 and 1.

    Returns:
        Value density and its slope by ``log_q``, elementwise. The sum is infinite where one side says what
        the other never does, unless the KL that is infinite weighs nothing.

    Raises:
        OutOfRange: ``head_mass`` is not inside (0, 1).

    A few of the teacher's tokens are sorted out at every position. Where k tokens and the rest are kept, the
    rest belongs to the head only if those k hold less than `head_mass`.

    Source: Wu et al. 2025, arXiv:2404.02657, as the paper has it; code that others wrote for it differs.
    """
    if not 0 < head_mass < 1:
        raise OutOfRange(
            f"head_mass is {head_mass}",
            expected="a probability strictly between 0 and 1",
            fix="use `forward_kl` if all is head, `reverse_kl` if all is tail",
        )
    (f, f_slope), (r, r_slope) = (kl.density(log_q, log_p, q, p) for kl in (forward_kl, reverse_kl))
    all_tail, all_head = head_share == 0, head_share == 1

    def weighted(forward: Tensor, reverse: Tensor) -> Tensor:
        # Zero times an infinite KL would be NaN.
        return (head_share * forward).masked_fill(all_tail, 0.0) + ((1 - head_share) * reverse).masked_fill(
            all_head, 0.0
        )

    return weighted(f, r), weighted(f_slope, r_slope)
