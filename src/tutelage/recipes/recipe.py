"""A recipe that has been read: plain values, a hash, and the runs that it asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePath
from typing import Any

from tutelage.errors import Several, TutelageError
from tutelage.recipes.places import Place, written
from tutelage.recipes.sentences import sentence_of
from tutelage.recipes.shelf import families, papers_of
from tutelage.recipes.words import (
    Evaluation,
    SamplesWord,
    StudentWord,
    TeacherWord,
    Term,
    Training,
    Word,
)

WORDS = (
    "student",
    "teacher",
    "objective",
    "samples",
    "estimator",
    "constraint",
    "plan",
    "training",
    "evaluation",
)
"""What an arm may change."""

PER_TOKEN = Word("per_token")
FREE = Word("none")


@dataclass(frozen=True)
class Recipe:
    """One run, or a study: several arms, seeds or both.

    Attributes:
        out: folder of the run.
        student: the model to be trained.
        samples: on whose text.
        teacher: where the distribution comes from, or None.
        objective: the weighted terms; empty only in a study each of whose arms has its own.
        estimator: how the expectation over text becomes a gradient.
        constraint: what the weights must obey.
        plan: what compute is spent; ``none`` is what there is.
        training: length, rate and rhythm.
        evaluation: held-out text, or None.
        seed: of a plain run, and of a study that names no `seeds`.
        seeds: of a study; empty for a plain run.
        arms: complete recipes by name; empty for a plain run and for a study of seeds alone.
        control: the arm that the others are compared with, or None.
        cites: papers that the head of the file names (``# paper: minillm``).
        where: where each word was written, for errors found later; see `blaming`.
    """

    out: str
    student: StudentWord
    samples: SamplesWord
    teacher: TeacherWord | None = None
    objective: tuple[Term, ...] = ()
    estimator: Word = PER_TOKEN
    constraint: Word = FREE
    plan: str = "none"
    training: Training = field(default_factory=Training)
    evaluation: Evaluation | None = None
    seed: int = 0
    seeds: tuple[int, ...] = ()
    arms: Mapping[str, Recipe] = field(default_factory=dict)
    control: str | None = None
    cites: tuple[str, ...] = field(default=(), compare=False)
    where: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_study(self) -> bool:
        """Whether it asks for several runs in folders of their own."""
        return bool(self.arms or self.seeds)

    @property
    def compares(self) -> bool:
        """Whether a term of this recipe's own objective is against the teacher."""
        return any(term.against == "teacher" for term in self.objective)

    @property
    def needs_teacher(self) -> bool:
        """Whether this recipe (or one of its arms) compares with the teacher, or has it write text."""
        own = self.compares or teacher_writes(self.samples)
        return own or any(arm.needs_teacher for arm in self.arms.values())

    def runs(self) -> list[tuple[str, int, Recipe]]:
        """Every run as ``(arm, seed, plain recipe)``; the folder of each is its `out`.

        A plain recipe is one run called ``student`` in its own folder; a study's runs are in
        ``arms/<arm>/seed-<seed>``, seeds varying fastest.
        """
        if not self.is_study:
            return [("student", self.seed, self)]
        arms = self.arms or {"student": self}
        return [
            (
                name,
                seed,
                replace(
                    arm,
                    out=str(PurePath(self.out, "arms", name, f"seed-{seed}")),
                    seed=seed,
                    seeds=(),
                    arms={},
                    control=None,
                ),
            )
            for name, arm in arms.items()
            for seed in self.seeds or (self.seed,)
        ]

    def resolved(self) -> dict[str, Any]:
        """The whole recipe with every default filled in, as JSON has it; reading it gives it back."""
        words = self._words()
        seeds = {"seeds": list(self.seeds)} if self.seeds else {"seed": self.seed}
        said = {"out": self.out, **seeds, **words}
        if self.arms:
            said["arms"] = {
                name: {word: value for word, value in arm._words().items() if value != words[word]}
                for name, arm in self.arms.items()
            }
        if self.control is not None:
            said["control"] = self.control
        return said

    @property
    def hash(self) -> str:
        """SHA-256 of what was resolved, whatever the folder is called."""
        said = {key: value for key, value in self.resolved().items() if key != "out"}
        text = json.dumps(said, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def difference(self, other: Recipe | Mapping[str, Any]) -> list[str]:
        """One line for each value in which another recipe (or what one resolved to) differs.

        The folder does not count. The line names the key, this recipe's value and the other's.
        """
        theirs = other.resolved() if isinstance(other, Recipe) else other
        mine, their = _flat(self.resolved()), _flat(theirs)
        mine.pop("out", None)
        their.pop("out", None)
        return [
            f"{key}: {mine.get(key, 'nothing')} here, {their.get(key, 'nothing')} there"
            for key in dict.fromkeys([*mine, *their])
            if mine.get(key, "nothing") != their.get(key, "nothing")
        ]

    @property
    def papers(self) -> tuple[str, ...]:
        """Keys of the papers to cite: those of the file's head, then of every word, arms included."""
        keys = [*self.cites, *papers_of(self)]
        for arm in self.arms.values():
            keys += arm.papers
        return tuple(dict.fromkeys(keys))

    def sentence(self) -> dict[str, str]:
        """The five words of the run for a person: teacher, divergence, samples, constraint, plan."""
        return sentence_of(list(self.arms.values()) or [self])

    @contextlib.contextmanager
    def blaming(self, word: str) -> Iterator[None]:
        """Errors of the block get the line of ``word`` (such as ``teacher`` or ``objective.0``) in front."""
        try:
            yield
        except TutelageError as error:
            for fault in error.faults if isinstance(error, Several) else (error,):
                spot = self.where.get(word)
                if spot and not fault.problem.startswith(spot):
                    fault.problem = f"{spot}: {fault.problem}"
            raise

    def _words(self) -> dict[str, Any]:
        return {word: _plain(getattr(self, word)) for word in WORDS}


def teacher_writes(samples: Word) -> bool:
    """Whether samples need a teacher that writes: whole rows, or a share of every token."""
    rows = "teacher" in families()["samples"][samples.kind].writers
    return rows or float(samples.options.get("teacher_tokens", 0.0)) > 0


def _plain(value: Any) -> Any:
    """A value of a recipe as JSON has it and as a recipe may say it."""
    if value is None:
        return "none"
    if isinstance(value, Word):
        return {"kind": value.kind, **{name: _plain_option(item) for name, item in value.options.items()}}
    if isinstance(value, Term):
        divergence = _plain(Word(value.divergence, value.options))
        rest = {"weight": value.weight, "temperature": value.temperature}
        where = {"on": value.on, "against": value.against, "standardise": value.standardise}
        return {"divergence": divergence, **rest, **where}
    if isinstance(value, StudentWord):
        said = {one.name: _plain_option(getattr(value, one.name)) for one in fields(value)}
        return {name: item for name, item in said.items() if item is not None}
    if isinstance(value, Training | Evaluation):
        return {one.name: _plain_option(getattr(value, one.name)) for one in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _plain_option(value: Any) -> Any:
    if isinstance(value, Word):
        return _plain(value)
    if isinstance(value, Place):
        return written(value)
    if isinstance(value, Mapping):
        return {str(name): _plain_option(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_option(item) for item in value]
    return value


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Every leaf by its dotted key."""
    if isinstance(value, Mapping) and value:
        pairs = value.items()
    elif isinstance(value, list) and value:
        pairs = enumerate(value)
    else:
        return {key: value}
    return {
        name: leaf
        for part, item in pairs
        for name, leaf in _flat(item, f"{key}.{part}" if key else str(part)).items()
    }
