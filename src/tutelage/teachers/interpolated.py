"""A teacher on the way from the student to another one (TAID): near at first, that teacher at the end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tutelage.distribution import Distribution, OfStudent, alpha_mixed
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Machine, Running, Teacher
from tutelage.schedules import Ramp, Schedule
from tutelage.teachers.together import columns_of, cut, met

STEP_SIZE = 5e-4

USED = {
    "fixed": (),
    "linear": ("t_end", "reach_end"),
    "exponential": ("t_end", "reach_end", "step_size", "step_size_per_run"),
    "adaptive": ("t_end", "reach_end", "step_size", "step_size_per_run", "momentum", "drive", "clip"),
}
"""What each schedule asks for beside `t_start`."""


@dataclass(frozen=True)
class InterpolatedTeacher:
    """Between the student, held constant, and a teacher: ``softmax((1 - t) * student + t * teacher)``.

    The share ``t`` of the teacher grows while the run goes on, by `tutelage.schedules.Ramp`. The student's
    part is the very tile whose gradient is taken, detached, so nothing is computed twice: beyond the
    teacher's own price it costs one multiply-add and one log-sum-exp. The student is measured against the
    teacher itself.

    Attributes:
        teacher: where the way leads.
        start: where it begins; none is the student as it is at every step.
        schedule: of ``t``: `adaptive` runs ahead of a linear ramp by the feedback of the loss, `exponential`
            by the same rule without feedback, `linear` is the ramp alone, `fixed` stays at `t_start`.
        t_start: share of the teacher at the first step.
        t_end: its cap.
        step_size: how far ``t`` may run ahead in one step, from 0 to 1 (the paper's alpha); none is 5e-4.
        step_size_per_run: the same times the number of steps, so that it means the same in shorter runs; the
            paper's runs have about 8.
        momentum: of the relative decrease of the loss (the paper's beta).
        drive: what loss feedback looks at: `cross_entropy` to the teacher in between, as the official code
            does, or its `kl`, which the paper writes.
        clip: a relative decrease beyond it counts as much; none for no bound.
        reach_end: whether the last step has `t_end`; by the paper's rule it stops short of it.
        path: `logits` mixes logs (TAID), `probabilities` mixes probabilities, a number is the order of an
            alpha-mixture (AMiD): 1 is `logits`, -1 is `probabilities`. The student's part has no gradient.

    Source: Shing et al. 2025, TAID, arXiv:2501.16937; `path`: Shin et al. 2025, AMiD, arXiv:2510.15982.
    """

    teacher: Teacher
    start: Teacher | None = None
    schedule: Literal["adaptive", "exponential", "linear", "fixed"] = "adaptive"
    t_start: Annotated[float, "[0, 1]"] = 0.4
    t_end: Annotated[float, "[0, 1]"] = 1.0
    step_size: Annotated[float, "[0, 1]"] | None = None
    step_size_per_run: Annotated[float, "[0, inf)"] | None = None
    momentum: Annotated[float, "[0, 1)"] = 0.99
    drive: Literal["cross_entropy", "kl"] = "cross_entropy"
    clip: Annotated[float, "(0, inf)"] | None = None
    reach_end: bool = False
    path: Literal["logits", "probabilities"] | float = "logits"
    shared: Any = dataclasses.field(default=None, repr=False, compare=False)
    clock: Schedule | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        used = USED[self.schedule]
        for name in USED["adaptive"]:
            field = next(one for one in dataclasses.fields(self) if one.name == name)
            value = getattr(self, name)
            if name not in used and value != field.default:
                raise TutelageError(
                    f"`{name}: {value}` with `schedule: {self.schedule}`, which does not look at it",
                    expected=f"with that schedule `t_start`{''.join(f', `{one}`' for one in used)}",
                    fix=f"delete `{name}:`",
                )
        if self.step_size is not None and self.step_size_per_run is not None:
            raise TutelageError(
                f"`step_size: {self.step_size}` and `step_size_per_run: {self.step_size_per_run}`",
                expected="one of the two: the second is the first times the steps of the run",
                fix="delete one",
            )
        if isinstance(self.path, float) and not math.isfinite(self.path):
            raise TutelageError(
                f"`path: {self.path}`",
                expected="logits, probabilities or a finite number",
                fix="write `logits`",
            )
        self._ramp(1)

    @property
    def vocabulary(self) -> Any:
        """What the ids mean that all members share; None until it is open."""
        return self.shared

    @property
    def parameters(self) -> int | None:
        """How many numbers the teacher at the end has learnt, where that is known."""
        return getattr(self.teacher, "parameters", None)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that a member looks at."""
        return columns_of(self._members)

    @property
    def t(self) -> float:
        """The share of the teacher in the step that is being made."""
        return self.t_start if self.clock is None else self.clock.t

    @property
    def of_student(self) -> bool:
        """Whether it begins at the student of a run."""
        return self.start is None

    @property
    def moves(self) -> bool:
        """Whether what it says about a text changes from step to step."""
        return self.of_student or self.schedule != "fixed"

    @property
    def watches(self) -> tuple[str, ...]:
        """The divergence from it that feedback looks at."""
        if self.schedule != "adaptive":
            return ()
        return ("cross_entropy",) if self.drive == "cross_entropy" else ("forward_kl",)

    @property
    def noted(self) -> dict[str, float]:
        """Share of the teacher in this step, and where the linear ramp is."""
        if self.clock is None:
            return {}
        found = {"teacher_t": self.clock.t}
        if self.schedule != "fixed":
            ramp, step = self.clock.ramp, self.clock.step_number
            found["teacher_ramp"] = ramp.floor(step - 1 if ramp.reach_end else max(0, step - 1))
        if self.schedule == "adaptive":
            found |= {"teacher_momentum": self.clock.momentum, "teacher_skipped": float(self.clock.skipped)}
        return found

    @property
    def warnings(self) -> tuple[str, ...]:
        """Said once when a run begins: whether running ahead can do anything in so few steps."""
        if self.clock is None or not self.clock.ramp.inert:
            return ()
        ramp = self.clock.ramp
        line = (
            f"with step_size {ramp.step_size:g} and {ramp.steps} steps the schedule '{self.schedule}' does "
            "not get ahead of the linear ramp at its beginning; the paper's runs have `step_size_per_run: 8`"
        )
        return (line,)

    @property
    def said(self) -> str:
        """One line for people: where it begins, where it leads, and how fast."""
        start = "the student as it is" if self.start is None else "another teacher"
        end = "" if self.schedule == "fixed" else f" to {self.t_end:g}, {self.schedule}"
        how = self.path if isinstance(self.path, str) else f"an alpha-mixture of order {self.path:g}"
        return f"between {start} and its end, t {self.t_start:g}{end}, on the way of {how}"

    def open(self, machine: Machine) -> InterpolatedTeacher:
        """Open the members and prove on which ids they meet."""
        teacher = self.teacher.open(machine)
        start = None if self.start is None else self.start.open(machine)
        opened = dataclasses.replace(self, teacher=teacher, start=start)
        return dataclasses.replace(opened, shared=met(opened._members))

    def beside(self, running: Running) -> InterpolatedTeacher:
        """The same teacher at the beginning of its way, whose length is that of the run."""
        shared = met(self._members, running)
        return dataclasses.replace(self, shared=shared, clock=Schedule(self._ramp(running.steps)))

    def measured(self) -> Teacher:
        """Students are measured against the end of the way."""
        return self.teacher

    def stepped(self, step: int, seen: Mapping[str, float]) -> str | None:
        """Go on by one step; a line for people where its loss was no number for the first time."""
        assert self.clock is not None
        (name,) = self.watches or (None,)
        self.clock.step(None if name is None else seen[name], step)
        if name is None or self.clock.skipped != 1 or math.isfinite(seen[name]):
            return None
        return (
            f"step {step + 1}: the {name.replace('_', ' ')} that the schedule looks at is {seen[name]}; such "
            "steps follow the linear ramp (`teacher_skipped` counts them)"
        )

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule has got to."""
        return {} if self.clock is None else self.clock.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        assert self.clock is not None
        self.clock.load_state_dict(state)

    def __call__(self, batch: Batch) -> Distribution:
        """What it says at the counted positions, now; without a start it needs the student's rows."""
        if self.shared is None:
            raise TutelageError(
                "the interpolated teacher is not open",
                expected="a teacher with its members loaded",
                fix="call `teacher.open(machine)` first and use what it returns",
            )
        t = self.t
        if t == 0 and self.start is not None:
            return cut(self.start(batch), self.shared)
        end = cut(self.teacher(batch), self.shared)
        if t == 1:
            return end
        begun: Distribution = OfStudent(end.positions, end.vocab_size, end.like)
        if self.start is not None:
            begun = cut(self.start(batch), self.shared)
        order = {"logits": 1.0, "probabilities": -1.0}[self.path] if isinstance(self.path, str) else self.path
        return alpha_mixed([begun, end], [1 - t, t], order)

    @property
    def _members(self) -> list[Teacher]:
        return [self.teacher] if self.start is None else [self.teacher, self.start]

    def _ramp(self, steps: int) -> Ramp:
        size = STEP_SIZE if self.step_size is None else self.step_size
        if self.step_size_per_run is not None:
            size = min(1.0, self.step_size_per_run / steps)
        return Ramp(
            self.schedule, self.t_start, self.t_end, steps, size, self.momentum, self.reach_end, self.clip
        )
