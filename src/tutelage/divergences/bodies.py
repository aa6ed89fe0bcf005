"""The elementwise work of the fused evaluation on one slice of the vocabulary.

Each function reads and writes tiles ``[tokens, positions]`` that stay in a CPU's cache. An exponential
costs as much there as six of the other operations, so that few of them is what counts. Compiling these
functions did not pay on a CPU (``docs/decisions.md``). On a GPU reading and writing is what costs:
there `sums` and `gradient`, one kernel each, make of the tiles what `compare` and `assemble` make of them.
Where it is known beforehand what slopes sum to, `finish` makes values and gradient of a slice at once, and
`gradient` tells values too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from tutelage.interfaces import Divergence
from tutelage.numerics import exp, exp_shifted, sum_of_blocks

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
    pulling: Sequence[int],
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
        pulling: which terms' slopes are wanted.
        some_idle: whether one of their weights is zero.
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
        if k in pulling:
            g = _weighed(g, None if weights is None else weights[k], some_idle)
            weighted = g if weighted is None else weighted + g
    if out is not None and weighted is not None:
        if add:
            out.add_(weighted)
        else:
            out.copy_(weighted)
    return torch.stack(values), torch.stack(slopes)


def finish(
    terms: Sequence[Named],
    scale: float,
    logits: Tensor,
    told: Tensor,
    log_q_norm: Tensor,
    log_p_norm: Tensor,
    weights: Tensor | None,
    pulling: Sequence[int],
    some_idle: bool,
    coefficient: Tensor,
    out: Tensor,
) -> Tensor:
    """Values of several divergences whose slopes have known sums, and the gradient of all by the logits.

    Args:
        terms, scale, logits, told, log_q_norm, log_p_norm, weights, pulling, some_idle: as in `compare`.
        coefficient: of the student's probabilities in the gradient, ``[n]``.
        out: takes the gradient ``[v, n]``.

    Returns:
        Sums over the slice's tokens of the values, unweighted, ``[K, n]``.
    """
    log_q = logits - log_q_norm if scale == 1 else logits * scale - log_q_norm
    log_p = told - log_p_norm
    q, p = exp(log_q), exp(log_p)
    values = []
    total: Tensor | None = None
    for k, (divergence, options) in enumerate(terms):
        f, g = divergence.density(log_q, log_p, q, p, **dict(options))
        values.append(f.sum(0))
        if k in pulling:
            g = _weighed(g, None if weights is None else weights[k], some_idle)
            total = g if total is None else total + g
    assert total is not None
    torch.addcmul(total, q, coefficient, out=out)
    return torch.stack(values)


def _weighed(slopes: Tensor, weights: Tensor | None, some_idle: bool) -> Tensor:
    """Slopes ``[v, n]`` times weights ``[n]``; None is 1."""
    if weights is None:
        return slopes
    slopes = slopes * weights
    # Positions that only another term asks for: zero times an infinite slope would be NaN.
    return slopes.masked_fill_(weights == 0, 0.0) if some_idle else slopes


def sums(
    logits: Tensor, told: Tensor, log_q_norm: Tensor, log_p_norm: Tensor, terms: Sequence[Named], scale: float
) -> tuple[Tensor, Tensor]:
    """What `compare` gives back, ``[K, n]`` each: sums of values and of slopes, and nothing is written."""
    log_q = logits - log_q_norm if scale == 1 else logits * scale - log_q_norm
    log_p = told - log_p_norm
    q, p = exp(log_q), exp(log_p)
    pairs = [divergence.density(log_q, log_p, q, p, **dict(options)) for divergence, options in terms]
    values, slopes = (torch.stack([sum_of_blocks(part) for part in of]) for of in zip(*pairs, strict=True))
    return values, slopes


def gradient(
    logits: Tensor,
    dense: Tensor | None,
    told: Tensor | None,
    log_p_norm: Tensor | None,
    weights: Tensor | None,
    parts: Sequence[tuple[Tensor, Tensor]],
    scales: Sequence[float],
    terms: Sequence[Named],
    dtype: torch.dtype,
    valued: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What `assemble` makes of the slopes of `compare`, with the slopes computed on the way.

    Args:
        logits: the student's slice ``[v, n]``, unnormalised.
        dense: what is added to it ``[v, n]``, or None.
        told: the teacher's, tempered; None where there are no ``terms``.
        log_p_norm: its normaliser.
        weights: of every term at every position, times the scale, ``[K, n]``.
        parts: normaliser and coefficient ``[n]`` of every multiple of probabilities; the first normaliser is
            that of the terms.
        scales: of the logits in each.
        terms: the divergences.
        dtype: of the result.
        valued: whether values are wanted too.

    Returns:
        The gradient ``[v, n]``, and sums over the slice's tokens of the terms' values ``[K, n]`` or None.
    """
    total = dense
    values: list[Tensor] = []
    for place, (scale, (normaliser, coefficient)) in enumerate(zip(scales, parts, strict=True)):
        log_q = logits - normaliser if scale == 1 else logits * scale - normaliser
        q = exp(log_q)
        part = q * coefficient
        if place == 0 and told is not None and log_p_norm is not None and weights is not None:
            log_p = told - log_p_norm
            p = exp(log_p)
            for k, (divergence, options) in enumerate(terms):
                f, g = divergence.density(log_q, log_p, q, p, **dict(options))
                if valued:
                    values.append(sum_of_blocks(f))
                # Positions that only another term asks for: zero times an infinite slope would be NaN.
                part = part + torch.where(weights[k] == 0, 0.0, g * weights[k])
        total = part if total is None else total + part
    total = (torch.zeros_like(logits) if total is None else total).to(dtype)
    return total, torch.stack(values) if values else None


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
