"""What the families know of one another: a batch, and what a teacher, a divergence, ... can do.

Teachers, divergences, samples, estimators and constraints never import one another. They know the
values and protocols of this file, and the run brings them together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tutelage.shapes import TokenIds, TokenMask, Tokens

if TYPE_CHECKING:
    # For the type checker alone: at run time the values lie to the right of this file.
    from tutelage.distribution import Distribution


@dataclass(frozen=True)
class Machine:
    """Where weights are opened.

    Attributes:
        device: a torch device, such as ``cpu`` or ``cuda:0``.
        dtype: floating-point type of frozen weights (``float32`` or ``bfloat16``).
    """

    device: str = "cpu"
    dtype: str = "float32"


OWN, BEHAVIOUR, TEACHER = "own", "behaviour", "teacher"
"""What is recorded of a drawn token: its natural log-probability under the student of that time, under the
distribution that it was drawn from, and under the teacher."""


@dataclass(frozen=True)
class Batch:
    """Rows of text, padded to one length.

    The *counted* tokens are those a student is taught to say: `mask` is true there. What predicts
    the token at ``(b, t)`` is the model's output at ``(b, t - 1)``, so the first token of a row never
    counts. Padding is told by `attention`, which is made from lengths: an end token that is also the
    padding token counts where it was said.

    Attributes:
        tokens: ids, ``[B, L]``.
        attention: true at real tokens, ``[B, L]``.
        mask: true at counted tokens, ``[B, L]``; false in the first column.
        writers: who wrote each row: ``dataset``, ``teacher`` or ``student``.
        columns: further fields of the rows, such as the one that routes a mixture.
        recorded: numbers about single tokens from when they were drawn (`OWN`, `BEHAVIOUR`, `TEACHER`), in
            float64, ``[B, L]``; 0 where nothing was recorded.
    """

    tokens: Tokens
    attention: TokenMask
    mask: TokenMask
    writers: tuple[str, ...]
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    recorded: Mapping[str, Tensor] = field(default_factory=dict)

    @functools.cached_property
    def positions(self) -> tuple[Tensor, Tensor]:
        """Row and column, ``[N]`` each, of the model outputs that predict the counted tokens."""
        rows, columns = self.mask.nonzero(as_tuple=True)
        return rows, columns - 1

    @property
    def gold(self) -> TokenIds:
        """The counted tokens themselves, ``[N]``, in the order of `positions`."""
        return self.tokens[self.mask]

    @property
    def counted(self) -> int:
        """How many positions count, ``N``."""
        return int(self.mask.sum())

    def written_by(self, writer: str) -> Tensor:
        """Mask ``[N]`` over the counted positions: true where ``writer`` wrote the row."""
        wrote = torch.tensor([name == writer for name in self.writers], device=self.tokens.device)
        return wrote[self.positions[0]]

    def counts(self, writer: str) -> tuple[int, int]:
        """Counted tokens that ``writer`` wrote, and rows that hold one; of all writers under ``all``."""
        wrote = [writer in ("all", name) for name in self.writers]
        mask = self.mask[torch.tensor(wrote, device=self.mask.device)]
        return int(mask.sum()), int(mask.any(1).sum())

    def recorded_at(self, name: str) -> Tensor | None:
        """What was recorded under ``name`` at the counted positions ``[N]``; None if it was not."""
        found = self.recorded.get(name)
        return None if found is None else found[self.mask]

    def summed_before(self, values: Tensor) -> Tensor:
        """Of numbers ``[N]`` at the counted positions, the sum over all that come before each in its row."""
        placed = values.new_zeros(self.mask.shape)
        placed[self.mask] = values
        return (placed.cumsum(1) - placed)[self.mask]

    def rows(self, numbers: Tensor) -> Batch:
        """Some rows alone, by their numbers ``[b]``."""
        chosen = numbers.tolist()
        return Batch(
            self.tokens[numbers],
            self.attention[numbers],
            self.mask[numbers],
            tuple(self.writers[i] for i in chosen),
            {name: tuple(values[i] for i in chosen) for name, values in self.columns.items()},
            {name: values[numbers] for name, values in self.recorded.items()},
        )

    def first(self, length: int) -> Batch:
        """The first row alone, cut to ``length`` tokens."""
        return Batch(
            self.tokens[:1, :length],
            self.attention[:1, :length],
            self.mask[:1, :length],
            self.writers[:1],
            {name: values[:1] for name, values in self.columns.items()},
            {name: values[:1, :length] for name, values in self.recorded.items()},
        )

    def to(self, device: str | torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.tokens.to(device),
            self.attention.to(device),
            self.mask.to(device),
            self.writers,
            self.columns,
            {name: values.to(device) for name, values in self.recorded.items()},
        )


@dataclass(frozen=True)
class Running:
    """A run, as a teacher that follows it is told of it.

    Attributes:
        student: the model that is trained (`tutelage.models.LanguageModel`), with its weights of step 0.
        steps: optimiser steps in all; 1 where nothing is trained.
        kept: what its teachers share, such as one copy of the student before training, by name.
    """

    student: Any
    steps: int = 1
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@runtime_checkable
class Teacher(Protocol):
    """A batch in, a distribution at its counted positions out. Describing one is free.

    What else a teacher may have that moves with a run is listed in `tutelage.teachers.moving`.

    Attributes:
        vocabulary: what its token ids mean (`tutelage.models.Vocabulary`); None until it is open, and of
            one that is made of the student alone until it was told of the run.
    """

    @property
    def vocabulary(self) -> Any: ...

    def open(self, machine: Machine) -> Teacher:
        """The same teacher with its weights loaded and frozen."""
        ...

    def __call__(self, batch: Batch) -> Distribution:
        """What it says at the counted positions of ``batch``."""
        ...


def writes_text(teacher: Any) -> bool:
    """Whether a teacher can write on from rows of tokens, token by token (`reader`)."""
    return bool(getattr(teacher, "can_write", hasattr(teacher, "reader")))


@runtime_checkable
class Divergence(Protocol):
    """Two rows in, nats out; `density` is its elementwise part with the exact slope.

    Called with log-probabilities ``(..., V)`` of student and teacher it gives nats ``(...)``. One whose
    elementwise part must first know something of the whole row is `AfterStatistics` besides. One whose slopes
    have one sum whatever the rows may have that number as ``slope_sum``, and is then walked once less.
    """

    __name__: str

    def __call__(self, student: Tensor, teacher: Tensor, **options: Any) -> Tensor: ...

    def density(
        self, log_q: Tensor, log_p: Tensor, q: Tensor | None = None, p: Tensor | None = None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Elementwise value ``f`` and slope ``g = df / dlog q``; ``q`` and ``p`` are given where known.

        The value of a row is ``sum f``; its gradient by logit ``j`` is ``g_j - q_j sum g``.
        """
        ...


@runtime_checkable
class WholeRows(Protocol):
    """Rows of student and teacher that a statistic is made of; nobody need hold their probabilities.

    There is a column for every token, or for every kept token and a last one for the rest.
    """

    def sums(self, part: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Sums over the columns, ``[n]`` each, of elementwise functions of ``(log_q, log_p, token)``.

        The part sees tiles ``[v, n]``; ``token`` is ``[v, 1]``, false at the column of the rest.
        """
        ...

    def others(self) -> tuple[Tensor, Tensor]:
        """Logs ``[n]`` of what student and teacher give to everything but the target."""
        ...

    def highest(self) -> Tensor:
        """The log-probability ``[n]`` of the teacher's most likely token."""
        ...

    def cutoff(self, mass: float) -> Tensor:
        """The least log-probability ``[n]`` among the teacher's most likely tokens that hold ``mass``."""
        ...


@runtime_checkable
class AfterStatistics(Divergence, Protocol):
    """A divergence that is separable once something is known of the whole row.

    Its `density` is told, beside its options and under names of its own, what `statistics` gave: ``[n]``
    each, which broadcasts to tiles ``[v, n]``. The slope is that of the whole value, so it contains what a
    change of the student does to a statistic; one that is held constant is detached.

    Attributes:
        asks_target: whether one token a position must be named. `density` is then told where it stands: the
            option ``target`` is true there, ``[v, n]``.
    """

    asks_target: bool

    def statistics(self, rows: WholeRows, **options: Any) -> dict[str, Tensor]:
        """What must be known of the rows before the elementwise pass."""
        ...


def asks_target(divergence: Any) -> bool:
    """Whether a divergence must be told one token a position, beside the two rows."""
    return bool(getattr(divergence, "asks_target", False))


@dataclass(frozen=True)
class Writers:
    """Who can write text during a run.

    Attributes:
        student: the model that is trained (`tutelage.models.LanguageModel`).
        shared: the ids that may be said (`tutelage.models.Shared`).
        teacher: an open teacher, or None.
        told: plain values that tell this teacher from others, as JSON has them.
        folder: where text is kept that is written once for all arms and seeds; None keeps it in memory.
    """

    student: Any
    shared: Any
    teacher: Teacher | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None


@runtime_checkable
class Samples(Protocol):
    """Where the text of a run comes from: batches, each row with its writer.

    The batch of a micro-step is a function of the run's seed and the step, so a run resumes without
    remembering anything that `state_dict` does not say.
    """

    @property
    def noted(self) -> Mapping[str, float]:
        """Numbers about the text of the last step, for ``metrics.jsonl``; empty where there are none."""
        ...

    def micro_batches(self, step: int) -> list[Batch]:
        """All micro-batches of one optimiser step for this process."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What must be kept to go on; plain JSON values and tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class Constraint(Protocol):
    """A projection of named weights after a step, and what is exported at the end."""

    def project(self, named_weights: Iterator[tuple[str, Tensor]]) -> None:
        """Move the weights, in place, to the nearest that obey; projecting twice is projecting once."""
        ...
