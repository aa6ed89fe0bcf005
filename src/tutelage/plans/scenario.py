"""Who pays for the teacher: its logits, its training, both or neither, wholly or in part.

    FLOPs = 3 F(N_S) D_S  +  logits * F(N_T) D_S  +  training * 3 F(N_T) D_T

Source: Busbridge et al. 2025, arXiv:2502.08606, equation 9 and table 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.errors import OutOfRange, UnknownName, listed, nearest
from tutelage.plans.flops import Cost
from tutelage.plans.law import Laws
from tutelage.plans.units import loss, parameters, share, tokens, told


@dataclass(frozen=True)
class Scenario:
    """Which share of the teacher's cost one student pays.

    Attributes:
        logits: share of running the teacher over the student's tokens, 0 to 1 (the paper's delta_T^Lgt).
        training: share of training the teacher, 0 to 1 (the paper's delta_T^Pre).

    Raises:
        OutOfRange: a share outside [0, 1].
    """

    logits: float
    training: float

    def __post_init__(self) -> None:
        share(self.logits, "the share of the teacher's logits")
        share(self.training, "the share of the teacher's training")

    @property
    def told(self) -> str:
        """In words."""
        for name, scenario in SCENARIOS.items():
            if scenario == self:
                return EXPLAINED[name]
        logits, training = f"{self.logits:.3g}", f"{self.training:.3g}"
        return f"the student pays {logits} of the teacher's logits and {training} of its training"


SCENARIOS = {
    "free": Scenario(0.0, 0.0),
    "inference": Scenario(1.0, 0.0),
    "pretraining": Scenario(0.0, 1.0),
    "both": Scenario(1.0, 1.0),
}
"""The four of the paper: best case, teacher inference, teacher pretraining, pretraining and inference."""

EXPLAINED = {
    "free": "teacher and stored logits cost nothing (best case)",
    "inference": "the teacher exists, its logits are computed for this student (teacher inference)",
    "pretraining": "the teacher is trained, its logits are stored (teacher pretraining)",
    "both": "the teacher is trained and run for this student alone (pretraining and inference)",
}


def scenario(name: str) -> Scenario:
    """The scenario of a name.

    Raises:
        UnknownName: there is none.
    """
    if name not in SCENARIOS:
        close = nearest(name, SCENARIOS)
        raise UnknownName(
            f"unknown scenario '{name}'",
            expected=listed(SCENARIOS),
            fix=f"write '{close}' (the nearest name)"
            if close
            else "`tutelage plan student --help` explains them",
        )
    return SCENARIOS[name]


def shared(students: int, *, rows: bool = False) -> Scenario:
    """A teacher trained for several students.

    Args:
        students: how many share its training.
        rows: whether they are trained on the same tokens and share stored logits too.

    Raises:
        OutOfRange: no student.
    """
    if students < 1:
        raise OutOfRange(
            f"the number of students is {students}",
            expected="a whole number of at least 1",
            fix="count the students that will be distilled from this teacher",
        )
    return Scenario(1 / students if rows else 1.0, 1 / students)


@dataclass(frozen=True)
class Teacher:
    """A teacher that exists.

    Attributes:
        loss: its cross-entropy on the student's text, nats per token; None takes the law's prediction.
        parameters: without embeddings; needed where its logits must be computed.
        tokens: it was trained on; needed for the law's prediction.
        flops: forward FLOP per token of its real shape; None takes the family's formula.
        name: what the answer calls it.
    """

    loss: float | None = None
    parameters: float | None = None
    tokens: float | None = None
    flops: float | None = None
    name: str | None = None

    def measured(self, laws: Laws) -> float:
        """Its loss, nats per token: measured, or predicted from its size and tokens.

        Raises:
            OutOfRange: neither is known, or a number is in another unit.
        """
        if self.parameters is not None:
            parameters(self.parameters, f"the size of {self.told}", laws)
        if self.tokens is not None:
            tokens(self.tokens, f"the tokens of {self.told}", laws)
        if self.loss is not None:
            return loss(self.loss, f"the loss of {self.told}", laws)
        if self.parameters is None or self.tokens is None:
            raise OutOfRange(
                f"{self.told} has no loss, and not both a size and a number of tokens",
                expected="its loss on your held-out text, or its size and the tokens it was trained on",
                fix="write for instance size=7.75B,loss=2.0 or size=7.75B,tokens=155B",
            )
        return float(laws.supervised.loss(self.parameters, self.tokens))

    def forward(self, cost: Cost) -> float | None:
        """Its forward FLOP per token; None if neither its shape nor its size is known."""
        if self.flops is not None:
            return self.flops
        return None if self.parameters is None else float(cost.flops(self.parameters))

    @property
    def told(self) -> str:
        """What the answer calls it."""
        from_size = None if self.parameters is None else told(self.parameters)
        return f"teacher {self.name or from_size or self.loss or '(unknown)'}"
