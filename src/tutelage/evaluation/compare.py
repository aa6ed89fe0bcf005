"""Several students on one held-out text: one table, with intervals and paired differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.distribution import Distribution, Hidden, restricted
from tutelage.evaluation.held_out import HeldOut, measure
from tutelage.evaluation.intervals import Interval, over_rows
from tutelage.evaluation.lengths import fitting_length, too_long
from tutelage.interfaces import Batch, Machine, Teacher
from tutelage.models import LanguageModel, Shared, load_model, prove_shared, rows_of
from tutelage.stores.manifest import MANIFEST
from tutelage.teachers import TABLE as TEACHERS
from tutelage.teachers import CachedTeacher
from tutelage.text import Layout, collate, examples_of, read_rows

__all__ = ["Comparison", "compare", "fitting_length", "too_long"]

ROWS_IN_A_BATCH = 8


@dataclass(frozen=True)
class Comparison:
    """What `tutelage evaluate` found.

    Attributes:
        source: what the students were measured on.
        rows, tokens: how much of it.
        students: for each student every measure with its 95 % interval over rows of text.
        differences: for every student but the first its nats per token minus the first's, paired by row.
    """

    source: str
    rows: int
    tokens: int
    students: dict[str, dict[str, Interval]]
    differences: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`; intervals have mean, low and high."""
        return asdict(self)

    def text(self) -> str:
        """A table for people."""
        lines = [f"{self.source}: {self.rows} rows, {self.tokens} tokens; 95 % intervals over rows", ""]
        for name, measures in self.students.items():
            lines.append(name)
            for measure_name, interval in measures.items():
                lines.append(f"  {measure_name:<18} {str(interval).replace('+', '')}")
            if name in self.differences:
                first = next(iter(self.students))
                lines.append(f"  {'nats minus first':<18} {self.differences[name]}  (first: {first})")
        return "\n".join(lines)


def compare(
    students: Sequence[str],
    *,
    data: str,
    teacher: str | None = None,
    max_rows: int = 100,
    prompt: str | None = None,
    completion: str | None = None,
    max_length: int | None = None,
) -> Comparison:
    """Measure students on held-out text: nats per token, and how far each is from a teacher.

    Args:
        students: folders or hub names of models. All must cut text into the same tokens.
        data: held-out text: a file or hub name.
        teacher: a model to compare with as well, the URL of a server that speaks for one, or a cache, which
            knows only its own rows.
        max_rows: rows that are used, from the beginning.
        prompt, completion: how they are made of other columns; None takes what a cache was laid out with.
        max_length: tokens in a row at most; None takes that of a cache, or what all models can, up to 512.

    Raises:
        TutelageError: a model or the text cannot be used.
        NotShared: two of the models do not share their token ids.
    """
    machine = Machine("cuda" if torch.cuda.is_available() else "cpu")
    told = None if teacher is None else _teacher(teacher, machine)
    opened = {name: load_model(name, machine=machine) for name in students}
    kept: Any = told if isinstance(told, CachedTeacher) else None
    models = [*opened.values(), *([told] if told else [])]
    found: dict[str, HeldOut] = {}
    first: LanguageModel | None = None
    batches: list[Batch] = []
    source = data
    for name, student in opened.items():
        if first is None:
            first = student
            rows = read_rows(data, max_rows=max_rows)
            source = f"{data} ({rows.found})"
            layout = Layout(prompt, completion, max_length or 0)
            if kept is not None:
                layout = _as_kept(kept, rows.sha256, prompt, completion, max_length)
            length = fitting_length(layout.max_length or None, models)
            layout = dataclasses.replace(layout, max_length=length)
            examples = examples_of(rows, student.tokenizer, layout).examples
            if kept is not None:
                named = {"sha256": rows.sha256, **asdict(layout)}
                kept.prove_rows(examples, {"text": named}, data)
            batches = [
                collate(examples[i : i + ROWS_IN_A_BATCH], student.pad_id).to(machine.device)
                for i in range(0, len(examples), ROWS_IN_A_BATCH)
            ]
        prove_shared(first.vocabulary, student.vocabulary)
        shared = prove_shared(student.vocabulary, (told or student).vocabulary)
        asked = None if told is None else _met(told, shared)
        found[name] = measure(batches, _rows(student, shared), asked, getattr(told, "gold_log_probs", None))
    reference = next(iter(found.values()))
    return Comparison(
        source,
        len(reference.tokens),
        int(reference.tokens.sum()),
        {
            name: {key: over_rows(sums, held.tokens) for key, sums in held.sums.items()}
            for name, held in found.items()
        },
        {
            name: over_rows(held.sums["student_nats"] - reference.sums["student_nats"], held.tokens)
            for name, held in list(found.items())[1:]
        },
    )


def _teacher(where: str, machine: Machine) -> LanguageModel | Teacher:
    if where.startswith(("http://", "https://")):
        return TEACHERS.load("server")(where).open(machine)
    if "://" in where or (Path(where) / MANIFEST).is_file():
        return CachedTeacher(where).open(machine)
    return load_model(where, machine=machine)


def _met(teacher: LanguageModel | Teacher, shared: Shared) -> Callable[[Batch], Distribution]:
    if isinstance(teacher, LanguageModel):
        return _rows(teacher, shared)
    return lambda batch: restricted(teacher(batch), shared.width, shared.never_on(batch.tokens.device))


def _as_kept(
    cache: CachedTeacher, sha256: str, prompt: str | None, completion: str | None, max_length: int | None
) -> Layout:
    """The layout of a text in a cache, as far as the user has not given another."""
    said = cache.laid_out(sha256)
    return Layout(
        prompt or said.get("prompt"),
        completion or said.get("completion"),
        max_length or said.get("max_length") or 0,
        said.get("long"),
    )


def _rows(model: LanguageModel, shared: Shared) -> Callable[[Batch], Distribution]:
    model.model.eval()

    def said(batch: Batch) -> Distribution:
        hidden, layer = rows_of(model, batch)
        whole = Hidden(hidden, layer.weight, layer.bias, layer.scale, layer.softcap)
        return restricted(whole, shared.width, shared.never_on(hidden.device))

    return said
