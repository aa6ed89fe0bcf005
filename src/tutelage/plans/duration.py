"""How long a recipe takes, by what takes it: from FLOPs and a speed, or from what a trial measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tutelage.errors import OutOfRange
from tutelage.plans.flops import Shape


@dataclass(frozen=True)
class Amounts:
    """Tokens of a run, by what is done with them; every count is of the whole run, padding included.

    Attributes:
        trained: the student is trained on.
        told: a teacher says something about.
        written_by_student, written_by_teacher: are written during the run.
        measured: are read by the student in evaluations.
        measured_by_teacher: are read by the teacher in them, which is once.
    """

    trained: float
    told: float = 0.0
    written_by_student: float = 0.0
    written_by_teacher: float = 0.0
    measured: float = 0.0
    measured_by_teacher: float = 0.0


@dataclass(frozen=True)
class Duration:
    """Seconds of a run by what takes them.

    Attributes:
        training: forward and backward passes of the student, and what a teacher that moves with it says.
        teacher: forward passes of the teacher.
        writing: text of the student and of the teacher.
        evaluation: on held-out text, the untouched student included.
        rest: starting, saving, and what is written at the end.
    """

    training: float
    teacher: float = 0.0
    writing: float = 0.0
    evaluation: float = 0.0
    rest: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.training + self.teacher + self.writing + self.evaluation + self.rest

    def price(self, per_hour: float) -> float:
        """What it costs, in the unit of ``per_hour``.

        Raises:
            OutOfRange: a price below 0.
        """
        if not 0 <= per_hour < float("inf"):
            raise OutOfRange(
                f"{per_hour} for an hour", expected="a price of at least 0", fix="give `--price-per-hour 2.5`"
            )
        return self.seconds / 3600 * per_hour

    def __add__(self, other: Duration) -> Duration:
        mine, theirs = asdict(self), asdict(other)
        return Duration(**{name: mine[name] + theirs[name] for name in mine})

    def to_json(self) -> dict[str, Any]:
        """Seconds by name, and their sum."""
        return {**asdict(self), "total": self.seconds}


def flops_of(student: Shape, teachers: Sequence[Shape], amounts: Amounts) -> dict[str, float]:
    """FLOP of a run by the names of `Duration`.

    A backward pass is two forward passes. Text that is written passes once, token by token with what came
    before kept; all teachers are asked about every token.
    """
    own, theirs = student.forward_flops, sum(teacher.forward_flops for teacher in teachers)
    return {
        "training": 3 * own * amounts.trained,
        "teacher": theirs * amounts.told,
        "writing": own * amounts.written_by_student + theirs * amounts.written_by_teacher,
        "evaluation": own * amounts.measured + theirs * amounts.measured_by_teacher,
    }


def at_speed(flops: dict[str, float], flops_per_second: float, rest: float = 0.0) -> Duration:
    """Seconds of FLOPs at a speed.

    Args:
        flops: by the names of `Duration`.
        flops_per_second: what the machine really does, not what its maker prints; a core does 1e10 or so.
        rest: seconds of starting and saving.

    Raises:
        OutOfRange: the speed is not above 0, or looks like one in TFLOP/s.
    """
    if not 1e6 <= flops_per_second < float("inf"):
        raise OutOfRange(
            f"{flops_per_second:g} FLOP/s",
            expected="a raw number, at least 1e6",
            fix=f"write {flops_per_second:g}e12 if you mean {flops_per_second:g} TFLOP/s"
            if 0 < flops_per_second < 1e6
            else "measure it: leave the option away and let the probe do so",
        )
    return Duration(**{name: value / flops_per_second for name, value in flops.items()}, rest=rest)
