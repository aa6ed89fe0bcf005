"""What a cache is built from: a recipe's teacher, open, and every row that its runs will look up."""

from __future__ import annotations

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError
from tutelage.interfaces import Teacher
from tutelage.models import LanguageModel, Shared, Vocabulary
from tutelage.recipes import Recipe, SamplesWord, TeacherWord, written
from tutelage.run.opened import Shelf, fits, held_out_word, meeting, only_shared
from tutelage.run.suited import known_before
from tutelage.run.told import told_text
from tutelage.stores.manifest import TOKENIZER, VOCABULARY, encoded
from tutelage.stores.rows import row_key
from tutelage.teachers import moving
from tutelage.teachers.fingerprint import members
from tutelage.text import Example

PLACES = ("model", "cache", "url")
"""Options of a teacher that say, for people, which one it is."""


@dataclass(frozen=True)
class Source:
    """An open teacher and the rows that it will be asked for.

    Attributes:
        student: opened for its tokenizer, and to measure the gap of bounds with.
        teacher: open.
        shared: the tokens on which the two meet.
        keys: of the rows, each once.
        rows: in the order of the text.
        measured: numbers of the rows that the cache is measured on.
        where: what those are, for people.
        text: what was read and how it was laid out, as plain JSON values.
        recorded: names, for people.
    """

    student: LanguageModel
    teacher: Teacher
    shared: Shared
    keys: Sequence[bytes]
    rows: Sequence[Example]
    measured: Sequence[int]
    where: str
    text: Mapping[str, Any]
    recorded: Mapping[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the teacher looks at."""
        return tuple(getattr(self.teacher, "columns", ()))


def opened_source(recipe: Recipe, shelf: Shelf, *, measured_rows: int = 64) -> Source:
    """Open a recipe's teacher and read the text of all its runs, the held-out text too.

    Args:
        recipe: a run or a study, whose arms must have one teacher.
        shelf: where things are opened.
        measured_rows: so many rows, of the held-out text if there is one, are kept to measure on.

    Raises:
        TutelageError: there is no teacher, there are several, or something cannot be used.
    """
    word = _teacher_word(recipe)
    with recipe.blaming("student"):
        student = shelf.student(recipe, recipe.seed)
    with recipe.blaming("teacher"):
        teacher = shelf.teacher(word)
        assert teacher is not None
        moving.standing(teacher, "cached")
        shared = meeting(student, teacher)
    columns = tuple(getattr(teacher, "columns", ()))
    found: dict[bytes, Example] = {}
    sources, paths, held_out, first = [], [], [], []
    for kind, one in texts_of(recipe):
        with recipe.blaming(kind):
            known_before(one)
            samples = shelf.samples(one, student)
            only_shared(samples, shared, student)
            fits(samples, student, teacher)
        sources.append(told_text(one, samples))
        paths.append(written(one.options.get("data", samples.source.path)))
        keys = [row_key(e.tokens, e.counted, [e.columns.get(c) for c in columns]) for e in samples.examples]
        (held_out if kind == "evaluation" else first).extend(keys)
        for key, example in zip(keys, samples.examples, strict=True):
            found.setdefault(key, example)
    numbers = {key: number for number, key in enumerate(found)}
    chosen = list(dict.fromkeys(numbers[key] for key in held_out or first))[:measured_rows]
    return Source(
        student,
        teacher,
        shared,
        list(found),
        list(found.values()),
        chosen,
        "held-out text" if held_out else "the first rows of the training text, for want of `evaluation:`",
        {"sources": sources, "keys": hashlib.sha256(b"".join(found)).hexdigest()},
        {
            "teacher": _named(teacher),
            "text": list(dict.fromkeys(paths)),
            "parameters": getattr(teacher, "parameters", None),
            "tutelage": importlib.metadata.version("tutelage"),
        },
    )


def vocabulary_files(vocabulary: Vocabulary, name: str) -> dict[str, bytes]:
    """What proves later which tokens a cache speaks of: the vocabulary and the tokenizer's own files.

    Args:
        vocabulary: of the teacher.
        name: whose it is, for errors; no path of this machine.
    """
    files = {VOCABULARY: encoded(vocabulary.told() | {"name": name})}
    if vocabulary.tokenizer is not None:
        with tempfile.TemporaryDirectory() as folder:
            vocabulary.tokenizer.save_pretrained(folder)
            saved = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            files |= {TOKENIZER + path.relative_to(folder).as_posix(): path.read_bytes() for path in saved}
    return files


def _teacher_word(recipe: Recipe) -> TeacherWord:
    arms = [arm for _, _, arm in recipe.runs()]
    words = [arm.teacher for arm in arms if arm.needs_teacher and arm.teacher is not None]
    words = words or [word for word in (recipe.teacher, *(arm.teacher for arm in arms)) if word is not None]
    if not words:
        raise TutelageError(
            f"{recipe.out}: the recipe has no teacher",
            expected="a recipe with `teacher:`",
            fix="add it, or write `teacher=PATH` behind the recipe",
        )
    if any(word != words[0] for word in words):
        raise TutelageError(
            f"{recipe.out}: the arms have different teachers",
            expected="one teacher a cache",
            fix="build one cache for each: write `arms=none teacher=...` behind the recipe",
        )
    return words[0]


def texts_of(recipe: Recipe) -> Iterator[tuple[str, SamplesWord]]:
    """The text of every run, the training text first, each once."""
    arms = [recipe, *(arm for _, _, arm in recipe.runs())]
    pairs = [("samples", arm.samples) for arm in arms]
    pairs += [("evaluation", held_out_word(arm)) for arm in arms]
    seen = []
    for kind, word in pairs:
        if word is not None and word not in seen:
            seen.append(word)
            yield kind, word


def _named(teacher: Teacher) -> str:
    """The models behind a teacher as the recipe spells them."""
    names = [written(getattr(one, name)) for one in members(teacher) for name in PLACES if hasattr(one, name)]
    return " and ".join(dict.fromkeys(names))
