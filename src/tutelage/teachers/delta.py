"""What fine-tuning taught one model, carried onto another (Delta-KD)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from tutelage.distribution import Dense, Distribution, Uniform, shifted
from tutelage.distribution.shifted import Limits
from tutelage.divergences import forward_kl
from tutelage.errors import OutOfRange, TutelageError
from tutelage.interfaces import Batch, Machine, Running, Teacher, writes_text
from tutelage.models import Shared
from tutelage.teachers.moving import of_student
from tutelage.teachers.self import SelfTeacher
from tutelage.teachers.together import columns_of, cut, met, parameters_of

OF_STUDENT = {"initial_student": "initial", "current_student": "current"}
LOOKED_AT = (0.5, 1.0, 1.5)
"""Strengths at which `tutelage check` measures the teacher."""
ROWS_AT_A_TIME = 128


@dataclass(frozen=True)
class DeltaTeacher:
    """What fine-tuning taught one model, carried onto another (Delta-KD).

        log p(y|x) = log onto(y|x) + strength * (log aligned(y|x) - log base(y|x)) - log Z(x)

    A frozen `onto`, the default, is a target: it can be reached, and the distance to the start is bounded.
    The current student is only a direction, with no fixed point; a warning says so. All members are asked
    about the same tokens and meet on the ids that they provably share; where one says "never" the rules of
    `tutelage.distribution.shifted` hold. Members that kept k tokens only are refused, unless they kept the
    very same ones: cache the delta itself instead, or its members as `hidden`.

    Cost: three forward passes (two where a member is `uniform`, or is the student itself); rows are made a
    tile at a time. With `max_delta` or `plausibility` the members' rows of a chunk are kept whole.

    uncertain: the paper's own equation could not be read. This is the log-linear reading of it, and strength,
    limits and the rules for "never" are derived.

    Attributes:
        aligned: a model after the fine-tuning that is to be carried.
        base: the same model before it; `uniform` for none, which makes a product of `onto` and `aligned`.
        onto: what is moved: the student before training, the student as it is at every step, any other
            teacher, or `uniform` for the ratio of the two alone.
        strength: how far to move; 0 gives `onto` back, above 1 extrapolates, below 0 takes away what the
            fine-tuning added.
        max_delta: limit in nats on the shift of every token, before it is multiplied; None for no limit.
        centre: take the mean of the shift under `onto` off before it is limited.
        plausibility: shift only tokens with at least this share of the likeliest one's probability under
            `onto` or `aligned`; 0 shifts all.

    Source: Cao et al. 2025, Delta-KD, arXiv:2509.14526.
    """

    aligned: Teacher
    base: Literal["uniform"] | Teacher
    onto: Literal["initial_student", "current_student", "uniform"] | Teacher = "initial_student"
    strength: float = 1.0
    max_delta: Annotated[float, "(0, inf)"] | None = None
    centre: bool = False
    plausibility: Annotated[float, "[0, 1)"] = 0.0
    shared: Any = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength):
            raise OutOfRange(
                f"strength is {self.strength}", expected="a finite number", fix="write 1 for the plain shift"
            )
        Limits(self.max_delta, self.centre, self.plausibility)
        if isinstance(self.onto, str) and self.onto in OF_STUDENT:
            of: Any = OF_STUDENT[self.onto]
            object.__setattr__(self, "onto", SelfTeacher(of))
        if self.onto == "uniform" and self.strength == 0:
            raise TutelageError(
                "a delta of strength 0 onto `uniform`: nothing is left but the uniform distribution",
                expected="a strength other than 0, or an `onto` that says something",
                fix="write `strength: 1`",
            )

    @property
    def vocabulary(self) -> Any:
        """What the ids mean that all members share; None until it is open."""
        return self.shared

    @property
    def parameters(self) -> int | None:
        """The sum over its members; None until it is open, or where a member does not know."""
        return parameters_of(self._members.values())

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that a member looks at."""
        return columns_of(self._members.values())

    @property
    def name(self) -> str:
        """Its members' names, for errors."""
        return f"delta of {_named(self.aligned)} and {_named(self.base)}"

    @property
    def longest(self) -> int | None:
        """Tokens of a row at most, where a member says it."""
        opened = [getattr(one, "loaded", None) or one for one in self._members.values()]
        return min((most for one in opened if (most := getattr(one, "longest", None))), default=None)

    @property
    def said(self) -> str:
        """One line for people: what is moved by what."""
        limits = {"max_delta": self.max_delta, "centre": self.centre, "plausibility": self.plausibility}
        told = "".join(f", {name} {value:g}" for name, value in limits.items() if value)
        return (
            f"delta, {_named(self.onto)} moved by {self.strength:g} times what took {_named(self.base)} to "
            f"{_named(self.aligned)}{told}"
        )

    @property
    def warnings(self) -> Iterator[str]:
        """Lines for people, said once when a run begins."""
        if isinstance(self.onto, SelfTeacher) and self.onto.of == "current":
            yield (
                "`onto: current_student` is a direction and no target: nothing keeps the student from "
                "collapsing onto what the fine-tuning favours most, while the loss falls; "
                "`onto: initial_student` is a target"
            )
        if self.centre and self.max_delta is None and not self.plausibility:
            yield "`centre: true` without `max_delta` or `plausibility` changes nothing: a constant cancels"
        one, other = _built(self.aligned), _built(self.base)
        if one is not None and other is not None and one != other:
            yield (
                f"aligned and base are built differently ({one} and {other}): their difference is then more "
                "than what a fine-tuning taught"
            )

    def open(self, machine: Machine) -> DeltaTeacher:
        """Open all members and prove on which ids they meet.

        Raises:
            NotShared: their tokenizers differ.
        """
        opened: dict[str, Any] = {name: one.open(machine) for name, one in self._members.items()}
        return dataclasses.replace(self, **opened, shared=met(opened.values()))

    def beside(self, running: Running) -> DeltaTeacher:
        """The same in a run; where a member is made of the student, its ids have to be shared too."""
        if not any(of_student(member) for member in self._members.values()):
            return self
        return dataclasses.replace(self, shared=met(self._members.values(), running))

    def __call__(self, batch: Batch) -> Distribution:
        """The moved distribution at every counted position of ``batch``; nothing is computed yet.

        Raises:
            TutelageError: it is not open; or, when rows are read, what `shifted` says.
        """
        if self.strength == 0 and isinstance(self.onto, Teacher):
            return cut(self.onto(batch), self._open())
        return self.combined({name: member(batch) for name, member in self._members.items()})

    def examined(
        self, batch: Batch, student: Callable[[Batch], Distribution] | None = None
    ) -> dict[str, Tensor]:
        """What `tutelage check` tells beside the usual, at every counted position ``[N]`` in nats.

        Nats of the written token under each member and under the delta at some strengths, and
        KL(base || onto): where that is small the delta is the aligned model, where it is large and `onto`
        knows less, the delta is worse than `aligned`.

        Args:
            batch: rows of text.
            student: gives the student's distribution, for a delta that moves with it.
        """
        members = self._met({name: member(batch) for name, member in self._members.items()})
        moved = {f"strength_{s:g}_nats": self._moved(members, s) for s in LOOKED_AT}
        found: dict[str, list[Tensor]] = {}
        beside = None if student is None else student(batch)
        for start in range(0, batch.counted, ROWS_AT_A_TIME):
            rows = slice(start, min(start + ROWS_AT_A_TIME, batch.counted))
            own = None if beside is None else beside.log_probs(rows)
            said = {name: one.log_probs(rows, own) for name, one in members.items() if name in self._members}
            gold = batch.gold[rows, None]
            for name, one in moved.items():
                said[name.removesuffix("_nats")] = one.log_probs(rows, own)
            values = {f"{name}_nats": -log_p.gather(1, gold)[:, 0] for name, log_p in said.items()}
            if "base" in said and "onto" in said:
                values["kl_base_onto_nats"] = forward_kl(said["onto"], said["base"])
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        return {name: torch.cat(parts) for name, parts in found.items()}

    def remarks(self, means: Mapping[str, float]) -> Iterator[str]:
        """What follows from the means of `examined`, for people."""
        nats = {s: means[f"strength_{s:g}_nats"] for s in LOOKED_AT}
        best = min(nats, key=lambda strength: nats[strength])
        if "aligned_nats" in means and nats[best] > means["aligned_nats"]:
            yield (
                f"at every strength looked at the delta knows less of this text than `aligned` does "
                f"({nats[best]:.4f} at strength {best:g}, {means['aligned_nats']:.4f} nats per token): "
                "`teacher: PATH` of the aligned model may be the better teacher"
            )

    def combined(self, said: Mapping[str, Distribution]) -> Distribution:
        """The moved distribution of what its members ``onto``, ``aligned`` and ``base`` said."""
        return self._moved(self._met(said), self.strength)

    @property
    def can_write(self) -> bool:
        """Whether it can write: all members can."""
        return all(map(writes_text, self._members.values()))

    def reader(self, rows: Sequence[Sequence[int]], shared: Shared | None) -> DeltaReader:
        """Begin to read rows of tokens in all members, so that it can write on from them."""
        members: dict[str, Any] = dict(self._members)
        return DeltaReader(self, {name: one.reader(rows, shared) for name, one in members.items()})

    @property
    def _members(self) -> dict[str, Teacher]:
        named = {"onto": self.onto, "aligned": self.aligned, "base": self.base}
        return {name: member for name, member in named.items() if isinstance(member, Teacher)}

    def _met(self, said: Mapping[str, Distribution]) -> dict[str, Distribution]:
        """All three on the shared ids."""
        shared = self._open()
        asked = {name: cut(one, shared) for name, one in said.items()}
        like = asked["aligned"].like
        never = torch.tensor(shared.unassigned, dtype=torch.long, device=like.device)
        uniform = Uniform(asked["aligned"].positions, shared.width, never if len(never) else None, like)
        return {name: asked.get(name, uniform) for name in ("onto", "aligned", "base")}

    def _moved(self, members: Mapping[str, Distribution], strength: float) -> Distribution:
        return shifted(
            members["onto"],
            towards=members["aligned"],
            away_from=members["base"],
            strength=strength,
            max_delta=self.max_delta,
            centre=self.centre,
            plausibility=self.plausibility,
        )

    def _open(self) -> Any:
        if self.shared is None:
            raise TutelageError(
                f"the {self.name} is not open",
                expected="a teacher with its members loaded",
                fix="call `teacher.open(machine)` first and use what it returns",
            )
        return self.shared


class DeltaReader:
    """Rows being read by all members, whose shift is made token by token.

    Args:
        of: says how they are combined.
        members: that read the same rows, by name.
    """

    def __init__(self, of: DeltaTeacher, members: Mapping[str, Any]) -> None:
        self._of = of
        self.members = dict(members)

    @property
    def logits(self) -> Tensor:
        """Natural logs of the shifted distribution after each row, ``[B, V]``."""
        said = {name: Dense(member.logits) for name, member in self.members.items()}
        return self._of.combined(said).log_probs()

    def step(self, said: Tensor, on: Tensor) -> None:
        """Read one token more in the rows that go on (true in ``on``)."""
        for member in self.members.values():
            member.step(said, on)


def _named(member: Any) -> str:
    """A member for people: a name as the recipe spells it, or what kind of teacher it is."""
    if isinstance(member, str):
        return f"the {member} distribution"
    if isinstance(member, SelfTeacher):
        return f"the {member.of} student"
    called = getattr(member, "model", None) or getattr(member, "name", None)
    return f"a {type(member).__name__}" if called is None else f"'{getattr(called, 'written', called)}'"


def _built(member: Any) -> str | None:
    """How an open model is built and held, or None for what is no model."""
    loaded = getattr(member, "loaded", None)
    if loaded is None:
        return None
    config = loaded.model.config
    sizes = [getattr(config, name, "?") for name in ("num_hidden_layers", "hidden_size")]
    kept = str(loaded.model.dtype).removeprefix("torch.")
    return f"{config.model_type} of {sizes[0]} layers x {sizes[1]} in {kept}"
