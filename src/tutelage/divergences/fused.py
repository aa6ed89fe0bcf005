"""Fused evaluation: one walk for every divergence and every distribution, memory without rows x vocabulary.

The counted positions are taken in chunks; `tutelage.divergences.walk` evaluates one and forgets it.
Value and gradient come from the same walk, so the backward pass only hands over what is already there.

Layout, chunk and tile sizes: ``docs/decisions.md``. The slow twin is `tutelage.divergences.plain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tutelage.distribution import Distribution, Hidden
from tutelage.distribution.base import Workspace, says_something
from tutelage.distribution.device import ON_CPU, Sizes
from tutelage.divergences import TABLE
from tutelage.divergences.against import Against
from tutelage.divergences.separable import check_target
from tutelage.divergences.walk import Walk
from tutelage.errors import OutOfRange, TutelageError, listed
from tutelage.interfaces import Divergence, asks_target

__all__ = ["Against", "evaluate", "loss"]

CHUNK_BYTES, MAX_CHUNK = ON_CPU.tile_bytes, ON_CPU.most_rows


def loss(
    student_hidden: Tensor,
    student_head: Tensor | tuple[Tensor, Tensor | None],
    teacher: Distribution,
    divergence: str | Divergence = "forward_kl",
    mask: Tensor | None = None,
    chunk_rows: int | None = None,
    temperature: float = 1.0,
    target: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Mean divergence of the counted positions: a scalar in nats per counted position.

    Differentiable with respect to hidden states, weight and bias, as usual. Memory grows with the
    rows and with the vocabulary, never with their product.

    Args:
        student_hidden: last hidden states ``(N, H)``.
        student_head: weight ``(V, H)``, or a pair of weight and bias ``(V,)``.
        teacher: any distribution over the same N positions and V tokens.
        divergence: a name of the table, or a divergence itself.
        mask: ``(N,)``, true where a position counts; None counts all.
        chunk_rows: positions evaluated at a time; None chooses from the sizes. It never changes the result
            beyond rounding.
        temperature: tempers student and teacher alike (no factor of its square is applied).
        target: token ids ``(N,)`` for a divergence that asks for them (`decoupled`); what stands at positions
            that do not count does not matter.
        options: of the divergence, such as ``beta=0.3``.

    Raises:
        TutelageError: shapes do not fit, no position counts, a teacher's row says nothing at all, or
            the divergence can't be computed from what is known of the teacher.
        OutOfRange: an option of the divergence, ``temperature`` or ``chunk_rows`` is out of range.
    """
    weight, bias = student_head if isinstance(student_head, tuple) else (student_head, None)
    student = Hidden(student_hidden, weight, bias)
    counts = (
        torch.ones(student.positions, dtype=torch.bool, device=student_hidden.device)
        if mask is None
        else mask
    )
    if tuple(counts.shape) != (student.positions,) or counts.dtype != torch.bool:
        raise TutelageError(
            f"a mask of shape {tuple(counts.shape)} and type {counts.dtype}",
            expected=f"a boolean mask ({student.positions},), true where a position counts",
            fix="flatten the mask like the hidden states and compare it with a number",
        )
    counted = student.positions if mask is None else int(counts.sum())
    if counted == 0:
        raise TutelageError(
            "no position counts",
            expected="a mask that is true somewhere",
            fix="leave batches without counted tokens out",
        )
    named = TABLE.load(divergence) if isinstance(divergence, str) else divergence
    _check_slope(named)
    weights = counts.to(torch.float64 if student_hidden.dtype == torch.float64 else torch.float32) / counted
    term = Against(named, teacher, weights, temperature, options, target=target)
    return evaluate(student, [term], chunk_rows=chunk_rows)[0]


def evaluate(
    student: Hidden, terms: Sequence[Against], *, chunk_rows: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The weighted sum of several terms at once, sharing the matrix products of student and teacher.

    Terms share a teacher's products where they name the same object and temperature, and the student's where
    they look at the same view of it.

    Args:
        student: hidden states and output layer, with gradients wanted where they require them.
        terms: what the student is compared with.
        chunk_rows: positions evaluated at a time; None chooses from the sizes.

    Returns:
        ``sum_k sum_i weights_k[i] * divergence_k[i]`` without the watched terms, differentiable; and for
        every term the unweighted values ``[N]`` in nats, detached, 0 where its weight is 0.
    """
    seen = [student if term.student is None else term.student for term in terms]
    for view, term in zip(seen, terms, strict=True):
        _check(view, term)
    if chunk_rows is not None and chunk_rows < 1:
        raise OutOfRange(
            f"chunk_rows is {chunk_rows}", expected="a number from 1 up", fix="write None to have it chosen"
        )
    views: dict[int, list[int]] = {}
    for place, view in enumerate(seen):
        views.setdefault(id(view), []).append(place)
    if len(views) <= 1:
        return _evaluated(seen[0] if seen else student, terms, chunk_rows)
    totals, values = [], dict[int, Tensor]()
    for places in views.values():
        total, found = _evaluated(seen[places[0]], [terms[place] for place in places], chunk_rows)
        totals.append(total)
        values |= dict(zip(places, found, strict=True))
    zero = student.hidden.new_zeros(())
    return sum(totals, start=zero), [values[place] for place in range(len(terms))]


def _evaluated(
    student: Hidden, terms: Sequence[Against], chunk_rows: int | None
) -> tuple[Tensor, list[Tensor]]:
    # Asked here: inside the function torch always says that gradients are off.
    wanted = torch.is_grad_enabled()
    total, *values = _Evaluation.apply(
        student.hidden,
        student.weight,
        student.bias,
        student,
        tuple(terms),
        chunk_rows,
        wanted,
        _halves(student.hidden.device),
    )
    return total, list(values)


def choose_chunk(vocab_size: int, positions: int, sizes: Sizes = ON_CPU) -> int:
    """Positions evaluated at a time: enough for fast products, few enough that a tile stays bounded.

    Chunks are about equally large, so that none is left with a few positions.
    """
    most = sizes.most(vocab_size)
    chunks = -(-positions // most)
    return max(1, min(most, -(-positions // max(chunks, 1) // 64) * 64))


def _halves(device: torch.device) -> bool:
    """Whether who calls wants products of bfloat16: asked before autocast is switched off."""
    return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.bfloat16


class _Evaluation(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        student: Hidden,
        terms: tuple[Against, ...],
        chunk_rows: int | None,
        wanted: bool,
        halves: bool,
    ) -> tuple[Tensor, ...]:
        counts = torch.zeros(student.positions, dtype=torch.bool, device=hidden.device)
        for term in terms:
            counts |= term.weights != 0
        rows = counts.nonzero()[:, 0]
        gradients = [wanted and of for of in ctx.needs_input_grad[:3]]
        # Sums over a vocabulary are not for half precision, whatever the model around them runs in.
        with (
            torch.autocast(hidden.device.type, enabled=False),
            Workspace.lent(student.hidden, autocast=halves) as workspace,
        ):
            size = chunk_rows or choose_chunk(student.vocab_size, len(rows), workspace.sizes)
            workspace.sizes = workspace.sizes.cut(size)
            walk = Walk(student, terms, gradients, workspace, alone=len(rows) <= size)
            for chunk in rows.split(size):
                walk.chunk(chunk)
            says_something(walk.said[rows])
        ctx.save_for_backward(*walk.gradients)
        ctx.mark_non_differentiable(*walk.values)
        return (walk.total.to(walk.workspace.dtype), *walk.values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        # A copy of the output layer's gradient costs more than it looks: the usual factor is 1.
        plain = bool(grad == 1)
        return (*(g if g is None or plain else g * grad for g in ctx.saved_tensors), *[None] * 5)


def _check_slope(divergence: Any) -> None:
    if not hasattr(divergence, "density"):
        name = getattr(divergence, "__name__", repr(divergence))
        raise TutelageError(
            f"{name} has no gradient",
            expected="a divergence with a density (see `tutelage list divergences`)",
            fix=f"use {name} in reports, and train with forward_kl, say",
        )


def _check(student: Hidden, term: Against) -> None:
    _check_slope(term.divergence)
    teacher = term.teacher
    if (teacher.positions, teacher.vocab_size) != (student.positions, student.vocab_size):
        raise TutelageError(
            f"a teacher of {teacher.positions} positions and {teacher.vocab_size} tokens beside a student of "
            f"{student.positions} positions and {student.vocab_size} tokens",
            expected="the same positions and the same tokens",
            fix="count the same positions, and restrict both to the ids that they share",
        )
    name = getattr(term.divergence, "__name__", "")
    asks, counts = asks_target(term.divergence), term.weights != 0
    check_target(name, asks, term.target, (student.positions,), student.vocab_size, counts)
    if teacher.needs is not None and name in TABLE and teacher.needs not in TABLE[name].laws:
        raise not_served(name, teacher.needs)
    if not 0 < term.temperature < float("inf"):
        raise OutOfRange(
            f"temperature is {term.temperature}", expected="a number above 0", fix="write 1 for none"
        )


def not_served(divergence: str, needs: str) -> TutelageError:
    """The error for a divergence that lacks a law which a kind of distribution needs."""
    able = [name for name, entry in TABLE.items() if needs in entry.laws]
    return TutelageError(
        f"{divergence} cannot be computed from tokens drawn from the teacher: where the student says what "
        "the teacher hardly does, the estimate has no bounded variance",
        expected=f"a divergence that is {needs.replace('_', ' ')}: {listed(able)}",
        fix=f"choose {able[0]}, or keep the teacher as `hidden` or `top_k`",
    )
