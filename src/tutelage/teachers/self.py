"""The student of a run as its own teacher: as it was before training, or as it is now."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch

from tutelage.distribution import Distribution, Hidden, OfStudent
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Machine, Running
from tutelage.models import LanguageModel, rows_of


@dataclass(frozen=True)
class SelfTeacher:
    """What the student of the run says itself, as a constant.

    Attributes:
        of: `initial`, a frozen copy from before training; or `current`, the student at this very step.
    """

    of: Literal["initial", "current"]
    student: LanguageModel | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def of_student(self) -> bool:
        """True: it says nothing without a student."""
        return True

    @property
    def moves(self) -> bool:
        """Whether what it says about a text changes from step to step."""
        return self.of == "current"

    @property
    def vocabulary(self) -> Any:
        """What its token ids mean; None until it was told of a run."""
        return None if self.student is None else self.student.vocabulary

    @property
    def parameters(self) -> int | None:
        """How many numbers it has learnt; None until it was told of a run."""
        return None if self.student is None else self.student.parameters

    def open(self, machine: Machine) -> SelfTeacher:
        """Nothing is loaded: the student is."""
        return self

    def beside(self, running: Running) -> SelfTeacher:
        """The same for one run, whose student has its weights of step 0 now."""
        student: LanguageModel = running.student
        if self.of == "initial":
            frozen: Any = copy.deepcopy(student.model)
            student = dataclasses.replace(student, model=frozen.eval().requires_grad_(False))
        return dataclasses.replace(self, student=student)

    def __call__(self, batch: Batch) -> Distribution:
        """One forward pass of the copy; of the current student nothing is computed again."""
        if self.student is None:
            raise TutelageError(
                "a teacher that is the student of a run was asked before it was told of one",
                expected="a teacher that was told of a run",
                fix="call `tutelage.teachers.moving.beside(teacher, running)` and use what it returns",
            )
        if self.of == "current":
            like = next(self.student.model.parameters()).detach()[:0]
            return OfStudent(batch.counted, self.student.vocabulary.width, like)
        with torch.no_grad():
            hidden, layer = rows_of(self.student, batch)
        return Hidden(hidden, layer.weight, layer.bias, layer.scale, layer.softcap)
