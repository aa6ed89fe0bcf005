"""Fused = plain: the evaluation that trains against the obvious one, which writes every row out.

The plain one computes in float64: in float32 it is the less exact of the two, over a large vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.conformance.found import Answers, Found
from tutelage.conformance.subject import GOLD, Subject
from tutelage.distribution import Distribution, Hidden, gold, standardised
from tutelage.distribution.base import Chunk, OpenRows, Workspace
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.plain import plain_loss
from tutelage.estimators.per_token import standardised_rows
from tutelage.interfaces import asks_target
from tutelage.objective import Term
from tutelage.run.learner import meet

LOSS, GRADIENT = "loss", "gradient"
POSITIONS = 16
"""Positions that are compared: the plain version keeps rows x vocabulary several times."""


class Beginning(Distribution):
    """The first positions of another distribution.

    Args:
        of: the other.
        positions: how many.
        dtype: floating-point type in which its tiles are computed.
    """

    def __init__(self, of: Distribution, positions: int, dtype: torch.dtype = torch.float32) -> None:
        self.of = of
        self.dtype = dtype
        self.never = of.never
        self.needs = of.needs
        self._positions = min(positions, of.positions)

    @property
    def positions(self) -> int:
        """Number of positions, ``N``."""
        return self._positions

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return self.of.vocab_size

    @property
    def like(self) -> Tensor:
        """A tensor without elements, on its device."""
        return self.of.like.new_zeros(0, dtype=self.dtype)

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> OpenRows:
        """Some of the first positions."""
        places = slice(*chunk.indices(self.positions)) if isinstance(chunk, slice) else chunk
        return self.of.open(places, workspace, student)


def fused_is_plain(subject: Subject, scratch: Path) -> Answers:
    """Each term on its own: value, and gradient by hidden states and output layer."""
    with torch.no_grad():
        rows = subject.learner.rows(subject.batch)
    told = meet(subject.told, subject.shared) if subject.from_teacher else None
    _, slopes = _fused(subject, rows, told, GOLD)
    steepness = float(slopes.norm())
    loss = gradient = torch.zeros(())
    worst = ""
    for term in subject.terms:
        (value, slopes), (plain, expected) = (how(subject, rows, told, term) for how in (_fused, _plain))
        apart = (value - plain).abs() / plain.abs().clamp(min=1)
        worst = worst if apart < loss else str(term)
        # The larger of two, or the one that is not a number.
        loss = torch.maximum(loss, apart)
        gradient = torch.maximum(
            gradient, (slopes - expected).norm() / max(float(expected.norm()), steepness)
        )
    said = f"{_count(rows)} positions; largest for {worst}"
    return {LOSS: Found(_finite(loss), said), GRADIENT: Found(_finite(gradient))}


def _fused(subject: Subject, rows: Hidden, told: Distribution | None, term: Term) -> tuple[Tensor, Tensor]:
    student, leaves = _student(rows, torch.float32)
    count = student.positions
    weights = torch.full((count,), 1 / count, device=student.hidden.device)
    target, divergence = _target(subject, student, told, term), TABLE.load(term.divergence)
    token = _token(subject, student, divergence)
    if term.standardise:
        student, target = standardised_rows(student), standardised(target)
    value, _ = evaluate(
        student, [Against(divergence, target, weights, term.temperature, term.options, target=token)]
    )
    return value.detach().double(), _joined(torch.autograd.grad(value, leaves))


def _plain(subject: Subject, rows: Hidden, told: Distribution | None, term: Term) -> tuple[Tensor, Tensor]:
    student, leaves = _student(rows, torch.float64)
    target, divergence = _target(subject, student, told, term), TABLE.load(term.divergence)
    token = _token(subject, student, divergence)
    if term.standardise:
        student, target = standardised_rows(student), standardised(target)
    every = plain_loss(
        student, target, divergence, temperature=term.temperature, target=token, **term.options
    )
    value = every.mean()
    return value.detach(), _joined(torch.autograd.grad(value, leaves))


def _student(rows: Hidden, dtype: torch.dtype) -> tuple[Hidden, list[Tensor]]:
    """The first positions, to be differentiated by what is given beside them."""
    parts = [rows.hidden[: _count(rows)], rows.weight, *([] if rows.bias is None else [rows.bias])]
    leaves = [part.detach().to(dtype, copy=True).requires_grad_() for part in parts]
    bias = leaves[2] if rows.bias is not None else None
    return Hidden(leaves[0], leaves[1], bias, rows.scale, rows.softcap, rows.never), leaves


def _target(subject: Subject, student: Hidden, told: Distribution | None, term: Term) -> Distribution:
    if term.against == "gold":
        return gold(subject.batch.gold[: student.positions], student.vocab_size, student.hidden.detach())
    assert told is not None
    return Beginning(told, student.positions, student.hidden.dtype)


def _token(subject: Subject, student: Hidden, divergence: Any) -> Tensor | None:
    """The written tokens, for a divergence that asks for them."""
    return subject.batch.gold[: student.positions] if asks_target(divergence) else None


def _count(rows: Hidden) -> int:
    return min(POSITIONS, rows.positions)


def _joined(gradients: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([gradient.flatten().double() for gradient in gradients])


def _finite(number: Tensor) -> float:
    return float(number.nan_to_num(nan=torch.inf))
