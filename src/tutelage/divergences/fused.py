"""Fused evaluation: one walk for every divergence and every distribution, memory without rows x vocabulary.

The counted positions are taken in chunks. For one chunk the student's logits are made slice by slice
of the vocabulary, ``[tokens, positions]``, while their normaliser is gathered; the teacher's likewise;
then one elementwise pass a slice gives value and slope, and a last walk turns slopes into gradients of
logits and sends them back through the output layer. Then the chunk is forgotten. Value and gradient
come from the same walk, so the backward pass only hands over what is already there.

Layout, chunk and tile sizes: ``docs/decisions.md``. The slow twin is `tutelage.divergences.plain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tutelage.distribution import Distribution, Hidden, tempered
from tutelage.distribution.base import FullRows, Workspace, says_something, slices
from tutelage.distribution.hidden import HiddenRows
from tutelage.divergences import TABLE
from tutelage.errors import OutOfRange, TutelageError
from tutelage.interfaces import Divergence
from tutelage.numerics import RunningNormaliser

CHUNK_BYTES = 128 * 2**20
"""Target size of one tile over the whole vocabulary; two or three of them exist at a time."""

MAX_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Against:
    """One term: a divergence from a teacher, and what each position weighs in it.

    Attributes:
        divergence: with a `density`.
        teacher: a distribution over the student's positions and tokens.
        weights: factor of every position ``[N]``; positions of weight 0 are not evaluated.
        temperature: tempers student and teacher alike, on the teacher's support.
        options: of the divergence.
    """

    divergence: Divergence
    teacher: Distribution
    weights: Tensor
    temperature: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


def loss(
    student_hidden: Tensor,
    student_head: Tensor | tuple[Tensor, Tensor | None],
    teacher: Distribution,
    divergence: str | Divergence = "forward_kl",
    mask: Tensor | None = None,
    chunk_rows: int | None = None,
    temperature: float = 1.0,
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
        options: of the divergence, such as ``beta=0.3``.

    Raises:
        TutelageError: shapes do not fit, no position counts, or a teacher's row says nothing at all.
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
    counted = int(counts.sum())
    if counted == 0:
        raise TutelageError(
            "no position counts",
            expected="a mask that is true somewhere",
            fix="leave batches without counted tokens out",
        )
    named = TABLE.load(divergence) if isinstance(divergence, str) else divergence
    _check_slope(named)
    weights = counts.to(torch.float64 if student_hidden.dtype == torch.float64 else torch.float32) / counted
    term = Against(named, teacher, weights, temperature, options)
    return evaluate(student, [term], chunk_rows=chunk_rows)[0]


def evaluate(
    student: Hidden, terms: Sequence[Against], *, chunk_rows: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The weighted sum of several terms at once, sharing the student's matrix products.

    Args:
        student: hidden states and output layer, with gradients wanted where they require them.
        terms: what the student is compared with.
        chunk_rows: positions evaluated at a time; None chooses from the sizes.

    Returns:
        ``sum_k sum_i weights_k[i] * divergence_k[i]``, differentiable; and for every term the
        unweighted values ``[N]`` in nats, detached, 0 where its weight is 0.
    """
    for term in terms:
        _check(student, term)
    if chunk_rows is not None and chunk_rows < 1:
        raise OutOfRange(
            f"chunk_rows is {chunk_rows}", expected="a number from 1 up", fix="write None to have it chosen"
        )
    # Asked here: inside the function torch always says that gradients are off.
    wanted = torch.is_grad_enabled()
    total, *values = _Evaluation.apply(
        student.hidden, student.weight, student.bias, student, tuple(terms), chunk_rows, wanted
    )
    return total, list(values)


def choose_chunk(vocab_size: int, positions: int) -> int:
    """Positions evaluated at a time: enough for fast products, few enough that a tile stays bounded."""
    fitting = CHUNK_BYTES // (4 * vocab_size)
    return max(64, min(MAX_CHUNK, positions, fitting // 64 * 64))


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
    ) -> tuple[Tensor, ...]:
        walk = _Walk(student, terms, wanted=[wanted and of for of in ctx.needs_input_grad[:3]])
        counts = torch.zeros(student.positions, dtype=torch.bool, device=hidden.device)
        for term in terms:
            counts |= term.weights != 0
        rows = counts.nonzero()[:, 0]
        size = chunk_rows or choose_chunk(student.vocab_size, len(rows))
        for chunk in rows.split(size):
            walk.chunk(chunk)
        ctx.save_for_backward(*walk.gradients)
        ctx.mark_non_differentiable(*walk.values)
        return (walk.total.to(walk.workspace.dtype), *walk.values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        # A copy of the output layer's gradient costs more than it looks: the usual factor is 1.
        plain = bool(grad == 1)
        return (*(g if g is None or plain else g * grad for g in ctx.saved_tensors), *[None] * 4)


class _Walk:
    """The state of one evaluation: sums that grow chunk by chunk."""

    def __init__(self, student: Hidden, terms: tuple[Against, ...], wanted: Sequence[bool]) -> None:
        self.student = student
        self.terms = terms
        self.workspace = Workspace(student.hidden)
        new = self.workspace.empty
        hidden, weight, bias = wanted
        self.grad_hidden = torch.zeros_like(student.hidden) if hidden else None
        # Written whole by the first chunk, so it need not be zeroed.
        self.grad_weight = new(*student.weight.shape) if weight else None
        self.untouched = True
        self.grad_bias = new(student.vocab_size).zero_() if bias and student.bias is not None else None
        self.backward = hidden or weight or bias
        self.values = [new(student.positions).zero_() for _ in terms]
        self.total = torch.zeros((), dtype=torch.float64, device=student.hidden.device)

    @property
    def gradients(self) -> list[Tensor | None]:
        """By hidden states, weight and bias, in the types of these."""
        if self.untouched and self.grad_weight is not None:
            self.grad_weight.zero_()
        pairs = zip(
            (self.grad_hidden, self.grad_weight, self.grad_bias),
            (self.student.hidden, self.student.weight, self.student.bias),
            strict=True,
        )
        return [None if g is None or of is None else g.to(of.dtype) for g, of in pairs]

    def chunk(self, rows: Tensor) -> None:
        """Evaluate all terms at some positions and add up their gradients."""
        self.workspace.reset()
        opened = self.student.open(rows, self.workspace)
        logits = self.workspace.take(self.student.vocab_size, len(rows))
        normaliser = opened.fill_all(logits)
        slopes = self.workspace.take(*logits.shape) if self.backward else None
        mark = self.workspace.mark()
        first = True
        for index, term in enumerate(self.terms):
            weights = term.weights[rows].to(logits.dtype)
            if not bool((weights != 0).any()):
                continue
            values = self._term(term, rows, logits, normaliser, weights, slopes, first)
            self.workspace.release(mark)
            first = False
            self.values[index][rows] = torch.where(weights != 0, values, 0.0)
            self.total += (weights.double() * torch.where(weights != 0, values, 0.0).double()).sum()
        if slopes is not None and not first:
            self._send_back(rows, opened, logits, slopes)

    def _term(
        self,
        term: Against,
        rows: Tensor,
        logits: Tensor,
        normaliser: Tensor,
        weights: Tensor,
        slopes: Tensor | None,
        first: bool,
    ) -> Tensor:
        teacher = tempered(term.teacher, term.temperature).open(rows, self.workspace, logits)
        if isinstance(teacher, FullRows):
            return self._all_tokens(term, teacher, logits, normaliser, weights, slopes, first)
        return self._buckets(term, teacher.ids, teacher.columns(), logits, weights, slopes, first)

    def _all_tokens(
        self,
        term: Against,
        teacher: FullRows,
        logits: Tensor,
        normaliser: Tensor,
        weights: Tensor,
        slopes: Tensor | None,
        first: bool,
    ) -> Tensor:
        told = self.workspace.take(*logits.shape)
        log_p_norm = says_something(teacher.fill_all(told).masked_fill(weights == 0, 0.0))
        scale = 1 / term.temperature
        log_q_norm = normaliser if scale == 1 else _normaliser(logits, scale)
        value = torch.zeros(logits.shape[1], dtype=torch.float64, device=logits.device)
        slope_sum = torch.zeros_like(log_q_norm)
        for tokens in slices(len(logits)):
            log_q = logits[tokens] * scale - log_q_norm if scale != 1 else logits[tokens] - log_q_norm
            f, g = term.divergence.density(log_q, told[tokens].sub_(log_p_norm), **term.options)
            value += f.sum(0)
            if slopes is not None:
                slope_sum += g.sum(0)
                told[tokens] = g
        if slopes is not None:
            by_weight = weights * scale
            idle = _idle(weights)
            for tokens in slices(len(logits)):
                q = torch.sub(logits[tokens] * scale if scale != 1 else logits[tokens], log_q_norm).exp_()
                part = told[tokens].sub_(q.mul_(slope_sum)).mul_(by_weight)
                if idle is not None:
                    part.masked_fill_(idle, 0.0)
                slopes[tokens] = part if first else slopes[tokens].add_(part)
        return value.to(logits.dtype)

    def _buckets(
        self,
        term: Against,
        ids: Tensor,
        teacher: Tensor,
        logits: Tensor,
        weights: Tensor,
        slopes: Tensor | None,
        first: bool,
    ) -> Tensor:
        student = _onto(logits, ids)
        log_q = (student / term.temperature).log_softmax(0)
        log_p = teacher - says_something(teacher.logsumexp(0).masked_fill(weights == 0, 0.0))
        f, g = term.divergence.density(log_q, log_p, **term.options)
        if slopes is not None:
            by_column = (g - log_q.exp() * g.sum(0)) * (weights / term.temperature)
            idle = _idle(weights)
            if idle is not None:
                by_column.masked_fill_(idle, 0.0)
            # Within the rest a token's logit moves it by its share of the rest.
            in_rest = torch.where(student[-1] > -torch.inf, by_column[-1], 0.0)
            rest = torch.where(student[-1] > -torch.inf, student[-1], 0.0)
            real, at = (ids >= 0).nonzero(as_tuple=True)
            where = (ids[real, at], at)
            kept_before = None if first else slopes[where]
            for tokens in slices(len(logits)):
                part = torch.sub(logits[tokens], rest).exp_().mul_(in_rest)
                slopes[tokens] = part if first else slopes[tokens].add_(part)
            kept = by_column[:-1][real, at]
            slopes[where] = kept if kept_before is None else kept_before + kept
        return f.sum(0)

    def _send_back(self, rows: Tensor, opened: HiddenRows, logits: Tensor, slopes: Tensor) -> None:
        student = self.student
        back = torch.zeros_like(opened.states) if self.grad_hidden is not None else None
        for tokens in slices(len(logits)):
            part = slopes[tokens]
            if student.softcap is not None:
                z = logits[tokens] / student.softcap
                part.mul_(torch.where(z.isfinite(), 1 - z * z, 0.0))
            if student.scale != 1:
                part.mul_(student.scale)
            if back is not None:
                back.addmm_(part.T, student.weight[tokens].detach().to(part.dtype))
            if self.grad_weight is not None:
                # beta 0 does not read what is there, not even a NaN.
                self.grad_weight[tokens].addmm_(part, opened.states, beta=0 if self.untouched else 1)
            if self.grad_bias is not None:
                self.grad_bias[tokens] += part.sum(1)
        self.untouched = False
        if back is not None and self.grad_hidden is not None:
            self.grad_hidden[rows] = back.to(self.grad_hidden.dtype)


def _idle(weights: Tensor) -> Tensor | None:
    # Positions that only another term asks for: zero times an infinite slope would be NaN there.
    idle = weights == 0
    return idle if bool(idle.any()) else None


def _normaliser(logits: Tensor, scale: float) -> Tensor:
    running = RunningNormaliser(logits.shape[1], logits)
    for tokens in slices(len(logits)):
        running.add(logits[tokens] * scale)
    return running.value()


def _onto(logits: Tensor, ids: Tensor) -> Tensor:
    # The student's tile brought onto kept columns and the rest, [k + 1, n]; the tile is left as it was.
    real, at = (ids >= 0).nonzero(as_tuple=True)
    where = (ids[real, at], at)
    kept = torch.full(ids.shape, -torch.inf, dtype=logits.dtype, device=logits.device)
    values = logits[where]
    kept[real, at] = values
    logits[where] = -torch.inf
    rest = _normaliser(logits, 1.0)
    logits[where] = values
    return torch.cat([kept, rest[None]])


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
    if not 0 < term.temperature < float("inf"):
        raise OutOfRange(
            f"temperature is {term.temperature}", expected="a number above 0", fix="write 1 for none"
        )
