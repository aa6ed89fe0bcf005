"""Fused = plain: the evaluation that trains against the obvious one, which writes every row out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tutelage.conformance.found import Answers, Found
from tutelage.conformance.subject import GOLD, Subject
from tutelage.distribution import Distribution, Hidden, gold
from tutelage.distribution.base import Chunk, OpenRows, Workspace
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.plain import plain_loss
from tutelage.objective import Term
from tutelage.run.learner import meet

LOSS, GRADIENT = "loss", "gradient"
POSITIONS = 16
"""Positions that are compared: the plain version keeps rows x vocabulary several times."""


class Beginning(Distribution):
    """The first positions of another distribution."""

    def __init__(self, of: Distribution, positions: int) -> None:
        self.of = of
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
        """Some tensor of the other."""
        return self.of.like

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> OpenRows:
        """Some of the first positions."""
        places = slice(*chunk.indices(self.positions)) if isinstance(chunk, slice) else chunk
        return self.of.open(places, workspace, student)


def fused_is_plain(subject: Subject, scratch: Path) -> Answers:
    """Each term on its own: value, and gradient by hidden states and output layer."""
    with torch.no_grad():
        rows = subject.learner.rows(subject.batch)
    met = Beginning(meet(subject.told, subject.shared), POSITIONS) if subject.from_teacher else None
    steepness = float(_fused(rows, _against(GOLD, subject, rows, None))[1].norm())
    loss, gradient, worst = 0.0, 0.0, ""
    for term in subject.terms:
        against = _against(term, subject, rows, met)
        (value, slopes), (plain, expected) = _fused(rows, against), _plain(rows, against)
        apart = abs(value - plain) / max(1.0, abs(plain))
        if not apart <= loss:
            loss, worst = apart, f"{term}"
        length = float((slopes - expected).norm()) / max(float(expected.norm()), steepness)
        gradient = length if not length <= gradient else gradient
    said = f"{POSITIONS} positions" + (f"; largest for {worst}" if worst else "")
    return {LOSS: Found(loss, said), GRADIENT: Found(gradient)}


def _against(term: Term, subject: Subject, rows: Hidden, met: Distribution | None) -> Against:
    count = min(POSITIONS, rows.positions)
    target = met
    if term.against == "gold":
        target = gold(subject.batch.gold[:count], rows.vocab_size, rows.hidden.new_zeros(0).float())
    assert target is not None
    weights = torch.full((count,), 1 / count, device=rows.hidden.device)
    return Against(TABLE.load(term.divergence), target, weights, term.temperature, term.options)


def _student(rows: Hidden) -> tuple[Hidden, list[Tensor]]:
    """The first positions in float32, to be differentiated by what is given beside them."""
    count = min(POSITIONS, rows.positions)
    leaves = [rows.hidden[:count], rows.weight, *([] if rows.bias is None else [rows.bias])]
    leaves = [leaf.detach().float().clone().requires_grad_() for leaf in leaves]
    bias = leaves[2] if rows.bias is not None else None
    return Hidden(leaves[0], leaves[1], bias, rows.scale, rows.softcap, rows.never), leaves


def _fused(rows: Hidden, against: Against) -> tuple[float, Tensor]:
    student, leaves = _student(rows)
    value, _ = evaluate(student, [against])
    return float(value.detach()), _joined(torch.autograd.grad(value, leaves))


def _plain(rows: Hidden, against: Against) -> tuple[float, Tensor]:
    student, leaves = _student(rows)
    values = plain_loss(
        student, against.teacher, against.divergence, temperature=against.temperature, **against.options
    )
    value = values.mean()
    return float(value.detach()), _joined(torch.autograd.grad(value, leaves))


def _joined(gradients: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])
