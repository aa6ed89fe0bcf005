"""The elementwise work of the fused evaluation on one slice of the vocabulary.

Each function reads and writes tiles ``[tokens, positions]`` that stay in a CPU's cache. An exponential
costs as much there as six of the other operations, so that few of them is what counts. Compiling these
functions did not pay on a CPU (``docs/decisions.md``).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from tutelage.interfaces import Divergence
from tutelage.numerics import exp, exp_shifted

Named = tuple[Divergence, tuple[tuple[str, Hashable], ...]]
"""A divergence and its options; numbers, or tensors ``[n]`` with one for each position."""


def compare(
    terms: Sequence[Named],
    scale: float,
    logits: Tensor,
    told: Tensor,
    log_q_norm: Tensor,
    log_p_norm: Tensor,
    weights: Tensor | None,
    some_idle: bool,
    out: Tensor | None,
    add: bool,
    keep: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Values and slopes of several divergences from one teacher.

    Args:
        terms: the divergences.
        scale: one over the temperature.
        logits: the student's slice ``[v, n]``, unnormalised.
        told: the teacher's, tempered.
        log_q_norm: normaliser of the scaled ``logits``, ``[n]``.
        log_p_norm: normaliser of ``told``.
        weights: of every term at every position ``[K, n]``; None is one term that weighs 1.
        some_idle: whether one of those weights is zero.
        out: takes the weighted sum of the slopes; it may be ``told`` itself.
        add: whether that is added to what is there.
        keep: takes the student's probabilities; it may be ``logits`` itself.

    Returns:
        Sums over the slice's tokens of values and of slopes, unweighted, ``[K, n]`` each.
    """
    log_q = logits - log_q_norm if scale == 1 else logits * scale - log_q_norm
    log_p = told - log_p_norm
    q, p = exp(log_q, out=keep), exp(log_p)
    values, slopes = [], []
    weighted: Tensor | None = None
    for k, (divergence, options) in enumerate(terms):
        f, g = divergence.density(log_q, log_p, q, p, **dict(options))
        values.append(f.sum(0))
        slopes.append(g.sum(0))
        if weights is not None:
            g = g * weights[k]
            if some_idle:
                # Positions that only another term asks for: zero times an infinite slope would be NaN.
                g.masked_fill_(weights[k] == 0, 0.0)
        weighted = g if weighted is None else weighted + g
    if out is not None and weighted is not None:
        if add:
            out.add_(weighted)
        else:
            out.copy_(weighted)
    return torch.stack(values), torch.stack(slopes)


def assemble(
    dense: Tensor | None, logits: Tensor, parts: Sequence[tuple[float, Tensor, Tensor]], scratch: Tensor
) -> Tensor:
    """A slice of the logits' gradient: ``dense + sum_k coefficient_k * exp(scale_k * logits - norm_k)``.

    Args:
        dense: ``[v, n]``, or None for nothing; it is left as it was.
        logits: the student's slice, unnormalised.
        parts: scale, normaliser ``[n]`` and coefficient ``[n]`` of every multiple of probabilities.
        scratch: as large as the slice; the result is written there.
    """
    total = dense
    for scale, normaliser, coefficient in parts:
        out = scratch if total is dense else torch.empty_like(scratch)
        part = exp_shifted(logits, normaliser, scale=scale, out=out)
        if total is None:
            total = part.mul_(coefficient)
        else:
            total = torch.addcmul(total, part, coefficient, out=scratch)
    if total is None:
        return scratch.zero_()
    return scratch.copy_(total) if total is dense else total
