"""What the identities look at: a recipe's open models, a few of its rows, all of its terms."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from tutelage.distribution import Distribution, Hidden
from tutelage.divergences.fused import Against, evaluate
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Running, Teacher
from tutelage.models import LanguageModel, Shared
from tutelage.objective import Term
from tutelage.recipes import Recipe
from tutelage.run.learner import Learner, meet
from tutelage.run.opened import (
    Shelf,
    estimator_of,
    held_out_word,
    meeting,
    open_words,
    try_objective,
)
from tutelage.run.study import make_accelerator
from tutelage.run.suited import serves
from tutelage.stores.rows import row_key
from tutelage.teachers import moving
from tutelage.teachers.fingerprint import members
from tutelage.text import Example, collate

MOST_ROWS, LEAST_ROWS, TOKENS = 8, 3, 512
"""Rows that are looked at: up to eight, fewer where three or more have so many tokens."""

READ = 64
"""Rows of the data that are read to find them."""

GOLD = Term("cross_entropy", against="gold")


@dataclass(frozen=True)
class Step:
    """One evaluation of all terms, forward and back.

    Attributes:
        loss: in nats per counted token, the terms added up.
        gradient: by every trained weight, joined, ``[P]`` in float32.
    """

    loss: float
    gradient: Tensor

    def __add__(self, other: Step) -> Step:
        return Step(self.loss + other.loss, self.gradient + other.gradient)


@dataclass(frozen=True, eq=False)
class Subject:
    """An open recipe, reduced to a few rows; the student is in evaluation mode, so that nothing is drawn.

    Attributes:
        study: the recipe as it was read.
        recipe: the run by which it is judged: its first arm with a teacher.
        shelf: where it was opened.
        student: the student before training.
        teacher: open, or None where no term compares with one.
        shared: the token ids on which the two meet.
        rows: the shortest first, as caches and servers read them too.
        terms: those of all arms with this teacher, each once, unweighted, about all rows.
        where: what the rows are, for people.
        accelerator: says on which device and in which precision the student runs.
    """

    study: Recipe
    recipe: Recipe
    shelf: Shelf
    student: LanguageModel
    teacher: Teacher | None
    shared: Shared
    rows: tuple[Example, ...]
    terms: tuple[Term, ...]
    where: str
    accelerator: Accelerator

    @functools.cached_property
    def batch(self) -> Batch:
        """All rows."""
        return self.batch_of(self.rows)

    @functools.cached_property
    def told(self) -> Distribution:
        """What the teacher says about all rows; asked once."""
        assert self.teacher is not None
        with torch.no_grad():
            return self.teacher(self.batch)

    @property
    def from_teacher(self) -> tuple[Term, ...]:
        """The terms that compare with the teacher."""
        return tuple(term for term in self.terms if term.against == "teacher")

    @property
    def tempers(self) -> bool:
        """Whether the estimator brings a temperature of its own."""
        return getattr(estimator_of(self.recipe), "tempers", False)

    @functools.cached_property
    def half(self) -> bool:
        """Whether something is computed in 16 bits."""
        models = [getattr(member, "loaded", None) for member in members(self.teacher)] if self.teacher else []
        short = [model for model in models if model is not None and model.model.dtype != torch.float32]
        return bool(short) or self.accelerator.mixed_precision != "no"

    @functools.cached_property
    def whole(self) -> Step:
        """The step of all rows at once, which the others are compared with."""
        return self.step(self.batch, self.told if self.from_teacher else None)

    @functools.cached_property
    def steepness(self) -> float:
        """Length of the gradient of cross-entropy: what lengths of differences are compared with."""
        return float(self.step(self.batch, None, terms=(GOLD,)).gradient.norm())

    def batch_of(self, rows: Sequence[Example], longer: int = 0) -> Batch:
        """Rows in a batch.

        Args:
            rows: some of the rows.
            longer: columns of padding beyond the longest row; they hold a token of the text, as nobody
                may look at them.
        """
        batch = collate(rows, self.student.pad_id)
        if longer:
            more = batch.tokens[:, :1].expand(-1, longer)
            none = torch.zeros(len(rows), longer, dtype=torch.bool)
            tokens = torch.cat([batch.tokens.where(batch.attention, more[:, :1]), more], 1)
            batch = replace(
                batch,
                tokens=tokens,
                attention=torch.cat([batch.attention, none], 1),
                mask=torch.cat([batch.mask, none], 1),
            )
        return batch.to(self.accelerator.device)

    def step(
        self,
        batch: Batch,
        told: Distribution | None,
        *,
        terms: Sequence[Term] | None = None,
        chunk_rows: int | None = None,
    ) -> Step:
        """Loss and gradient of some rows, each counted token weighing one over those of all rows.

        Args:
            batch: the rows.
            told: what the teacher says about them; None where no term asks for it.
            terms: None takes all.
            chunk_rows: positions that are evaluated at a time.
        """
        weights = [p for p in self.student.model.parameters() if p.requires_grad]
        with self.accelerator.autocast():
            loss, _ = evaluate(*self.asked(batch, told, terms), chunk_rows=chunk_rows)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        parts = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
        return Step(float(loss.detach()), torch.cat([part.float().flatten() for part in parts]))

    def values(self, told: Distribution, terms: Sequence[Term] | None = None) -> Tensor:
        """The divergences of student and teacher, ``[T, N]`` in nats and float64.

        Args:
            told: what the teacher says about all rows.
            terms: None takes all that compare with it.
        """
        with torch.no_grad(), self.accelerator.autocast():
            wanted = self.from_teacher if terms is None else terms
            _, values = evaluate(*self.asked(self.batch, told, wanted))
        return torch.stack(values).double().cpu()

    def asked(
        self, batch: Batch, told: Distribution | None, terms: Sequence[Term] | None = None
    ) -> tuple[Hidden, list[Against]]:
        """The student's rows and what the estimator makes of the terms, as in a step of a run."""
        student = self.learner.rows(batch)
        met = None if told is None else meet(told, self.shared)
        counted = dict(zip(("all", "all rows"), self.batch.counts("all"), strict=True))
        wanted = self.terms if terms is None else terms
        return student, self.learner.estimator.terms(wanted, batch, student, met, counted)

    @functools.cached_property
    def learner(self) -> Learner:
        """The student as it is trained."""
        return Learner(self.student, self.terms, estimator_of(self.recipe), self.shared)


def opened(recipe: Recipe) -> Subject:
    """Open what a recipe names, as its run would.

    Raises:
        TutelageError: something cannot be used.
    """
    runs = [_few_rows(arm) for _, _, arm in recipe.runs()]
    single = next((arm for arm in runs if arm.needs_teacher), runs[0])
    arms = [arm for arm in runs if arm.teacher == single.teacher or not arm.needs_teacher]
    for arm in arms:
        try_objective(arm)
    accelerator = make_accelerator(single)
    shelf = Shelf(accelerator)
    open_words(single, shelf)
    student = shelf.student(single, single.seed)
    student.model.eval()
    teacher = shelf.teacher(single.teacher) if single.needs_teacher else None
    if teacher is not None:
        for arm in arms:
            serves(arm, teacher)
        teacher = moving.beside(teacher, Running(student))
    shared = meeting(student, teacher)
    word = held_out_word(single)
    samples = shelf.samples(word or single.samples, student)
    columns = tuple(getattr(teacher, "columns", ()))
    return Subject(
        recipe,
        single,
        shelf,
        student,
        teacher,
        shared,
        chosen(samples.examples, shared, columns),
        _each_once(arm.objective for arm in arms),
        "held-out text" if word else "training text, for want of `evaluation:`",
        accelerator,
    )


def chosen(examples: Iterable[Example], shared: Shared, columns: Sequence[str]) -> tuple[Example, ...]:
    """The first rows that differ and in which something counts, the shortest first.

    Args:
        examples: rows of text.
        shared: rows that ask for other tokens are passed over.
        columns: that the teacher looks at.

    Raises:
        TutelageError: there is none.
    """
    never = set(shared.never or ())
    kept: dict[bytes, Example] = {}
    for one in examples:
        asked = [token for token, counts in zip(one.tokens[1:], one.counted[1:], strict=True) if counts]
        if asked and max(asked) < shared.width and never.isdisjoint(asked):
            kept[row_key(one.tokens, one.counted, [one.columns.get(name) for name in columns])] = one
        tokens = sum(len(row.tokens) for row in kept.values())
        if len(kept) == MOST_ROWS or (len(kept) >= LEAST_ROWS and tokens >= TOKENS):
            break
    if not kept:
        raise TutelageError(
            "no row of text has a counted token that student and teacher share",
            expected="text in tokens of both",
            fix="look at a row with `tutelage check`",
        )
    return tuple(sorted(kept.values(), key=lambda row: len(row.tokens)))


def _few_rows(recipe: Recipe) -> Recipe:
    """The recipe with little of its text, so that opening it is quick."""
    options = {**recipe.samples.options}
    if "max_rows" in options:
        options["max_rows"] = min(options["max_rows"] or READ, READ)
    held_out = recipe.evaluation
    if held_out is not None:
        held_out = replace(held_out, max_rows=min(held_out.max_rows, READ))
    return replace(recipe, samples=replace(recipe.samples, options=options), evaluation=held_out)


def _unweighted(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the largest weight of a part at 1, so that bounds in nats mean the same for all terms."""
    weights = [value for name, value in options.items() if name.endswith("_weight")]
    largest = max(weights, default=1.0)
    return {name: value / largest if name.endswith("_weight") else value for name, value in options.items()}


def _each_once(objectives: Iterable[Sequence[Term]]) -> tuple[Term, ...]:
    found: list[Term] = []
    for term in (term for objective in objectives for term in objective):
        plain = replace(term, weight=1.0, on="all", options=_unweighted(term.options))
        if plain not in found:
            found.append(plain)
    return tuple(found)
