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

Named = tuple[Divergence, tuple[tuple[str, Hashable], ...]]
"""A divergence and its options."""


def normalise(
    tile: Tensor, highest: Tensor, total: Tensor, scale: float, scratch: Tensor
) -> tuple[Tensor, Tensor]:
    """The running maximum and sum of exponentials ``[n]`` of ``scale * tile``, with one more slice.

    ``scratch``, as large as the slice, is written over.
    """
    if scale != 1:
        tile = torch.mul(tile, scale, out=scratch)
    # `highest` never is -inf: a slice in which everything is "never" must add 0, not NaN.
    above = torch.maximum(highest, tile.amax(0))
    shifted = torch.sub(tile, above, out=scratch).exp_()
    return above, total * torch.exp(highest - above) + shifted.sum(0)


def compare(
    terms: Sequence[Named],
    scale: float,
    logits: Tensor,
    told: Tensor,
    log_q_norm: Tensor,
    log_p_norm: Tensor,
    weights: Tensor | None,
    out: Tensor | None,
    add: bool,
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
        out: takes the weighted sum of the slopes; it may be ``told`` itself.
        add: whether that is added to what is there.

    Returns:
        Sums over the slice's tokens of values and of slopes, unweighted, ``[K, n]`` each.
    """
    log_q = logits - log_q_norm if scale == 1 else logits * scale - log_q_norm
    log_p = told - log_p_norm
    values, slopes = [], []
    weighted: Tensor | None = None
    for k, (divergence, options) in enumerate(terms):
        f, g = divergence.density(log_q, log_p, **dict(options))
        values.append(f.sum(0))
        slopes.append(g.sum(0))
        if weights is not None:
            # Positions that only another term asks for: zero times an infinite slope would be NaN.
            g = torch.where(weights[k] == 0, 0.0, g * weights[k])
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
        if scale == 1:
            part = torch.sub(logits, normaliser, out=out).exp_()
        else:
            part = torch.mul(logits, scale, out=out).sub_(normaliser).exp_()
        if total is None:
            total = part.mul_(coefficient)
        else:
            total = torch.addcmul(total, part, coefficient, out=scratch)
    if total is None:
        return scratch.zero_()
    return scratch.copy_(total) if total is dense else total
