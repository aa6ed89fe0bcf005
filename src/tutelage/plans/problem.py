"""What a plan is asked: this student, this budget, whose teacher, under which laws."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from tutelage.errors import OutOfRange
from tutelage.plans.flops import Cost, Family
from tutelage.plans.law import Laws
from tutelage.plans.scenario import SCENARIOS, Scenario, Teacher
from tutelage.plans.units import flops, parameters, tokens, told

PAPERS_FAMILY = Family()
"""Models as the paper trained them: width 128 a layer, contexts of 4096, a vocabulary of 32768."""

MOST = 1e17
"""Parameters and tokens a search may try: the paper's bound."""


@dataclass(frozen=True)
class Problem:
    """One planning problem.

    Attributes:
        laws: both of them.
        student: its parameters without embeddings.
        budget: FLOP that this student may cost, its share of the teacher included; inf where tokens alone are
            given, or where a budget is looked for.
        scenario: which share of the teacher it pays.
        teachers: those that exist; empty where any teacher may be trained (or had).
        cost: forward FLOP of a size.
        student_flops: forward FLOP per token of the student's real shape; None takes `cost`.
        most_tokens: the student may see, because of a limit or of the text there is.
        teacher_tokens: a teacher may have seen; in the inference scenario it has seen exactly these.

    Raises:
        OutOfRange: a number in the wrong unit, a budget that does not pay one token, or nothing that limits.
    """

    laws: Laws
    student: float
    budget: float
    scenario: Scenario = SCENARIOS["both"]
    teachers: tuple[Teacher, ...] = ()
    cost: Cost = PAPERS_FAMILY
    student_flops: float | None = None
    most_tokens: float = math.inf
    teacher_tokens: float = MOST

    def __post_init__(self) -> None:
        parameters(self.student, "the student", self.laws)
        if self.budget != math.inf:
            flops(self.budget, "the budget")
        if self.laws.distillation is None:
            raise OutOfRange(
                f"the laws '{self.laws.name}' say nothing about distillation",
                expected="laws with both parts",
                fix="use `reconciled`, or fit your own with `tutelage plan fit`",
            )
        if self.student_flops is not None:
            flops(self.student_flops, "the student's forward FLOP per token")
        if math.isfinite(self.most_tokens):
            tokens(self.most_tokens, "the number of tokens there are", self.laws)
        tokens(self.teacher_tokens, "the tokens of the teacher", self.laws)
        if self.budget == math.inf and self.most_tokens == math.inf:
            raise OutOfRange(
                "neither a budget nor a number of tokens",
                expected="the FLOP that the student may cost, or the tokens it may see",
                fix="add for instance `--budget 1e21`",
            )
        if self.budget == math.inf and self.scenario.training > 0 and not self.teachers:
            raise OutOfRange(
                "tokens without a budget, and a teacher that is to be trained",
                expected="a budget: nothing else limits the teacher",
                fix="add for instance `--budget 1e21`, or `--scenario inference` if it exists",
            )
        if self.budget < self.per_token:
            raise OutOfRange(
                f"the budget is {self.budget:.3g} FLOP: too small for one token of this student",
                expected=f"at least {self.per_token:.3g} FLOP, what one token of training costs",
                fix="write raw FLOP, such as 1e20",
            )
        for teacher in self.teachers:
            teacher.measured(self.laws)
            if self.scenario.logits > 0 and teacher.forward(self.cost) is None:
                raise OutOfRange(
                    f"{teacher.told} has no size, and its logits are to be computed",
                    expected="its parameters without embeddings, for what a token of it costs",
                    fix="add size=..., or say that its logits are stored (`--scenario free`)",
                )

    @cached_property
    def forward(self) -> float:
        """Forward FLOP per token of the student."""
        return self.student_flops or float(self.cost.flops(self.student))

    @property
    def per_token(self) -> float:
        """FLOP of training the student on one token: forward, and backward at twice that."""
        return 3 * self.forward

    @cached_property
    def alone_tokens(self) -> float:
        """Tokens of the same student without a teacher, from the same budget."""
        return min(self.budget / self.per_token, self.most_tokens)

    @cached_property
    def alone(self) -> float:
        """What the student reaches without a teacher, nats per token."""
        return float(self.laws.supervised.loss(self.student, self.alone_tokens))

    @property
    def sizes(self) -> tuple[float, float]:
        """Parameters of teachers that are searched; small studies widen the paper's bound downwards."""
        return min(1e6, self.laws.ranges.parameters[0]), MOST

    @property
    def amounts(self) -> tuple[float, float]:
        """Tokens of teachers that are searched."""
        return min(1e6, self.laws.ranges.tokens[0], self.teacher_tokens), self.teacher_tokens

    def unaided(self, student_tokens: float) -> float:
        """What the student reaches by itself on some tokens, nats per token."""
        return float(self.laws.supervised.loss(self.student, student_tokens))

    def with_budget(self, budget: float) -> Problem:
        """The same problem with another budget."""
        return replace(self, budget=budget)

    def __str__(self) -> str:
        return f"{told(self.student)} student, {self.budget:.3g} FLOP"


def tokens_there_are(unique: float | None, epochs: float, limit: float | None, laws: Laws) -> float:
    """The most tokens a student may see: unique ones times epochs, or a limit; whichever is less.

    Args:
        unique: tokens of the text there is; None where it never ends.
        epochs: how often each may be seen; about 4 are assumed harmless (shown for
            supervised training alone).
        limit: tokens asked for; None for none.
        laws: for the smallest number that can be meant.

    Raises:
        OutOfRange: a number in the wrong unit, or less than one epoch.
    """
    if not epochs >= 1 or not math.isfinite(epochs):
        raise OutOfRange(
            f"epochs is {epochs:g}",
            expected="a number of at least 1",
            fix="write 4, which the law's authors take for harmless, or 1",
        )
    most = math.inf if unique is None else tokens(unique, "the number of unique tokens", laws) * epochs
    return most if limit is None else min(most, tokens(limit, "the number of tokens", laws))
