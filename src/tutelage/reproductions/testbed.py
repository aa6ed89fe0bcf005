"""The test bed of MiniLLM and f-DISTILL: a synthetic language, its teacher, and students that lack capacity.

Everything is an ordinary recipe run by `tutelage.run.distil`; only the language and the measures belong to
the test bed. A folder holds one seed:

    language-6/                6 modes a topic: data.jsonl, tokenizer, and beside them
    language-6/teacher-2x64/   a teacher of 2 layers of width 64
    strong/warm_start/         a set-up's student, and beside it
    strong/minillm/            every arm
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.files import write_text
from tutelage.interfaces import Machine
from tutelage.models import LanguageModel, load_model
from tutelage.recipes import Recipe, read
from tutelage.reproductions.language import Language, tokenizer
from tutelage.reproductions.measures import Said, measured, said_by
from tutelage.reproductions.parts import Piece
from tutelage.run import distil

Words = Mapping[str, Any]
TEACHER = (2, 64)
LANGUAGE = "{language}"
"""Stands in the words of an arm for the folder of its language."""


@dataclass(frozen=True)
class Pace:
    """How much of everything there is.

    Attributes:
        rows: of the language's data set.
        measured: texts that are drawn of student and teacher each.
        teacher_steps: of training a teacher.
        most_steps: no student takes more; None lets all take what their set-up says.
    """

    rows: int = 5000
    measured: int = 800
    teacher_steps: int = 1800
    most_steps: int | None = None

    def steps(self, wanted: int) -> int:
        """Steps of a student that should take so many."""
        return wanted if self.most_steps is None else min(wanted, self.most_steps)


WHOLE, SMOKE = Pace(), Pace(rows=200, measured=40, teacher_steps=8, most_steps=8)


@dataclass(frozen=True)
class SetUp:
    """A student and how long it is taught.

    Attributes:
        name: in results.
        modes: of every topic of its language.
        layers, width: of the student.
        warm_steps: of the warm start.
        steps: of every arm.
    """

    name: str
    modes: int
    layers: int
    width: int
    warm_steps: int
    steps: int


@dataclass(frozen=True)
class Arm:
    """A way of going on from the warm start.

    Attributes:
        name: in results.
        what: what it is, in a few words.
        words: keys of its recipe; `LANGUAGE` in a path stands for the folder of the language.
        rows: of one step.
        teacher: layers and width of the teacher that it learns from.
        needs: names of further arms of its set-up that have to be done before.
        same_as: set-up and arm whose student it is; it is only measured otherwise.
    """

    name: str
    what: str
    words: Words
    rows: int = 48
    teacher: tuple[int, int] = TEACHER
    needs: tuple[str, ...] = ()
    same_as: str = ""


@dataclass(frozen=True)
class Bed:
    """One seed's languages, teachers and students in a folder.

    Attributes:
        folder: of the seed.
        seed: of language, weights and text.
        pace: how much of everything.
    """

    folder: Path
    seed: int
    pace: Pace = WHOLE

    def language(self, modes: int) -> Piece:
        """The language itself; there is nothing to be measured."""
        return Piece(
            f"language-{modes}/text",
            f"a language of {modes} modes a topic",
            lambda: self._written(modes),
            {"modes": modes, "rows": self.pace.rows},
            shown=False,
        )

    def teacher(self, modes: int, size: tuple[int, int] = TEACHER) -> Piece:
        """A teacher that has learnt a language; the numbers are the teacher's beside itself."""
        layers, width = size
        return Piece(
            f"language-{modes}/teacher-{layers}x{width}",
            f"a teacher of {layers} layers of width {width}",
            lambda: self._taught(modes, size),
            {"modes": modes, "size": size, **asdict(self.pace), "rate": FIRST_RATE},
            (self.language(modes).name,),
        )

    def warm_start(self, of: SetUp) -> Piece:
        """A student before any arm: half cross-entropy, half word-level KD on the language's text."""
        words = {
            "objective": [
                {"divergence": "cross_entropy", "weight": 0.5},
                {"divergence": "forward_kl", "weight": 0.5},
            ],
            "samples": dataset(),
        }
        made = Arm("warm_start", "the warm start, half cross-entropy and half word-level KD", words)
        return self._piece(of, made, of.warm_steps)

    def arms(
        self, of: SetUp, arms: tuple[Arm, ...], measured_by: tuple[int, int] = TEACHER, start: str = ""
    ) -> list[Piece]:
        """All arms of a set-up.

        Args:
            of: the set-up.
            arms: what goes on from a warm start.
            measured_by: layers and width of the teacher that they are held against.
            start: the set-up whose warm start it is, if not its own.
        """
        start = f"{start or of.name}/warm_start"
        return [self._piece(of, arm, of.steps, start, measured_by) for arm in arms]

    def _piece(
        self,
        of: SetUp,
        arm: Arm,
        steps: int,
        start: str | None = None,
        measured_by: tuple[int, int] = TEACHER,
    ) -> Piece:
        sizes = dict.fromkeys([arm.teacher, measured_by])
        earlier = [one for one in (start, arm.same_as) if one]
        teachers = tuple(self.teacher(of.modes, size).name for size in sizes)
        told = {"set_up": asdict(of), "arm": asdict(arm), "start": start, "measured_by": measured_by}
        return Piece(
            f"{of.name}/{arm.name}",
            arm.what,
            lambda: self._run(of, arm, self.pace.steps(steps), start, measured_by),
            told | asdict(self.pace) | {"first_rate": FIRST_RATE},
            (*earlier, *teachers, *(f"{of.name}/{one}" for one in arm.needs)),
        )

    def _language(self, modes: int) -> Path:
        return self.folder / f"language-{modes}"

    def _teacher_run(self, modes: int, size: tuple[int, int]) -> Path:
        return self._language(modes) / f"teacher-{size[0]}x{size[1]}"

    def _written(self, modes: int) -> dict[str, float]:
        place, language = self._language(modes), Language.of(self.seed, modes)
        lines = [json.dumps(row) for row in language.rows(self.seed, self.pace.rows)]
        write_text(place / "data.jsonl", "".join(f"{line}\n" for line in lines))
        tokenizer().save_pretrained(place / "tokenizer")
        return {}

    def _taught(self, modes: int, size: tuple[int, int]) -> dict[str, float]:
        place, run = self._language(modes), self._teacher_run(modes, size)
        words = {
            "student": {"config": config(*size), "tokenizer": str(place / "tokenizer")},
            "divergence": "cross_entropy",
            "samples": _filled(dataset(), place),
            "training": training(self.pace.teacher_steps, 64) | {"learning_rate": FIRST_RATE},
        }
        seconds = trained(read({"out": str(run), "seed": self.seed, **words}))
        teacher = opened(run)
        texts = [
            said_by(teacher, self.pace.measured, self.seed, name)
            for name in ("text of the teacher to measure on", "text of the teacher beside itself")
        ]
        write_text(run / "said.json", json.dumps(texts[0].rows) + "\n")
        language = Language.of(self.seed, modes)
        return measured(language, teacher, teacher, texts[1], texts[0]) | {"cpu_seconds": seconds}

    def _run(
        self, of: SetUp, arm: Arm, steps: int, start: str | None, measured_by: tuple[int, int]
    ) -> dict[str, float]:
        place, out = self._language(of.modes), self.folder / of.name / arm.name
        rates: Words = {}
        if start is None:
            rates = {"learning_rate": FIRST_RATE}
            student: Words = {
                "config": config(of.layers, of.width),
                "tokenizer": str(place / "tokenizer"),
            }
        else:
            student = {"model": str(self.folder / start / "student")}
        words = {
            "student": student,
            "teacher": str(self._teacher_run(of.modes, arm.teacher) / "student"),
            "training": {**training(steps, arm.rows), **rates},
            **_filled(arm.words, place),
        }
        if arm.same_as:
            out, seconds = self.folder / arm.same_as, math.nan
        else:
            seconds = trained(read({"out": str(out), "seed": self.seed, **words}))
        student_now = opened(out)
        teacher = self._teacher_run(of.modes, measured_by)
        own = said_by(student_now, self.pace.measured, self.seed, "text of the student to measure on")
        said = json.loads((teacher / "said.json").read_text(encoding="utf-8"))
        theirs = Said(tuple(tuple(row) for row in said))
        found = measured(Language.of(self.seed, of.modes), student_now, opened(teacher), own, theirs)
        return found | {"cpu_seconds": seconds}


FIRST_RATE = 3e-3
"""Of teachers and warm starts. With 1e-3 a teacher says a valid text half of the time and the warm start of
the strong student one in fifty, where the plan of this test bed recorded 0.72 and 0.32."""


def config(layers: int, width: int) -> dict[str, Any]:
    """A GPT-2 without dropout whose output layer is its own.

    Its activation is that of GPT-2 in one pass; written out as "gelu_new" it costs a quarter of both passes.
    """
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "tie_word_embeddings": False}
    size = {"n_layer": layers, "n_embd": width, "n_head": 4, "n_positions": 32}
    return {"model_type": "gpt2", "activation_function": "gelu_pytorch_tanh"} | size | off


def dataset() -> dict[str, Any]:
    """The language's text, as samples."""
    return {"kind": "dataset", "data": f"{LANGUAGE}/data.jsonl", "max_length": 32}


def training(steps: int, rows: int) -> dict[str, Any]:
    """AdamW at 1e-3 with a warm-up and a cosine; gradients are cut to length 1."""
    return {
        "learning_rate": 1e-3,
        "per_device_train_batch_size": rows,
        "max_steps": steps,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, steps // 20),
        "logging_steps": 50,
        "save_steps": 300,
        "save_total_limit": 1,
    }


def trained(recipe: Recipe) -> float:
    """Do what a recipe says; gives the seconds of processor time, NaN where an earlier call had begun it."""
    begun, before = Path(recipe.out).exists(), time.process_time()
    distil(recipe, command="tutelage reproduce")
    return math.nan if begun else time.process_time() - before


def opened(run: Path) -> LanguageModel:
    """The student of a run's folder."""
    return load_model(run / "student", machine=Machine())


def _filled(words: Words, language: Path) -> dict[str, Any]:
    """Words of a recipe with the folder of the language in its place."""

    def fill(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: fill(one) for key, one in value.items()}
        if isinstance(value, list):
            return [fill(one) for one in value]
        return value.replace(LANGUAGE, str(language)) if isinstance(value, str) else value

    return {key: fill(value) for key, value in words.items()}
