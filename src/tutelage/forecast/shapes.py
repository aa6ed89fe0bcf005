"""What a recipe takes, from shapes alone: nothing is loaded, nothing is run, torch is not imported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.forecast.config import Described, described_config, described_model
from tutelage.forecast.text import Lengths, lengths_of, tokens_of
from tutelage.plans.duration import Amounts, flops_of
from tutelage.plans.memory import Listener, Memory, Remedy, Step, cache_kinds, memory_of, remedies
from tutelage.recipes import Recipe, SamplesWord, TeacherWord

OWN_LENGTH = 0.8
"""Share of `max_new_tokens` that text of a model has, where nothing is known of it (``uncertain``)."""


@dataclass(frozen=True)
class Arm:
    """One arm of a recipe, from shapes.

    Attributes:
        name: of it.
        step: what a step of it holds.
        memory: the same, counted.
        steps: optimiser steps; None where the text was not read and the recipe counts epochs.
        tokens: of a run, by what is done with them; None without `steps`.
        flops: FLOP of one run by the names of `tutelage.plans.duration.Duration`; None without `steps`.
        text: what is known of its rows.
        seeds: runs of this arm.
        written: whether text is written during the run, which a cache cannot know beforehand.
    """

    name: str
    step: Step
    memory: Memory
    steps: int | None
    tokens: Amounts | None
    flops: Mapping[str, float] | None
    text: Lengths
    seeds: int
    written: bool


@dataclass(frozen=True)
class FromShapes:
    """A recipe, from shapes.

    Attributes:
        arms: every arm once.
    """

    arms: tuple[Arm, ...]

    @property
    def largest(self) -> Arm:
        """The arm that takes most memory."""
        return max(self.arms, key=lambda arm: arm.memory.peak)

    @property
    def peak_bytes(self) -> int:
        """Of the whole recipe: arms are run one after the other."""
        return self.largest.memory.peak

    @property
    def flops(self) -> dict[str, float] | None:
        """FLOP of all runs by what takes them; None where the number of steps is not known."""
        total: dict[str, float] = {}
        for arm in self.arms:
            if arm.flops is None:
                return None
            for name, value in arm.flops.items():
                total[name] = total.get(name, 0.0) + arm.seeds * value
        return total

    def remedies(self, limit: int) -> list[Remedy]:
        """What takes less memory, for the arm that takes most."""
        arm = self.largest
        kinds = [] if arm.written else cache_kinds(arm.step.teachers)
        return remedies(arm.step, limit, kinds)


def from_shapes(recipe: Recipe) -> FromShapes:
    """Memory and FLOPs of a recipe from the configs of its models and the lengths of its rows.

    Raises:
        TutelageError: a model's config is not on this machine, or does not say what is needed.
    """
    seen: dict[str, list[Recipe]] = {}
    for name, _, arm in recipe.runs():
        seen.setdefault(name, []).append(arm)
    return FromShapes(tuple(_arm(name, runs[0], len(runs)) for name, runs in seen.items()))


def _arm(name: str, recipe: Recipe, seeds: int) -> Arm:
    training, options = recipe.training, recipe.samples.options
    rows = training.per_device_train_batch_size
    with recipe.blaming("student"):
        tokenizer = recipe.student.tokenizer or recipe.student.model
        context = int(options.get("max_length", 512))
        text = lengths_of(options, tokenizer, rows)
        student = _student(recipe, context)
    with recipe.blaming("teacher"):
        needed = recipe.needs_teacher or recipe.evaluation is not None
        teachers = tuple(_asked(recipe.teacher, student, context, training.bf16)) if needed else ()
    shares = _shares(recipe.samples)
    written = float(options.get("max_new_tokens", 0)) if shares else 0.0
    longest = max(text.longest, int(_prompt(text, options) + written) if shares else 0)
    step = Step(
        student=student.shape,
        rows=rows,
        length=longest,
        kept=student.kept,
        teachers=teachers,
        stored_bytes=_stored(recipe.teacher),
        lora_rank=recipe.student.lora_rank,
        checkpointing=training.gradient_checkpointing,
        compute_bytes=2 if training.bf16 else 4,
        compared=recipe.compares,
    )
    steps = _steps(recipe, text)
    tokens = None if steps is None else _amounts(recipe, text, steps, shares)
    live = [teacher.shape for teacher in teachers]
    flops = None if tokens is None else flops_of(student.shape, live, tokens)
    return Arm(name, step, memory_of(step), steps, tokens, flops, text, seeds, bool(shares))


def _student(recipe: Recipe, context: int) -> Described:
    word = recipe.student
    if word.model is not None:
        return described_model(word.model, context)
    tokens = tokens_of(word.tokenizer)
    if isinstance(word.config, Mapping):
        return described_config(word.config, "student.config", context, tokens)
    return described_model(str(word.config), context, tokens)


def _asked(word: TeacherWord | None, student: Described, context: int, bf16: bool) -> Iterator[Listener]:
    """Every model that has to be in memory for a teacher to speak."""
    if word is None or word.kind in ("none", "server"):
        return
    options = word.options
    if word.kind == "model":
        dtype = options.get("dtype") or ("bfloat16" if bf16 else "float32")
        yield Listener(described_model(str(options["model"]), context).shape, 2 if dtype == "bfloat16" else 4)
    elif word.kind == "self":
        if options.get("of", "average") != "current":
            yield Listener(student.shape)
    elif word.kind == "cached":
        yield from _asked(options.get("live"), student, context, bf16)
    else:
        if options.get("onto") == "initial_student":
            yield Listener(student.shape)
        for value in options.values():
            for one in value if isinstance(value, list | tuple) else [value]:
                if isinstance(one, TeacherWord):
                    yield from _asked(one, student, context, bf16)


def _stored(word: TeacherWord | None) -> float:
    """Bytes of a cached row: what 64 tokens take (``uncertain``: the cache is not opened)."""
    return 512.0 if word is not None and word.kind == "cached" else 0.0


def _shares(samples: SamplesWord) -> dict[str, float]:
    """Share of the rows that somebody writes during the run."""
    options: Mapping[str, Any] = samples.options
    found = {
        "student": float(options.get("on_policy", options.get("student", 0.0)))
        if samples.kind != "teacher"
        else 0.0,
        "teacher": 1.0 if samples.kind == "teacher" else float(options.get("teacher", 0.0)),
    }
    if samples.kind == "dataset":
        return {}
    return {name: share for name, share in found.items() if share > 0}


def _prompt(text: Lengths, options: Mapping[str, Any]) -> float:
    return min(text.mean, float(options.get("prompt_tokens", 8)))


def _steps(recipe: Recipe, text: Lengths) -> int | None:
    training = recipe.training
    if training.max_steps > 0:
        return training.max_steps
    if text.rows is None:
        return None
    of_step = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return max(1, math.ceil(training.num_train_epochs * text.rows / of_step))


def _amounts(recipe: Recipe, text: Lengths, steps: int, shares: Mapping[str, float]) -> Amounts:
    training, options = recipe.training, recipe.samples.options
    rows = steps * training.per_device_train_batch_size * training.gradient_accumulation_steps
    new = OWN_LENGTH * float(options.get("max_new_tokens", 0))
    fresh = float(options.get("fresh", 1.0)) / float(options.get("inner_epochs", 1))
    own, theirs = shares.get("student", 0.0), shares.get("teacher", 0.0)
    once = rows if text.rows is None else min(rows, text.rows * int(options.get("copies", 1)))
    # A micro-batch is padded to its longest row, whoever wrote it.
    read = text.padded if own + theirs < 1 else min(text.padded, _prompt(text, options) + new)
    evaluation = recipe.evaluation
    held_out = 0.0 if evaluation is None else evaluation.max_rows * text.mean
    times = math.ceil(steps / training.eval_steps) + 1
    mixed = float(options.get("teacher_tokens", 0.0)) > 0
    return Amounts(
        trained=rows * read,
        told=rows * read if recipe.compares else 0.0,
        written_by_student=rows * own * fresh * new,
        written_by_teacher=once * theirs * new + (rows * own * fresh * new if mixed else 0.0),
        measured=times * held_out,
        measured_by_teacher=held_out if recipe.teacher is not None else 0.0,
    )
