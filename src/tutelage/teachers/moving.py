"""Teachers that follow a run: they are told of its student and its steps, and kept with its state.

A kind says by methods and attributes of its own what it has to do with a run; the functions of this file ask
a teacher and every teacher inside it.

| it has | what it is |
|---|---|
| `beside(running)` | the same teacher for one run, whose student it may look at; schedules begin anew |
| `of_student` | true where it says nothing without a student: no cache, no server |
| `moves` | true where what it says about a text changes from step to step |
| `watches` | names of divergences from the student to be told of, by `stepped` |
| `stepped(step, seen)` | step `step` (from 0) was made with these means in nats per token; a line or None |
| `state_dict()`, `load_state_dict(state)` | plain JSON values that resuming needs |
| `tensors()`, `load_tensors(tensors)` | named tensors that resuming needs |
| `noted` | numbers for ``metrics.jsonl``, of the step that is being made |
| `warnings` | lines for people, said once when a run begins |
| `alone` | more such lines, where it is inside no other teacher |
| `takes(examples, longest, student)` | refuses text that it cannot read, before a run begins |
| `measured()` | what students are measured against, where that is another teacher |
| `examined(batch, student)` | further measures for `tutelage check`, nats at every counted position |
| `remarks(means)` | lines for people on the means of those |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from tutelage.distribution import Distribution
from tutelage.errors import Damaged, TutelageError
from tutelage.interfaces import Batch, Running, Teacher
from tutelage.teachers.fingerprint import members


def beside(teacher: Teacher, running: Running) -> Teacher:
    """The same teacher for one run; itself where nothing in it has to do with one."""
    inner = replaced(teacher, lambda member: beside(member, running))
    own = getattr(inner, "beside", None)
    return inner if own is None else own(running)


def measured(teacher: Teacher) -> Teacher:
    """The teacher that students are measured against: whole, and at the end of its way."""
    inner = replaced(teacher, measured)
    own = getattr(inner, "measured", None)
    return inner if own is None else own()


def moves(teacher: Teacher) -> bool:
    """Whether what it says about a text changes from step to step."""
    return any(getattr(member, "moves", False) for member in members(teacher))


def of_student(teacher: Teacher) -> bool:
    """Whether it, or a teacher inside it, says nothing without the student of a run."""
    return any(getattr(member, "of_student", False) for member in members(teacher))


def standing(teacher: Teacher, what: str) -> None:
    """Refuse a teacher that says nothing without the student of a run, or changes in it.

    Args:
        teacher: described or open.
        what: is to be done with it, such as ``cached``.

    Raises:
        TutelageError: it is made of the student, or a teacher inside it is.
    """
    for member in members(teacher):
        if getattr(member, "of_student", False) or getattr(member, "moves", False):
            why = "is made of the student of a run" if of_student(member) else "changes from step to step"
            raise TutelageError(
                f"a {type(member).__name__} cannot be {what}: it {why}",
                expected="a teacher that says the same in every run and at every step",
                fix="take the teachers that it is made of; a student before training is a checkpoint, which "
                "can be named as `{kind: model, model: PATH}`",
            )


def watches(teacher: Teacher | None) -> tuple[str, ...]:
    """Names of the divergences that it wants to be told of, each once."""
    found = [name for member in _all(teacher) for name in getattr(member, "watches", ())]
    return tuple(dict.fromkeys(found))


def stepped(teacher: Teacher | None, step: int, seen: Mapping[str, float]) -> list[str]:
    """Tell that optimiser step ``step`` (from 0) was made, and what was seen in it; lines for people."""
    lines = [member.stepped(step, seen) for member in _all(teacher) if hasattr(member, "stepped")]
    return [line for line in lines if line is not None]


def noted(teacher: Teacher | None) -> dict[str, float]:
    """Numbers of all members; of a second one with the same names they end in ``_2``, and so on."""
    found: dict[str, float] = {}
    for member in _all(teacher):
        for name, value in getattr(member, "noted", {}).items():
            number = 1 + sum(key == name or key.startswith(f"{name}_") for key in found)
            found[name if number == 1 else f"{name}_{number}"] = value
    return found


def warnings(teacher: Teacher | None) -> list[str]:
    """Lines for people, said once when a run begins."""
    lines = [line for member in _all(teacher) for line in getattr(member, "warnings", ())]
    return [*getattr(teacher, "alone", ()), *lines]


def takes(teacher: Teacher | None, examples: Sequence[Any], longest: int, student: Any) -> None:
    """Refuse text that a teacher cannot read.

    Args:
        teacher: open.
        examples: rows of text.
        longest: tokens of the longest row that there can be, those that are written during the run too.
        student: the model whose tokenizer cut them (`tutelage.models.LanguageModel`).

    Raises:
        TutelageError: a row is too long for it, or lacks something that it looks at.
    """
    for member in _all(teacher):
        own = getattr(member, "takes", None)
        if own is not None:
            own(examples, longest, student)


def examined(
    teacher: Teacher | None, batch: Batch, student: Callable[[Batch], Distribution]
) -> dict[str, Tensor]:
    """Further measures of the first member that has some, nats at every counted position ``[N]``.

    Args:
        teacher: open, and told of a run.
        batch: rows of text.
        student: gives the student's distribution, for what moves with it.
    """
    asking = (member for member in _all(teacher) if hasattr(member, "examined"))
    member = next(asking, None)
    return {} if member is None else member.examined(batch, student)


def remarks(teacher: Teacher | None, means: Mapping[str, float]) -> list[str]:
    """What the member that gave `examined` says about its means."""
    asking = (member for member in _all(teacher) if hasattr(member, "examined"))
    member = next(asking, None)
    return [] if member is None or not means else list(getattr(member, "remarks", lambda _: [])(means))


def state_of(teacher: Teacher | None) -> dict[str, Any]:
    """Plain JSON values of all members, by their place in the teacher."""
    keeping = [(str(place), getattr(one, "state_dict", None)) for place, one in enumerate(_all(teacher))]
    return {place: state() for place, state in keeping if state is not None}


def tensors_of(teacher: Teacher | None) -> dict[str, Tensor]:
    """Tensors of all members, ``<place>//<name>``."""
    return {
        f"{place}//{name}": tensor
        for place, member in enumerate(_all(teacher))
        if hasattr(member, "tensors")
        for name, tensor in member.tensors().items()
    }


def restore(teacher: Teacher | None, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Put back what `state_of` and `tensors_of` gave.

    Raises:
        Damaged: the state belongs to another teacher.
    """
    if state.keys() != state_of(teacher).keys() or tensors.keys() != tensors_of(teacher).keys():
        raise Damaged(
            "the saved state is not one of this teacher",
            expected="a state saved by this very recipe",
            fix="choose another `out:` folder, or remove its `state/`",
        )
    for place, member in enumerate(_all(teacher)):
        found: Any = member
        if str(place) in state:
            found.load_state_dict(state[str(place)])
        own = {name.partition("//")[2]: t for name, t in tensors.items() if name.startswith(f"{place}//")}
        if own:
            found.load_tensors(own)


def replaced(teacher: Teacher, change: Callable[[Teacher], Teacher]) -> Teacher:
    """The teacher with every teacher directly inside it changed; the very same one if none changes."""
    inside: Any = teacher
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(inside):
        value = getattr(inside, field.name)
        if isinstance(value, Teacher):
            other: Any = change(value)
            different = other is not value
        elif isinstance(value, tuple) and any(isinstance(item, Teacher) for item in value):
            other = tuple(change(item) if isinstance(item, Teacher) else item for item in value)
            different = any(new is not old for new, old in zip(other, value, strict=True))
        else:
            continue
        if different:
            changed[field.name] = other
    return dataclasses.replace(inside, **changed) if changed else teacher


def _all(teacher: Teacher | None) -> Iterator[Any]:
    return iter(()) if teacher is None else members(teacher)
