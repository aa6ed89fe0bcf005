"""Several students on one held-out text: one table, with intervals, paired differences and noise floors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tutelage.errors import OutOfRange, TutelageError
from tutelage.evaluation.asking import Asked, asked
from tutelage.evaluation.evidence import Evidence
from tutelage.evaluation.found import Found, Noise, noise_of, plain
from tutelage.evaluation.harness import lm_eval, run_tasks
from tutelage.evaluation.intervals import Interval
from tutelage.evaluation.lengths import fitting_length
from tutelage.evaluation.needs import nothing_to_measure
from tutelage.evaluation.table import as_table
from tutelage.evaluation.writing import Questions, questions_of
from tutelage.interfaces import Batch, Machine, Teacher
from tutelage.models import LanguageModel, load_model, prove_shared
from tutelage.stores.manifest import MANIFEST
from tutelage.teachers import TABLE as TEACHERS
from tutelage.teachers import CachedTeacher
from tutelage.text import Layout, TextRows, collate, examples_of, read_rows

ROWS_IN_A_BATCH = 8
SEEDS = (10, 20, 30, 40, 50)


@dataclass(frozen=True)
class Comparison:
    """What `tutelage evaluate` found.

    Attributes:
        source: what the students were measured on.
        rows, tokens: how much of it.
        students: for each student every measure with its 95 % interval over rows of text.
        differences: for every student but the first its nats per token minus the first's, paired by row.
        paired: the same for every measure.
        noise: for each student how far its measures move from generation seed to generation seed.
        units: of the measures.
        notes: what a reader should know, as sentences.
    """

    source: str
    rows: int
    tokens: int
    students: dict[str, dict[str, Interval]]
    differences: dict[str, Interval]
    paired: dict[str, dict[str, Interval]] = field(default_factory=dict)
    noise: dict[str, dict[str, Noise]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`: intervals have mean, low and high; null where there is no number."""
        return plain(asdict(self))

    def text(self) -> str:
        """A table for people."""
        return as_table(self)


@dataclass(frozen=True)
class Material:
    """Held-out rows laid out for all students.

    Attributes:
        source: what they are, for people.
        batches: on the device.
        questions: prompts and references made of them.
        notes: what became of rows that were too long.
    """

    source: str = ""
    batches: tuple[Batch, ...] = ()
    questions: Questions = field(default_factory=lambda: Questions((), None))
    notes: tuple[str, ...] = ()


def compare(
    students: Sequence[str],
    *,
    data: str | None = None,
    teacher: str | None = None,
    max_rows: int = 100,
    prompt: str | None = None,
    completion: str | None = None,
    max_length: int | None = None,
    measures: Sequence[str] | None = None,
    references: str | None = None,
    prompt_tokens: int = 8,
    max_new_tokens: int = 128,
    seeds: Sequence[int] = SEEDS,
    tasks: Sequence[str] = (),
) -> Comparison:
    """Measure students: on held-out text, by what they write, beside a teacher, on tasks of lm-eval.

    Args:
        students: folders or hub names of models. All must cut text into the same tokens.
        data: held-out text: a file or hub name; None with `tasks` alone.
        teacher: a model to compare with as well, the URL of a server that speaks for one, or a cache, which
            knows only its own rows.
        max_rows: rows that are used, from the beginning.
        prompt, completion: how they are made of other columns; None takes what a cache was laid out with.
        max_length: tokens in a row at most; None takes that of a cache, or what all models can, up to 512.
        measures: names of `TABLE`, with options as in ``dist:n=2``; ``all`` for every one that can be taken,
            None for those of held-out text.
        references: a column with a reference text or a list of them; None takes what is counted of a row.
        prompt_tokens: of rows of plain text, so many tokens are given.
        max_new_tokens: tokens that are written after a prompt at most.
        seeds: a text is drawn for each after every prompt; the spread over them is the noise floor.
        tasks: names of lm-eval's tasks or YAML files that describe one.

    Raises:
        TutelageError: a model or the text cannot be used, or a measure cannot be taken.
        NotShared: two of the models do not share their token ids.
        MissingExtra: a measure's library is not installed.
    """
    wanted = [] if data is None else asked(measures)
    _possible(data, tasks, seeds, max_new_tokens, prompt_tokens)
    if tasks:
        lm_eval()  # whether it is there is told before anything is measured
    machine = Machine("cuda" if torch.cuda.is_available() else "cpu")
    told = None if teacher is None else _teacher(teacher, machine)
    opened = {name: load_model(name, machine=machine) for name in students}
    first = next(iter(opened.values()))
    material = Material()
    if data is not None:
        layout = Layout(prompt, completion, max_length or 0)
        models = [*opened.values(), *([told] if told else [])]
        rows = read_rows(data, max_rows=max_rows)
        room = _room(models, max_new_tokens) if any(one.writes for one in wanted) else None
        material = _material(rows, layout, models, told, machine, room, prompt_tokens, references)
    found: dict[str, dict[str, Found]] = {}
    teachers_texts: dict[Any, Any] = {}
    for name, student in opened.items():
        prove_shared(first.vocabulary, student.vocabulary)
        shared = prove_shared(student.vocabulary, (told or student).vocabulary)
        evidence = Evidence(
            student,
            told,
            shared,
            material.batches,
            material.questions,
            tuple(seeds),
            max_new_tokens,
            teachers_texts,
        )
        found[name] = {one.label: value for one in wanted if (value := one.of(evidence)) is not None}
        found[name] |= run_tasks(student, tasks, limit=max_rows) if tasks else {}
    return _compared(material, found, wanted)


def _compared(
    material: Material, found: Mapping[str, Mapping[str, Found]], wanted: Sequence[Asked]
) -> Comparison:
    first = next(iter(found.values()))
    paired = {
        name: {label: value.minus(first[label]) for label, value in values.items() if label in first}  # type: ignore[arg-type]
        for name, values in list(found.items())[1:]
    }
    noise = {
        name: {label: noise for label, value in values.items() if (noise := noise_of(value)) is not None}
        for name, values in found.items()
    }
    notes = [
        f"{label} of {name}: {value.note}"
        for name, values in found.items()
        for label, value in values.items()
        if value.note
    ]
    counted = sum(batch.counted for batch in material.batches)
    labels = next(iter(found.values()))
    return Comparison(
        material.source,
        sum(len(batch.writers) for batch in material.batches),
        counted,
        {
            name: {label: value.interval() for label, value in values.items()}
            for name, values in found.items()
        },
        {name: values["student_nats"] for name, values in paired.items() if "student_nats" in values},
        paired,
        noise,
        {one.label: one.unit for one in wanted if one.label in labels},
        (*material.notes, *notes),
    )


def _possible(
    data: str | None, tasks: Sequence[str], seeds: Sequence[int], max_new_tokens: int, prompt_tokens: int
) -> None:
    if data is None and not tasks:
        raise nothing_to_measure()
    if not seeds or len(set(seeds)) < len(seeds):
        raise TutelageError(
            f"the seeds are {', '.join(map(str, seeds)) or 'none'}",
            expected="at least one, each once",
            fix="leave them out for 10, 20, 30, 40 and 50",
        )
    for name, value in (("max_new_tokens", max_new_tokens), ("prompt_tokens", prompt_tokens)):
        if value < 1:
            raise OutOfRange(f"{name} is {value}", expected="at least 1", fix="leave it out")


def _material(
    rows: TextRows,
    layout: Layout,
    models: Sequence[LanguageModel | Teacher],
    teacher: LanguageModel | Teacher | None,
    machine: Machine,
    room: int | None,
    prompt_tokens: int,
    references: str | None,
) -> Material:
    """Rows laid out for the first student, those of a cache as it has them; what was left out is noted."""
    student: Any = models[0]
    plain_text = rows.kind == "text" and layout.prompt is None and layout.completion is None
    kept: Any = teacher if isinstance(teacher, CachedTeacher) else None
    if kept is not None:
        layout = _as_kept(kept, rows.sha256, layout)
    layout = dataclasses.replace(layout, max_length=fitting_length(layout.max_length or None, models))
    laid = examples_of(rows, student.tokenizer, layout)
    examples = laid.examples
    if kept is not None:
        kept.prove_rows(examples, {"text": {"sha256": rows.sha256, **asdict(layout)}}, rows.path)
    if not examples:
        raise TutelageError(
            f"{rows.path}: nothing is left to measure on: {laid.said}",
            expected=f"rows of at most {layout.max_length} tokens with something to say",
            fix="give more rows, shorter ones, or a larger `--max-length`",
        )
    questions = questions_of(
        examples,
        student.tokenizer,
        plain_text=plain_text,
        room=room,
        prompt_tokens=prompt_tokens,
        references=references,
    )
    notes = [laid.said] if laid.cut or laid.too_long or laid.empty else []
    if questions.cut:
        notes.append(f"{questions.cut} prompts lost their beginning to make room for what is written")
    batches = tuple(
        collate(examples[i : i + ROWS_IN_A_BATCH], student.pad_id).to(machine.device)
        for i in range(0, len(examples), ROWS_IN_A_BATCH)
    )
    return Material(f"{rows.path} ({rows.found})", batches, questions, tuple(notes))


def _room(models: Sequence[LanguageModel | Teacher], max_new_tokens: int) -> int | None:
    """Tokens of a prompt at most, so that what is written after it fits every model's positions."""
    limits = [most for model in models if (most := getattr(model, "longest", None)) is not None]
    if not limits:
        return None
    if min(limits) <= max_new_tokens:
        raise OutOfRange(
            f"max_new_tokens is {max_new_tokens} for models of {min(limits)} positions",
            expected=f"at most {min(limits) - 1}, so that a prompt has room",
            fix=f"write `--max-new-tokens {max(1, min(limits) // 2)}`",
        )
    return min(limits) - max_new_tokens


def _teacher(where: str, machine: Machine) -> LanguageModel | Teacher:
    if where.startswith(("http://", "https://")):
        return TEACHERS.load("server")(where).open(machine)
    if "://" in where or (Path(where) / MANIFEST).is_file():
        return CachedTeacher(where).open(machine)
    return load_model(where, machine=machine)


def _as_kept(cache: CachedTeacher, sha256: str, asked_for: Layout) -> Layout:
    """The layout of a text in a cache, as far as the user has not given another."""
    said = cache.laid_out(sha256)
    return Layout(
        asked_for.prompt or said.get("prompt"),
        asked_for.completion or said.get("completion"),
        asked_for.max_length or said.get("max_length") or 0,
        said.get("long"),
    )
