"""How much memory a step of distillation takes, from shapes alone, and what to change where it does not fit.

What is kept for the way back was counted in the networks of transformers, tensor by tensor, on a CPU with
`scaled_dot_product_attention` (``derived``, not in any paper): it is a count, not a bound, and allocators
add to it. A trial on the machine (`tutelage.forecast`) measures instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tutelage.errors import OutOfRange
from tutelage.plans.flops import Shape

FLOAT = 4
"""Bytes of a float32, in which weights are trained and moments kept."""

BASE_BYTES = 600 * 2**20
"""Resident memory of a process that has trained a model next to nothing in size: Python 3.11, torch 2.13 for
CPUs, transformers, datasets, and the code of the kernels that it ran. Measured; a GPU's memory holds none."""

TILE_BYTES, FEW_ROWS, TILE_ROWS, MEASURED_ROWS = 128 * 2**20, 384, 1024, 128
"""How the fused evaluation cuts its work on a CPU: bytes of a tile at most, or twice that where they held no
more than some positions; positions of a tile at most; and those measured at a time on held-out text."""


@dataclass(frozen=True)
class Kept:
    """Floats that one layer keeps for the way back, at every token.

    Attributes:
        per_width: times the width of the model: what norms, projections and attention need again.
        per_hidden: times the width inside the feed-forward part: 2 for a function in one kernel, 4 where
            the part is gated, 5 for a gelu that is written out of many operations.
        per_position: times the positions of a sequence: 1 for the mask, three times the number of heads where
            attention drops out, which takes the way with whole matrices.
    """

    per_width: float = 10.0
    per_hidden: float = 4.0
    per_position: float = 1.0

    def floats(self, shape: Shape, length: int) -> float:
        """Of one layer at one token."""
        experts = shape.active * shape.hidden
        return self.per_width * shape.width + self.per_hidden * experts + self.per_position * length


@dataclass(frozen=True)
class Listener:
    """A model that is asked and not trained.

    Attributes:
        shape: of it.
        weight_bytes: of one weight: 4 in float32, 2 in bfloat16.
    """

    shape: Shape
    weight_bytes: int = FLOAT

    @property
    def bytes(self) -> int:
        """Of its weights."""
        return self.weight_bytes * self.shape.total_parameters


@dataclass(frozen=True)
class Step:
    """What a step of a recipe holds at once.

    Attributes:
        student: its shape.
        rows: of a micro-batch.
        length: tokens of the longest row.
        kept: what a layer of the student keeps for the way back.
        teachers: models that are asked beside it; none where a cache says what they said.
        stored_bytes: of what a cache says at one position.
        lora_rank: rank of adapters on all linear layers, or None where the weights are trained.
        checkpointing: whether activations are computed twice instead of being kept.
        compute_bytes: of one activation: 4 in float32, 2 in bfloat16.
        compared: whether the student is compared with a teacher's rows, not with tokens alone.
        base_bytes: of the process.
    """

    student: Shape
    rows: int
    length: int
    kept: Kept = Kept()
    teachers: tuple[Listener, ...] = ()
    stored_bytes: float = 0.0
    lora_rank: int | None = None
    checkpointing: bool = False
    compute_bytes: int = FLOAT
    compared: bool = True
    base_bytes: int = BASE_BYTES

    def __post_init__(self) -> None:
        for name in ("rows", "length"):
            if getattr(self, name) < 1:
                raise OutOfRange(
                    f"{name} of a step is {getattr(self, name)}",
                    expected="a whole number of at least 1",
                    fix="give the rows of a micro-batch and the tokens of its longest row",
                )

    @property
    def tokens(self) -> int:
        """Of a micro-batch, padding included."""
        return self.rows * self.length

    @property
    def trained(self) -> int:
        """Numbers that are trained: all of the student's, or those of its adapters."""
        if self.lora_rank is None:
            return self.student.total_parameters
        return self.lora_rank * self.student.layers * _ends(self.student)


@dataclass(frozen=True)
class Memory:
    """Peak of a step by what holds it, in bytes.

    Attributes:
        process: Python, torch and the libraries.
        student: its weights.
        opened: the student that was opened and measured before, whose memory is not given back by then
            (measured: on a CPU a run's peak has about one copy of the weights more than a step needs).
        gradients: of what is trained.
        moments: two of AdamW for each number that is trained.
        activations: what the student's layers keep for the way back, and what that takes beside it.
        evaluation: tiles of the fused evaluation, and the gradients of output layer and hidden states.
        teachers: their weights.
        asking: what the largest of them holds while it is asked, and what it said.
    """

    process: int
    student: int
    opened: int
    gradients: int
    moments: int
    activations: int
    evaluation: int
    teachers: int
    asking: int

    @property
    def peak(self) -> int:
        """Bytes of all that is held at once.

        A teacher is asked before the student's activations are there, so the larger of both counts.
        """
        standing = self.process + self.student + self.opened + self.gradients + self.moments
        return standing + self.teachers + max(self.activations + self.evaluation, self.asking)


@dataclass(frozen=True)
class Remedy:
    """One change of a recipe that takes less memory.

    Attributes:
        change: what to write.
        why: what it does, and what it costs.
        saves: bytes of the peak.
        fits: whether it is enough alone.
    """

    change: str
    why: str
    saves: int
    fits: bool

    def __str__(self) -> str:
        enough = "enough alone" if self.fits else "not enough alone"
        return f"`{self.change}` saves {self.saves / 2**30:.2f} GiB ({self.why}; {enough})"


def memory_of(step: Step) -> Memory:
    """Peak memory of a training step by what holds it."""
    shape, tokens = step.student, step.tokens
    layer = step.kept.floats(shape, step.length) * tokens * step.compute_bytes
    # On the way back a layer's gradients are there beside what it kept.
    back = 2 * max(shape.active * shape.hidden, 3 * shape.width) * tokens * step.compute_bytes
    if step.checkpointing:
        activations = layer + back + shape.layers * shape.width * tokens * step.compute_bytes
    else:
        activations = shape.layers * layer + back
    return Memory(
        process=step.base_bytes,
        student=FLOAT * shape.total_parameters + (FLOAT * step.trained if step.lora_rank else 0),
        opened=FLOAT * shape.total_parameters,
        gradients=FLOAT * step.trained,
        moments=2 * FLOAT * step.trained,
        activations=int(activations),
        evaluation=_evaluation(step),
        teachers=sum(teacher.bytes for teacher in step.teachers),
        asking=max((_asking(teacher, tokens) for teacher in step.teachers), default=0)
        + int(step.stored_bytes * tokens),
    )


def remedies(step: Step, limit: int, caches: Iterable[tuple[str, float]] = ()) -> list[Remedy]:
    """What would take less memory, what saves most first.

    Args:
        step: as it is.
        limit: bytes that there are.
        caches: kinds of cache that could stand for the teachers, with bytes of a position.
    """
    now = memory_of(step).peak
    changed: list[tuple[str, str, Step]] = []
    rows = step.rows
    while rows > 1:
        rows //= 2
        half = replace(step, rows=rows)
        if memory_of(half).peak > limit and rows > 1:
            continue
        changed.append(
            (
                f"training.per_device_train_batch_size={rows}",
                f"with gradient_accumulation_steps times {step.rows // rows} the step stays the same",
                half,
            )
        )
        break
    if not step.checkpointing:
        changed.append(
            (
                "training.gradient_checkpointing=true",
                "the student's forward pass is computed twice",
                replace(step, checkpointing=True),
            )
        )
    for kind, stored in caches if step.teachers else ():
        changed.append(
            (
                f"teacher.kind=cached (`tutelage cache build`, kind {kind})",
                "no teacher in memory; not for text that is written during the run",
                replace(step, teachers=(), stored_bytes=stored),
            )
        )
    if step.lora_rank is None:
        changed.append(
            ("student.lora_rank=16", "adapters are trained, not weights", replace(step, lora_rank=16))
        )
    found = [
        Remedy(change, why, now - peak, peak <= limit)
        for change, why, one in changed
        if (peak := memory_of(one).peak) < now
    ]
    return sorted(found, key=lambda remedy: -remedy.saves)


def cache_kinds(teachers: Sequence[Listener], top_k: int = 64) -> list[tuple[str, float]]:
    """Kinds of cache with the bytes that one position takes in memory."""
    width = max((teacher.shape.width for teacher in teachers), default=0)
    # An id of four bytes and a log-probability of four; hidden states in float32, and the output layer apart.
    return [("top_k", 8.0 * top_k), ("hidden", float(FLOAT * width))]


def _evaluation(step: Step) -> int:
    shape = step.student
    rows = TILE_BYTES // (FLOAT * shape.vocabulary)
    rows = min(step.tokens, TILE_ROWS, max(1, rows, min(FEW_ROWS, 2 * rows)))
    tiles = (2 if step.compared else 1) * rows * shape.vocabulary
    layer = shape.vocabulary * shape.width
    states = 3 * step.tokens * shape.width
    return FLOAT * (tiles + layer + states)


def _asking(teacher: Listener, tokens: int) -> int:
    shape = teacher.shape
    passing = 3 * shape.active * shape.hidden + 6 * shape.width
    return (passing * teacher.weight_bytes + FLOAT * shape.width) * tokens


def _ends(shape: Shape) -> int:
    """Inputs and outputs of all linear layers of one block, together."""
    queries, keys = shape.heads * shape.head_size, shape.key_heads * shape.head_size
    attention = (shape.width + queries) * 2 + (shape.width + keys) * 2
    return attention + shape.experts * shape.matrices * (shape.width + shape.hidden)
