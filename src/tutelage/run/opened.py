"""From a recipe's words to open things: student, teacher, samples; what arms share is opened once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tutelage.constraints import TABLE as CONSTRAINTS
from tutelage.distribution import Distribution
from tutelage.divergences import TABLE as DIVERGENCES
from tutelage.errors import NotShared
from tutelage.estimators import TABLE as ESTIMATORS
from tutelage.evaluation.lengths import too_long
from tutelage.interfaces import Batch, Constraint, Machine, Teacher, Writers, asks_target
from tutelage.models import (
    LanguageModel,
    Shared,
    load_model,
    new_model,
    prove_head,
    prove_shared,
    with_adapters,
)
from tutelage.recipes import Recipe, SamplesWord, TeacherWord, Training, written
from tutelage.run.suited import serves, stored
from tutelage.samples import TABLE as SAMPLES
from tutelage.seeds import stream_seed
from tutelage.teachers import TABLE as TEACHERS
from tutelage.teachers.fingerprint import fingerprint, members
from tutelage.teachers.moving import measured, takes


class Shelf:
    """Opened teachers and tokenised data, kept for the arms and seeds that ask for the same again.

    Args:
        accelerator: says on which device weights live.
        out: folder of the whole study, for text that is written once for all of it; None keeps none.
    """

    def __init__(self, accelerator: Accelerator, out: Path | None = None) -> None:
        self.accelerator = accelerator
        self.out = out
        self.machine = Machine(device=str(accelerator.device), dtype="float32")
        self._teachers: dict[str, Teacher] = {}
        self._measuring: dict[str, Teacher] = {}
        self._samples: dict[str, Any] = {}
        self._read: dict[str, SamplesWord] = {}
        self._held_out: dict[str, list[Batch]] = {}
        self._told: dict[tuple[int, int], tuple[Teacher, Batch, Distribution]] = {}

    def student(self, recipe: Recipe, seed: int) -> LanguageModel:
        """The student before training: weights in float32; a new one is drawn from the seed.

        Its output layer is proved to give the model's own logits.
        """
        word = recipe.student
        if word.config is not None:
            assert word.tokenizer is not None
            config = word.config if isinstance(word.config, str) else dict(word.config)
            drawn = stream_seed(seed, "student")
            student = new_model(config, word.tokenizer, seed=drawn, machine=self.machine)
        else:
            assert word.model is not None
            student = load_model(word.model, machine=self.machine, tokenizer=word.tokenizer)
        if word.lora_rank is not None:
            drawn = stream_seed(seed, "student")
            chosen = {"rank": word.lora_rank, "alpha": word.lora_alpha, "targets": word.lora_targets}
            student = with_adapters(student, **chosen, seed=drawn)
        prove_head(student.model, torch.arange(min(8, student.vocabulary.width))[None])
        return student

    def teacher(self, word: TeacherWord | None) -> Teacher | None:
        """An open teacher, or None where there is none."""
        if word is None or word.kind == "none":
            return None
        key = _key(word)
        if key not in self._teachers:
            machine = dataclasses.replace(self.machine, dtype=self.dtype)
            self._teachers[key] = described(word).open(machine)
        return self._teachers[key]

    def measuring(self, word: TeacherWord | None) -> Teacher | None:
        """The teacher as students are measured against: whole, where training takes less of it."""
        teacher = self.teacher(word)
        if word is None or teacher is None:
            return None
        if _key(word) not in self._measuring:
            self._measuring[_key(word)] = measured(teacher)
        return self._measuring[_key(word)]

    def caches(self) -> dict[str, str]:
        """Identities of the caches that were opened so far, by their places."""
        opened: list[Any] = [one for teacher in self._teachers.values() for one in members(teacher)]
        return {written(one.cache): one.identity for one in opened if hasattr(one, "prove_rows")}

    @property
    def dtype(self) -> str:
        """Floating-point type of a teacher's weights, unless it says its own."""
        return "bfloat16" if str(self.accelerator.mixed_precision) == "bf16" else self.machine.dtype

    def samples(self, word: SamplesWord, student: LanguageModel) -> Any:
        """An open source of text, tokenised with the student's tokenizer."""
        vocabulary = student.vocabulary
        key = f"{_key(word)} {vocabulary.rules} {hash((vocabulary.tokens, vocabulary.end))}"
        if key not in self._samples:
            self._read[key] = word
            self._samples[key] = SAMPLES.load(word.kind)(**word.options).open(student.tokenizer)
        return self._samples[key]

    def writers(
        self, recipe: Recipe, student: LanguageModel, shared: Shared, teacher: Teacher | None
    ) -> Writers:
        """Who can write text in a run, and where a teacher's is kept."""
        if teacher is None or "teacher" not in SAMPLES[recipe.samples.kind].writers:
            return Writers(student, shared, teacher)
        folder = None if self.out is None else self.out / "state" / "teacher_text"
        return Writers(student, shared, teacher, fingerprint(teacher, self.dtype), folder)

    def data_read(self) -> list[dict[str, Any]]:
        """What was read so far, for ``run.json``: path as the recipe has it, hash, rows and columns found."""
        return [
            {
                "path": written(self._read[key].options.get("data", samples.source.path)),
                "sha256": samples.source.sha256,
                "rows": len(samples.source),
                "found": samples.source.found,
            }
            for key, samples in self._samples.items()
        ]

    def told(self, teacher: Teacher, batch: Batch) -> Distribution:
        """What a teacher says about a held-out batch; asked once, since neither ever changes.

        What is kept is the teacher's hidden states, not its rows over the vocabulary.
        """
        key = (id(teacher), id(batch))
        if key not in self._told:
            self._told[key] = (teacher, batch, teacher(batch))
        return self._told[key][2]

    def held_out(self, recipe: Recipe, student: LanguageModel) -> list[Batch]:
        """The text of `evaluation:` in batches, read like that of `samples:`; empty without one."""
        word = held_out_word(recipe)
        if recipe.evaluation is None or word is None:
            return []
        rows = recipe.evaluation.per_device_eval_batch_size
        key = f"{_key(word)} {student.vocabulary.rules} {hash(student.vocabulary.tokens)} {rows}"
        if key not in self._held_out:
            batches = self.samples(word, student).in_order(rows)
            self._held_out[key] = [batch.to(self.accelerator.device) for batch in batches]
        return self._held_out[key]


def held_out_word(recipe: Recipe) -> SamplesWord | None:
    """The text of `evaluation:` as samples that are read like those of `samples:`; None without one."""
    if recipe.evaluation is None:
        return None
    options = {**recipe.samples.options, "data": recipe.evaluation.data}
    options |= {"max_rows": recipe.evaluation.max_rows, "shuffle": False}
    return SamplesWord(recipe.samples.kind, options)


def described(word: TeacherWord) -> Teacher:
    """The description of a teacher, and of the teachers inside it."""
    return TEACHERS.load(word.kind)(**{key: _described(value) for key, value in word.options.items()})


def constraint_of(recipe: Recipe) -> Constraint:
    """The recipe's constraint."""
    return CONSTRAINTS.load(recipe.constraint.kind)(**recipe.constraint.options)


def estimator_of(recipe: Recipe, steps: int = 1) -> Any:
    """The recipe's estimator, at the beginning of a run of so many steps where it has to do with them."""
    estimator = ESTIMATORS.load(recipe.estimator.kind)(**recipe.estimator.options)
    return estimator.begun(steps) if hasattr(estimator, "begun") else estimator


def steps_of(training: Training, samples: Any) -> int:
    """Optimiser steps of a run, whose samples are shared out."""
    return training.max_steps if training.max_steps > 0 else samples.steps(training.num_train_epochs)


def meeting(student: LanguageModel, teacher: Teacher | None) -> Shared:
    """The token ids on which student and teacher provably meet; those of a student alone are its own.

    Raises:
        NotShared: their tokenizers differ.
    """
    told = None if teacher is None else teacher.vocabulary
    return prove_shared(student.vocabulary, student.vocabulary if told is None else told)


def open_words(recipe: Recipe, shelf: Shelf) -> None:
    """Open everything that a run needs, once, to meet what cannot be used before anything is written.

    Raises:
        TutelageError: a model or the text cannot be used, or student and teacher do not meet.
    """
    with recipe.blaming("student"):
        student = shelf.student(recipe, recipe.seed)
    with recipe.blaming("teacher"):
        teacher = shelf.teacher(recipe.teacher) if recipe.needs_teacher else None
        shared = meeting(student, teacher)
    if teacher is not None:
        serves(recipe, teacher)
    with recipe.blaming("samples"):
        samples = shelf.samples(recipe.samples, student)
        only_shared(samples, shared, student)
        fits(samples, student, teacher)
        if teacher is not None:
            stored(teacher, recipe.samples, samples, student)
        samples.written_with(shelf.writers(recipe, student, shared, teacher))  # who writes must be able to
    with recipe.blaming("evaluation"):
        shelf.held_out(recipe, student)
        word, measuring = held_out_word(recipe), shelf.teacher(recipe.teacher)
        if word is not None and measuring is not None:
            held_out = shelf.samples(word, student)
            stored(measuring, word, held_out, student)
            takes(measuring, held_out.examples, 0, student)


def fits(samples: Any, student: LanguageModel, teacher: Teacher | None) -> None:
    """Refuse rows that are longer than the positions of a model, or that a teacher cannot read.

    Raises:
        TutelageError: a row is too long for the student or the teacher, or lacks what the teacher looks at.
    """
    longest = samples.longest
    for model in (student, getattr(teacher, "loaded", None) or teacher):
        most = getattr(model, "longest", None)
        if model is not None and most is not None and longest > most:
            raise too_long(longest, model, by_writing=longest > max(len(e.tokens) for e in samples.examples))
    takes(teacher, samples.examples, longest, student)


def only_shared(samples: Any, shared: Shared, student: LanguageModel) -> None:
    """Refuse text that asks the student to say a token which its teacher does not have.

    Raises:
        NotShared: a counted token of the text is not among the shared ones.
    """
    never = set(shared.never or ())
    for number, example in enumerate(samples.examples):
        for token, counted in zip(example.tokens, example.counted, strict=True):
            if counted and (token >= shared.width or token in never):
                name = student.tokenizer.convert_ids_to_tokens(token)
                raise NotShared(
                    f"{samples.source.path}: example {number} says the token '{name}' (id {token}), which "
                    "the teacher does not have",
                    expected="text in tokens that student and teacher share",
                    fix="take that token out of the text or the template, or choose another teacher",
                )


def try_objective(recipe: Recipe) -> None:
    """Evaluate every term once on two tiny rows, so that a bad option fails in the first second.

    And ask the estimator whether it can make a gradient of them.
    """
    from_two = torch.tensor([[0.5, 0.5]]).log()
    for number, term in enumerate(recipe.objective):
        with recipe.blaming(f"objective.{number}"):
            divergence = DIVERGENCES.load(term.divergence)
            told = {"target": torch.tensor([0])} if asks_target(divergence) else {}
            divergence(from_two, from_two, **told, **term.options)
    with recipe.blaming("estimator"):
        estimator_of(recipe).suits(recipe.objective)


def _described(value: Any) -> Any:
    if isinstance(value, TeacherWord):
        return described(value)
    if isinstance(value, tuple | list):
        return tuple(_described(item) for item in value)
    return value


def _key(word: Any) -> str:
    return json.dumps(dataclasses.asdict(word), sort_keys=True, default=str)
