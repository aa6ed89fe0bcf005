"""How a student does on text it was not trained on: nats per token, divergence from its teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.distribution import Distribution
from tutelage.divergences import TABLE
from tutelage.interfaces import Batch

ROWS_AT_A_TIME = 128


@dataclass(frozen=True)
class HeldOut:
    """Measured at every counted token, kept by row of text so that intervals can be made.

    Attributes:
        tokens: counted tokens by row of text ``[R]``.
        sums: name of a measure to its sums by row of text ``[R]``: ``student_nats``, ``teacher_nats``,
            ``forward_kl_nats``, ``agreement``.
    """

    tokens: Tensor
    sums: dict[str, Tensor]

    def mean(self, name: str) -> float:
        """Mean per counted token of one measure; nats where its name says so."""
        return float(self.sums[name].sum() / self.tokens.sum().clamp(min=1))

    def means(self) -> dict[str, float]:
        """All means per counted token."""
        return {name: self.mean(name) for name in self.sums}


def measure(
    batches: Iterable[Batch],
    student: Callable[[Batch], Distribution],
    teacher: Callable[[Batch], Distribution] | None = None,
) -> HeldOut:
    """Walk held-out batches with both models in a chunk of positions at a time.

    Args:
        batches: held-out text.
        student: gives the student's distribution at the counted positions.
        teacher: the teacher's, on the same tokens; None measures the student alone.
    """
    names = ["student_nats"] + (["teacher_nats", "forward_kl_nats", "agreement"] if teacher else [])
    tokens: list[Tensor] = []
    sums: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.no_grad():
        for batch in batches:
            if not batch.counted:
                continue
            values = measured_positions(batch, student(batch), teacher(batch) if teacher else None)
            rows = batch.positions[0].cpu()
            text_rows = len(batch.writers)
            tokens.append(torch.bincount(rows, minlength=text_rows).double())
            for name in names:
                sums[name].append(torch.zeros(text_rows).double().index_add(0, rows, values[name]))
    nothing = torch.zeros(0).double()
    joined = {name: torch.cat(parts) if parts else nothing for name, parts in sums.items()}
    return HeldOut(torch.cat(tokens) if tokens else nothing, joined)


def measured_positions(
    batch: Batch, student: Distribution, teacher: Distribution | None
) -> dict[str, Tensor]:
    """Every measure at every counted position ``[N]``, float64 on the CPU."""
    kl, agree = TABLE.load("forward_kl"), TABLE.load("top1_agreement")
    gold = batch.gold
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, student.positions, ROWS_AT_A_TIME):
        rows = slice(start, min(start + ROWS_AT_A_TIME, student.positions))
        log_q = student.log_probs(rows)
        found = {"student_nats": _nats(log_q, gold[rows])}
        if teacher is not None:
            log_p = teacher.log_probs(rows, student=log_q)
            found |= {
                "teacher_nats": _nats(log_p, gold[rows]),
                "forward_kl_nats": kl(log_q, log_p),
                "agreement": agree(log_q, log_p),
            }
        for name, value in found.items():
            parts.setdefault(name, []).append(value.double().cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def _nats(log_probs: Tensor, gold: Tensor) -> Tensor:
    return -log_probs.gather(1, gold[:, None])[:, 0]
