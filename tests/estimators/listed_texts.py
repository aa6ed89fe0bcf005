"""Toy models of three tokens whose texts can all be listed, in float64, and gradients over them.

Teacher and student look at the last token alone. The twelve logits of the student are the output layer of a
`Hidden` whose hidden states say in one-hot which prefix it is, so that a gradient by the weight is a gradient
by the logits.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution import Dense, Distribution, Hidden
from tutelage.divergences.fused import evaluate
from tutelage.interfaces import BEHAVIOUR, OWN, TEACHER, Batch
from tutelage.objective import Term

REFERENCE = Path(__file__).parent / "reference"
MINILLM = json.loads((REFERENCE / "minillm.json").read_text())
F_DISTILL = json.loads((REFERENCE / "f_distill.json").read_text())
TOLERANCE = 5e-9 + 1e-9
"""Half a unit of the eighth decimal, in which the numbers are printed, and rounding."""

KINDS = {"length_2": (2, None), "length_3": (3, None), "end": (2, 2)}
"""Tokens of a text, and the token that ends it early."""


def double(values: Any) -> Tensor:
    """Numbers in float64."""
    return torch.tensor(values, dtype=torch.float64)


@dataclass(frozen=True)
class Toy:
    """All texts of two models.

    Attributes:
        teacher: log-probabilities of the teacher after each prefix ``[4, 3]``: the start, then each token.
        logits: the student's ``[4, 3]``.
        texts: every text that there can be.
    """

    teacher: Tensor
    logits: Tensor
    texts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, kind: str, models: dict[str, Any] | None = None) -> Toy:
        """The toy of a kind, with the models of the specification."""
        said = models or MINILLM["models"]
        length, end = KINDS[kind]
        texts = dict.fromkeys(
            tuple(text[: text.index(end) + 1]) if end in text else text
            for text in itertools.product(range(3), repeat=length)
        )
        teacher = double([said["p1"], *said["p2"]]).log()
        logits = double([said["student_logits_z1"], *said["student_logits_z2"]])
        return cls(teacher, logits, tuple(texts))

    @property
    def student(self) -> Tensor:
        """Log-probabilities of the student ``[4, 3]``."""
        return self.logits.log_softmax(1)

    def states(self, text: tuple[int, ...]) -> list[int]:
        """Which prefix stands before each token."""
        return [0, *(token + 1 for token in text[:-1])]

    def logs(self, model: Tensor, text: tuple[int, ...]) -> Tensor:
        """Log-probability of each token of a text under rows ``[4, 3]``."""
        return model[self.states(text), list(text)]

    def mixed(self, share: float) -> Tensor:
        """Log-probabilities of the mixture of both, with a share of the teacher's."""
        return (share * self.teacher.exp() + (1 - share) * self.student.exp()).log()

    def batch(
        self, text: tuple[int, ...], behaviour: Tensor, writer: str = "student", padding: int = 0
    ) -> Batch:
        """One text as a batch, with what was recorded when it was drawn from ``behaviour`` ``[4, 3]``."""
        length = len(text) + 1
        tokens = torch.tensor([[0, *text, *[2] * padding]])
        mask = torch.tensor([[False, *[True] * len(text), *[False] * padding]])
        attention = torch.tensor([[True] * length + [False] * padding])
        told = {OWN: self.student, BEHAVIOUR: behaviour, TEACHER: self.teacher}
        recorded = {}
        for name, rows in told.items():
            placed = torch.zeros(1, length + padding, dtype=torch.float64)
            placed[0, 1:length] = self.logs(rows, text)
            recorded[name] = placed
        return Batch(tokens, attention, mask, (writer,), {}, recorded)

    def hidden(self, text: tuple[int, ...], weight: Tensor) -> Hidden:
        """The student's rows along a text."""
        return Hidden(torch.eye(4, dtype=torch.float64)[self.states(text)], weight)

    def told(self, text: tuple[int, ...]) -> Distribution:
        """The teacher's rows along a text."""
        return Dense(self.teacher[self.states(text)])

    def drawn(self, behaviour: Tensor) -> Iterator[tuple[tuple[int, ...], float]]:
        """Every text with its probability under rows ``[4, 3]``."""
        for text in self.texts:
            yield text, float(self.logs(behaviour, text).sum().exp())

    def gradient(
        self,
        estimator: Any,
        objective: tuple[Term, ...],
        text: tuple[int, ...],
        behaviour: Tensor,
        writer: str = "student",
    ) -> Tensor:
        """What the estimator makes of one text: the gradient ``[12]`` by the student's logits."""
        weight = self.logits.T.clone().requires_grad_()
        batch, student = self.batch(text, behaviour, writer), self.hidden(text, weight)
        counted = {name: n for w in ("all", "dataset", "teacher", "student") for name, n in _counts(batch, w)}
        total, _ = evaluate(student, estimator.terms(objective, batch, student, self.told(text), counted))
        if not total.requires_grad:
            return torch.zeros(12, dtype=torch.float64)
        (found,) = torch.autograd.grad(total, weight)
        return found.T.flatten()

    def expected(
        self, estimator: Any, objective: tuple[Term, ...], behaviour: Tensor, writer: str = "student"
    ) -> Tensor:
        """The mean of `gradient` over all texts drawn from ``behaviour``."""
        total = torch.zeros(12, dtype=torch.float64)
        for text, probability in self.drawn(behaviour):
            total += probability * self.gradient(estimator, objective, text, behaviour, writer)
        return total

    def variance(self, estimator: Any, objective: tuple[Term, ...]) -> float:
        """The trace of the covariance of `gradient` over texts that the student draws."""
        mean = self.expected(estimator, objective, self.student)
        second = sum(
            probability * float((self.gradient(estimator, objective, text, self.student) ** 2).sum())
            for text, probability in self.drawn(self.student)
        )
        return second - float((mean**2).sum())


def _counts(batch: Batch, writer: str) -> list[tuple[str, int]]:
    tokens, rows = batch.counts(writer)
    return [(writer, tokens), (f"{writer} rows", rows)]
