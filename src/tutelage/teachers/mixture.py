"""Several teachers as one: the weighted mean of what they say, or the one that a column names."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from tutelage.distribution import Distribution, mixed
from tutelage.divergences.scored import log_probs_of
from tutelage.errors import TutelageError, listed
from tutelage.interfaces import Batch, Machine, Running, Teacher, writes_text
from tutelage.models import Shared
from tutelage.teachers.moving import of_student
from tutelage.teachers.together import columns_of, cut, met, parameters_of


@dataclass(frozen=True)
class MixtureTeacher:
    """A mean of probabilities over teachers, by weight or routed by a column of the data.

    Attributes:
        teachers: two or more teachers; they meet on the token ids that all provably share.
        weights: one number a teacher, scaled to sum to one; None weighs them equally.
        route: a column of the data whose value says which single teacher is asked for a row.
        names: the values of that column, one a teacher; None takes 0, 1, 2, ...
        by: `tokens` mixes with the same weights at every token; `sequences` is the mixture of whole texts:
            what a member weighs follows from how likely it found the counted tokens of the row so far, which
            costs its products once more.
    """

    teachers: tuple[Teacher, ...]
    weights: tuple[Annotated[float, "[0, inf)"], ...] | None = None
    route: str | None = None
    names: tuple[str, ...] | None = None
    by: Literal["tokens", "sequences"] = "tokens"
    shared: Any = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for field, values in (("weights", self.weights), ("names", self.names)):
            if values is not None and len(values) != len(self.teachers):
                raise TutelageError(
                    f"a mixture of {len(self.teachers)} teachers has {len(values)} {field}",
                    expected=f"one of the {field} for every teacher",
                    fix=f"list as many {field} as teachers",
                )
        if self.by == "sequences" and (self.route is not None or any(map(of_student, self.teachers))):
            why = "of teachers that are made of the student" if self.route is None else "that is routed"
            raise TutelageError(
                f"`by: sequences` in a mixture {why}",
                expected="members that say by themselves how likely a text is, mixed by weight",
                fix="delete `by:`",
            )

    @property
    def vocabulary(self) -> Any:
        """What the ids mean that all members share; None until it is open."""
        return self.shared

    @property
    def parameters(self) -> int | None:
        """The sum over its members; None until it is open, or where a member does not know."""
        return parameters_of(self.teachers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that it or a member looks at."""
        own = () if self.route is None else (self.route,)
        return tuple(dict.fromkeys([*own, *columns_of(self.teachers)]))

    def open(self, machine: Machine) -> MixtureTeacher:
        """Open all members and prove on which ids they meet."""
        teachers = tuple(teacher.open(machine) for teacher in self.teachers)
        return dataclasses.replace(self, teachers=teachers, shared=met(teachers))

    def beside(self, running: Running) -> MixtureTeacher:
        """The same mixture in a run; where a member is made of the student, its ids have to be shared too."""
        if not any(of_student(teacher) for teacher in self.teachers):
            return self
        return dataclasses.replace(self, shared=met(self.teachers, running))

    def __call__(self, batch: Batch) -> Distribution:
        """What the members say, mixed; with `route` a member is run on its own rows only."""
        asked = range(len(self.teachers))
        weights = torch.tensor(self.weights or [1.0] * len(asked), dtype=torch.float64)
        if self.route is not None:
            weights = self._routed(batch)
            asked = [k for k in asked if bool((weights[:, k] > 0).any())]
            weights = weights[:, list(asked)]
        members = [cut(self.teachers[k](batch), self.shared) for k in asked]
        if len(members) == 1:
            return members[0]
        if self.by == "sequences":
            found = [batch.summed_before(log_probs_of(m, batch.gold).double()) for m in members]
            weights = (weights.log() + torch.stack(found, 1).cpu()).softmax(1)
        return mixed(members, weights)

    @property
    def can_write(self) -> bool:
        """Whether it can write: by weight, not routed, and all members can."""
        return self.route is None and all(map(writes_text, self.teachers))

    def reader(self, rows: Sequence[Sequence[int]], shared: Shared | None) -> MixtureReader:
        """Begin to read rows of tokens in all members, so that it can write on from them."""
        weights = torch.tensor(self.weights or [1.0] * len(self.teachers), dtype=torch.float64)
        members: list[Any] = list(self.teachers)
        reading = [teacher.reader(rows, shared) for teacher in members]
        logs = (weights / weights.sum()).log()
        return MixtureReader(reading, logs.expand(len(rows), -1), by_sequence=self.by == "sequences")

    def _routed(self, batch: Batch) -> Tensor:
        assert self.route is not None
        names = list(self.names or map(str, range(len(self.teachers))))
        values = batch.columns.get(self.route)
        if values is None:
            there = listed(batch.columns) if batch.columns else "none"
            raise TutelageError(
                f"the data have no column '{self.route}' to route a mixture by",
                expected=f"a column with one of {listed(names)} in every row",
                fix=f"add it, or route by one that is there ({there})",
            )
        unknown = sorted({str(value) for value in values} - set(names))
        if unknown:
            raise TutelageError(
                f"the column '{self.route}' says '{unknown[0]}', which is no teacher's name",
                expected=f"one of {listed(names)}",
                fix="list the column's values under `names:`, one a teacher",
            )
        member = torch.tensor([names.index(str(value)) for value in values])
        rows = batch.positions[0].cpu()
        return torch.nn.functional.one_hot(member[rows], len(names)).double()


class MixtureReader:
    """Rows being read by several, whose probabilities are mixed token by token.

    Args:
        members: that read the same rows.
        logs: logs of their weights, which sum to one, ``[B, K]``.
        by_sequence: whether a member gains weight with every token that it found likely.
    """

    def __init__(self, members: Sequence[Any], logs: Tensor, by_sequence: bool = False) -> None:
        self.members = list(members)
        self.logs = logs
        self.by_sequence = by_sequence

    @property
    def logits(self) -> Tensor:
        """Natural logs of the mixture after each row, ``[B, V]``."""
        said = self._said()
        logs = self.logs.to(said[0])
        return torch.stack([of + logs[:, k, None] for k, of in enumerate(said)]).logsumexp(0)

    def _said(self) -> list[Tensor]:
        """Log-probabilities of each member on the columns that all have."""
        width = min(member.logits.shape[1] for member in self.members)
        return [member.logits[:, :width].log_softmax(1) for member in self.members]

    def step(self, said: Tensor, on: Tensor) -> None:
        """Read one token more in the rows that go on (true in ``on``); the others are forgotten."""
        if self.by_sequence:
            found = [of.gather(1, said[:, None])[:, 0] for of in self._said()]
            self.logs = (self.logs + torch.stack(found, 1).to(self.logs)).log_softmax(1)
        self.logs = self.logs[on.to(self.logs.device)]
        for member in self.members:
            member.step(said, on)
