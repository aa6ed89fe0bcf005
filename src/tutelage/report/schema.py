"""What the files of a run say, as values: ``run.json``, ``results.json``, ``texts.json`` and ``heat.json``.

Keys that are not named here are ignored, so an older report can read a newer run. Numbers that are
not finite become None: they are shown as missing, never as a zero.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def finite(value: Any) -> float | None:
    """A JSON number as a float; None for what is none, is not finite or does not fit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return float(value)


def _known(value: Any) -> Any:
    return finite(value) if isinstance(value, int | float) else value


LARGEST, MOST_STEPS = 1e300, 10**15

Number = Annotated[float | None, BeforeValidator(_known)]
"""A number, or None where there is none: a run that diverged, an interval of one seed."""

Step = Annotated[int, Field(ge=0, le=MOST_STEPS)]
"""Optimiser steps done."""

Guess = tuple[str, float]
"""A token and its probability."""


class Stored(BaseModel):
    """A part of one of the files."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)


class Sentence(Stored):
    """The five words of a run, for people."""

    teacher: str
    divergence: str
    samples: str
    constraint: str
    plan: str


class DataFile(Stored):
    """A file that was read, and its hash."""

    path: str
    sha256: str | None = None
    rows: int | None = None
    found: str | None = None


class RunFile(Stored):
    """``run.json``: what was run, where and with what."""

    sentence: Sentence
    recipe: dict[str, Any] = {}
    recipe_hash: str | None = None
    seed: int | None = None
    seeds: tuple[int, ...] | None = None
    versions: dict[str, str | None] = {}
    commit: str | None = None
    machine: dict[str, Any] = {}
    data: tuple[DataFile, ...] = ()
    papers: tuple[str, ...] = ()
    command: str | None = None
    started: str | None = None
    finished: str | None = None
    minutes: Number = None
    student: dict[str, Any] | None = None
    teacher: dict[str, Any] | None = None

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of a study, or the one of a run."""
        return self.seeds or (() if self.seed is None else (self.seed,))


class Curve(Stored):
    """One seed's numbers during training: lists as long as ``step``, with None where nothing was measured."""

    seed: int
    step: tuple[Step, ...]
    values: dict[str, tuple[Number, ...]] = {}

    @model_validator(mode="before")
    @classmethod
    def _lists_are_values(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "values" in raw:
            return raw
        lists = {name: value for name, value in raw.items() if isinstance(value, list) and name != "step"}
        return {"seed": raw.get("seed"), "step": raw.get("step"), "values": lists}

    @model_validator(mode="after")
    def _as_long_as_the_steps(self) -> Curve:
        for name, values in self.values.items():
            if len(values) != len(self.step):
                raise ValueError(f"{name} has {len(values)} values for {len(self.step)} steps")
        return self

    def points(self, metric: str) -> tuple[tuple[float, float], ...]:
        """``(step, value)`` where ``metric`` was measured, by step."""
        pairs = zip(self.step, self.values.get(metric, ()), strict=False)
        return tuple(sorted((float(step), value) for step, value in pairs if value is not None))


class Calibration(Stored):
    """How sure a student was of its likeliest tokens, and how often it was right.

    Attributes:
        error: expected calibration error, from 0 to 1.
        bins: by bins of equal width from 0 to 1: cases, summed confidence, right ones.
    """

    error: Number = None
    bins: tuple[tuple[Number, Number, Number], ...] = ()

    @property
    def filled(self) -> tuple[tuple[float, float, float], ...]:
        """Confidence, accuracy and cases of the bins that have some."""
        known = [bin_ for bin_ in self.bins if None not in bin_ and bin_[0]]
        return tuple((sure / n, right / n, n) for n, sure, right in known)  # type: ignore[operator]


class Arm(Stored):
    """One way of training (or of not training) the student, over its seeds."""

    name: str
    what: str = ""
    seeds: tuple[int, ...] = ()
    numbers: dict[str, tuple[Number, ...]] = {}
    curves: tuple[Curve, ...] = ()
    calibration: Calibration | None = None

    def finite(self, metric: str) -> list[float]:
        """The values of a metric over seeds, less those that are no numbers."""
        return [value for value in self.numbers.get(metric, ()) if value is not None]

    def mean(self, metric: str) -> float | None:
        """Mean over seeds; None if one of them is not finite, because a mean of the rest would flatter."""
        known = self.finite(metric)
        whole = known and len(known) == len(self.numbers[metric])
        return math.fsum(known) / len(known) if whole else None

    def spread(self, metric: str) -> float | None:
        """Standard deviation over seeds (n - 1); None for fewer than two."""
        known = self.finite(metric)
        if len(known) < 2:
            return None
        mean = math.fsum(known) / len(known)
        return math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1))


class Difference(Stored):
    """An arm less the control arm, in one metric; the interval is None where one seed does not tell."""

    arm: str
    metric: str
    mean: Number
    low: Number = None
    high: Number = None
    confidence: float = 0.95
    seeds: int | None = None

    @property
    def leaves_out_zero(self) -> bool:
        """Whether there is an interval and zero is outside it."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


class HeldOutText(Stored):
    """The text on which the results were measured."""

    path: str
    rows: int | None = None
    tokens: int | None = None


class Teacher(Stored):
    """The teacher on the same text."""

    nats_per_token: Number = None


class Results(Stored):
    """``results.json``: what was measured when training was over."""

    held_out: HeldOutText | None = None
    teacher: Teacher | None = None
    arms: tuple[Arm, ...] = ()
    compared_with: str | None = None
    differences: tuple[Difference, ...] = ()
    noise_floor: dict[str, Any] = {}

    @property
    def teacher_nats(self) -> float | None:
        """The teacher's nats per token, if it was measured."""
        return self.teacher.nats_per_token if self.teacher else None

    @property
    def floor_how(self) -> str:
        """How the noise floor was measured, in words; empty if nobody said."""
        how = self.noise_floor.get("how")
        return how.rstrip(".") if isinstance(how, str) else ""

    def floor(self, metric: str) -> float | None:
        """How far seeds alone move a metric, or None if that was not measured."""
        return finite(self.noise_floor.get(metric))

    def difference(self, arm: str, metric: str) -> Difference | None:
        """The comparison of one arm with the control in one metric, if it was made."""
        return next((d for d in self.differences if (d.arm, d.metric) == (arm, metric)), None)


class Written(Stored):
    """What one writer wrote."""

    writer: str
    text: str


class Prompted(Stored):
    """A beginning, and how each writer went on."""

    prompt: str
    texts: tuple[Written, ...]


class HeatToken(Stored):
    """A token of held-out text and how far student and teacher differ before it."""

    token: str
    nats: Number = None
    counted: bool = True
    student: Guess | None = None
    teacher: Guess | None = None


class Heat(Stored):
    """One arm in ``heat.json``: one text, token by token."""

    arm: str
    seed: int | None = None
    divergence: str = "forward_kl"
    tokens: tuple[HeatToken, ...] = ()
