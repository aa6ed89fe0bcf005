"""The slow, obvious evaluation: every row written out, the gradient left to autograd.

It is the yardstick of `tutelage.divergences.fused` and is never used to train.
"""

from typing import Any

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Hidden
from tutelage.distribution.base import PartialRows, Workspace
from tutelage.divergences.rows import Rows, column_of, not_known, value_of
from tutelage.interfaces import AfterStatistics, Divergence


def plain_loss(
    student: Hidden,
    teacher: Distribution,
    divergence: Divergence,
    *,
    mask: Tensor | None = None,
    temperature: float = 1.0,
    target: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Divergence of every counted position, nats ``[n]``, by the definition; many times N x V in memory.

    Args:
        student: hidden states and output layer, with gradients.
        teacher: any distribution over the same positions and tokens.
        divergence: a function of two rows of log-probabilities.
        mask: ``(N,)``, true where a position counts; None counts all.
        temperature: both are tempered with it, on the teacher's support.
        target: token ids ``(N,)`` for a divergence that asks for them.
        options: of the divergence.
    """
    logits = student.hidden @ student.weight.T
    if student.bias is not None:
        logits = logits + student.bias
    logits = logits * student.scale
    if student.softcap is not None:
        logits = student.softcap * torch.tanh(logits / student.softcap)
    if student.never is not None:
        logits = logits.index_fill(1, student.never, -torch.inf)
    log_q = logits.log_softmax(-1)
    opened = teacher.open(slice(None), Workspace(teacher.like), log_q.detach().T)
    if isinstance(opened, PartialRows):
        if isinstance(divergence, AfterStatistics):
            raise not_known(divergence.__name__)
        values = _over_known(log_q, opened, divergence, **options)
        return values if mask is None else values[mask]
    ids, log_p = teacher.on_support(student=log_q.detach())
    if ids is not None:
        log_q = onto_support(log_q, ids)
        target = None if target is None else column_of(target, ids.T)
    if mask is not None:
        log_q, log_p = log_q[mask], log_p[mask]
        target = None if target is None else target[mask]
    log_q = (log_q / temperature).log_softmax(-1)
    log_p = (log_p / temperature).log_softmax(-1)
    if isinstance(divergence, AfterStatistics):
        return value_of(divergence, Rows(log_q.T, log_p.T, target=target, rest=ids is not None), **options)
    return divergence(log_q, log_p, **options)


def _over_known(log_q: Tensor, known: PartialRows, divergence: Divergence, **options: Any) -> Tensor:
    """The weighted sum ``[n]`` over the tokens that are known."""
    total = log_q.new_zeros(known.n)
    for ids, logs, factors in zip(known.ids, known.logs, known.factors, strict=True):
        there = ids >= 0
        said = log_q[there].gather(1, ids[there, None])[:, 0]
        f, _ = divergence.density(said, logs[there], **options)
        total = total.index_add(0, there.nonzero()[:, 0], f * factors[there])
    return total


def onto_support(log_probs: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities ``[n, V]`` brought onto kept ids ``[n, k]`` and the rest: ``[n, k + 1]``."""
    empty = ids < 0
    kept = log_probs.gather(1, ids.clamp(min=0)).masked_fill(empty, -torch.inf)
    is_kept = torch.zeros_like(log_probs, dtype=torch.bool)
    row, column = (~empty).nonzero(as_tuple=True)
    is_kept[row, ids[row, column]] = True
    # log-sum-exp of nothing has no gradient in torch; such a rest is "never" and gets none.
    some = (~is_kept & (log_probs > -torch.inf)).any(1, keepdim=True)
    rest = torch.where(
        some,
        log_probs.masked_fill(is_kept & some, -torch.inf).logsumexp(1, keepdim=True),
        -torch.inf,
    )
    return torch.cat([kept, rest], 1)
