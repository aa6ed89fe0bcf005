"""Several teachers in one: on which token ids they meet, and what they say there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tutelage.distribution import Distribution, restricted
from tutelage.interfaces import Running, Teacher
from tutelage.models import Vocabulary, common


def met(teachers: Iterable[Teacher], running: Running | None = None) -> Vocabulary | None:
    """What the ids mean that all share; None where none of them has a vocabulary yet.

    Args:
        teachers: open; those that are made of the student have no vocabulary before they were told of a run.
        running: its student has to share the ids too; None before there is one.

    Raises:
        NotShared: their tokenizers differ.
    """
    found: list[Any] = [teacher.vocabulary for teacher in teachers]
    known = [vocabulary for vocabulary in found if vocabulary is not None]
    if running is not None:
        known.insert(0, running.student.vocabulary)
    return common(*known) if known else None


def columns_of(teachers: Iterable[Teacher]) -> tuple[str, ...]:
    """Columns of the data that some of them look at, each once."""
    return tuple(dict.fromkeys(name for one in teachers for name in getattr(one, "columns", ())))


def parameters_of(teachers: Iterable[Teacher]) -> int | None:
    """The sum of what they have learnt; None where one does not know."""
    counts = [getattr(one, "parameters", None) for one in teachers]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def cut(distribution: Distribution, shared: Vocabulary) -> Distribution:
    """A member's distribution on the shared ids alone."""
    never = torch.tensor(shared.unassigned, dtype=torch.long, device=distribution.like.device)
    return restricted(distribution, shared.width, never)
