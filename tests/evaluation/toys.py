"""Two order-1 Markov writers over three tokens (2 can be the end), all of whose sequences can be listed."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

FIRST = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
NEXT = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]], dtype=torch.float64)
STUDENT_FIRST = torch.tensor([0.0, 0.5, -0.5], dtype=torch.float64).softmax(0)
STUDENT_NEXT = torch.tensor(
    [[0.2, -0.3, 0.1], [1.0, 0.0, -1.0], [-0.4, 0.4, 0.0]], dtype=torch.float64
).softmax(1)
TEACHER, STUDENT = (FIRST, NEXT), (STUDENT_FIRST, STUDENT_NEXT)
Writer = tuple[Tensor, Tensor]


def sequences(length: int, *, end: int | None = None) -> list[tuple[int, ...]]:
    """All of them; with an end token those that end are cut there."""
    every = itertools.product(range(3), repeat=length)
    return sorted({row[: row.index(end) + 1] if end in row else row for row in every})


def rows(writer: Writer, sequence: tuple[int, ...]) -> Tensor:
    """What it says at every step of a sequence, ``[T, 3]``."""
    first, following = writer
    return torch.stack([first, *(following[token] for token in sequence[:-1])])


def nats(writer: Writer, sequence: tuple[int, ...]) -> Tensor:
    """``-log`` of every token, ``[T]``."""
    return -rows(writer, sequence).log().gather(1, torch.tensor(sequence)[:, None])[:, 0]


def chance(writer: Writer, sequence: tuple[int, ...]) -> float:
    """How likely the writer is to write it."""
    return float((-nats(writer, sequence).sum()).exp())


def mean_by_step(of_step: Tensor, writer: Writer, length: int, *, end: int | None = None) -> Tensor:
    """Exact mean at every step over a writer's sequences, those that have ended count as 0.

    Args:
        of_step: the quantity after "nothing yet" and after each of the three tokens, ``[4]``.
    """
    total = torch.zeros(length).double()
    for sequence in sequences(length, end=end):
        states = torch.tensor([0, *(token + 1 for token in sequence[:-1])])
        total[: len(sequence)] += of_step[states] * chance(writer, sequence)
    return total


def after_each() -> tuple[Tensor, Tensor]:
    """Log-probabilities of student and teacher after "nothing yet" and after each token, ``[4, 3]``."""
    return tuple(torch.cat([first[None], following]).log() for first, following in (STUDENT, TEACHER))
