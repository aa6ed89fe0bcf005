"""How a student does on text it was not trained on: nats per token, divergence from its teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.distribution import Distribution
from tutelage.distribution.base import PartialRows, Workspace
from tutelage.divergences import TABLE
from tutelage.divergences.plain import onto_support
from tutelage.evaluation.calibration import BINS, binned
from tutelage.interfaces import Batch, Divergence

ROWS_AT_A_TIME = 128


@dataclass(frozen=True)
class HeldOut:
    """Measured at every counted token, kept by row of text so that intervals can be made.

    Attributes:
        tokens: counted tokens by row of text ``[R]``.
        sums: name of a measure to its sums by row of text ``[R]``: ``student_nats``, ``teacher_nats``,
            ``forward_kl_nats``, ``agreement``.
        bins: by row of text, how sure the student was of its likeliest token and how often that was the
            written one ``[R, bins, 3]`` (`tutelage.evaluation.calibration.binned`).
    """

    tokens: Tensor
    sums: dict[str, Tensor]
    bins: Tensor

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
    gold: Callable[[Batch], Tensor | None] | None = None,
) -> HeldOut:
    """Walk held-out batches with both models in a chunk of positions at a time.

    Args:
        batches: held-out text.
        student: gives the student's distribution at the counted positions.
        teacher: the teacher's, on the same tokens; None measures the student alone.
        gold: what the teacher said of the written tokens ``[N]``, where its rows do not tell it.
    """
    tokens: list[Tensor] = []
    sums: dict[str, list[Tensor]] = {}
    bins: list[Tensor] = []
    with torch.no_grad():
        for batch in batches:
            if not batch.counted:
                continue
            said = gold(batch) if gold is not None else None
            values = _positions(batch, student(batch), teacher(batch) if teacher else None, said)
            rows = batch.positions[0].cpu()
            text_rows = len(batch.writers)
            sure, right = values.pop("confidence"), values.pop("correct")
            bins += [binned(sure[rows == row], right[rows == row]) for row in range(text_rows)]
            tokens.append(torch.bincount(rows, minlength=text_rows).double())
            for name, value in values.items():
                by_row = torch.zeros(text_rows).double().index_add(0, rows, value)
                sums.setdefault(name, []).append(by_row)
    nothing = torch.zeros(0).double()
    names = ["student_nats"] + (["teacher_nats", "forward_kl_nats", "agreement"] if teacher else [])
    joined = {name: torch.cat(parts) for name, parts in sums.items()} or dict.fromkeys(names, nothing)
    return HeldOut(
        torch.cat(tokens) if tokens else nothing,
        joined,
        torch.stack(bins) if bins else torch.zeros(0, BINS, 3).double(),
    )


def measured_positions(
    batch: Batch, student: Distribution, teacher: Distribution | None, gold: Tensor | None = None
) -> dict[str, Tensor]:
    """Every measure at every counted position ``[N]``, float64 on the CPU.

    From a teacher that kept k tokens and the rest, ``forward_kl_nats`` is a lower bound. From one that is
    known by drawn tokens alone it is an unbiased estimate, and there is no ``agreement``: which token it
    would say first is not known.

    Args:
        batch: held-out text.
        student: has a column for every token.
        teacher: on the same tokens, or None.
        gold: what the teacher said of the written tokens ``[N]``; None reads it from its rows.
    """
    found = _positions(batch, student, teacher, gold)
    return {name: values for name, values in found.items() if name not in ("confidence", "correct")}


def _positions(
    batch: Batch, student: Distribution, teacher: Distribution | None, gold: Tensor | None
) -> dict[str, Tensor]:
    """Every measure, and of the student's likeliest token its probability and whether it was written."""
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, student.positions, ROWS_AT_A_TIME):
        rows = slice(start, min(start + ROWS_AT_A_TIME, student.positions))
        log_q = student.log_probs(rows)
        likeliest = log_q.max(1)
        found = {
            "student_nats": _nats(log_q, batch.gold[rows]),
            "confidence": likeliest.values.exp(),
            "correct": likeliest.indices == batch.gold[rows],
        }
        if teacher is not None:
            found |= _from_teacher(log_q, teacher, rows, batch.gold[rows])
            if gold is not None:
                found["teacher_nats"] = -gold[rows]
        for name, value in found.items():
            parts.setdefault(name, []).append(value.double().cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def compared(log_q: Tensor, teacher: Distribution, divergence: Divergence, rows: slice) -> Tensor:
    """A divergence at some positions ``[n]`` in nats, from a teacher of any kind.

    Args:
        log_q: the student's log-probabilities there, ``[n, V]``.
        teacher: compared on what it knows: all tokens, k and the rest, or those that were drawn.
        divergence: with a density.
        rows: which positions.
    """
    opened = teacher.open(rows, Workspace(teacher.like), log_q.T.contiguous())
    if not isinstance(opened, PartialRows):
        ids, log_p = teacher.on_support(rows, student=log_q)
        return divergence(log_q if ids is None else onto_support(log_q, ids), log_p)
    said = log_q.T.gather(0, opened.ids.clamp(min=0))
    values, _ = divergence.density(said, opened.logs)
    return (values * opened.factors).masked_fill(opened.ids < 0, 0.0).sum(0)


def _from_teacher(log_q: Tensor, teacher: Distribution, rows: slice, gold: Tensor) -> dict[str, Tensor]:
    kl, agree = TABLE.load("forward_kl"), TABLE.load("top1_agreement")
    if teacher.needs is not None:
        drawn = teacher.log_probs(rows, student=log_q)
        return {"teacher_nats": _nats(drawn, gold), "forward_kl_nats": compared(log_q, teacher, kl, rows)}
    ids, columns = teacher.on_support(rows, student=log_q)
    log_p = columns if ids is None else teacher.log_probs(rows, student=log_q)
    return {
        "teacher_nats": _nats(log_p, gold),
        "forward_kl_nats": kl(log_q if ids is None else onto_support(log_q, ids), columns),
        "agreement": agree(log_q, log_p),
    }


def _nats(log_probs: Tensor, gold: Tensor) -> Tensor:
    return -log_probs.gather(1, gold[:, None])[:, 0]
