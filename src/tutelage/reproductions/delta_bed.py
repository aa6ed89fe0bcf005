"""The test bed of Delta-KD: a model before and after fine-tuning, and a student that saw the same text.

Everything is an ordinary recipe run by `tutelage.run.distil`; only data and measures belong to the test bed.
Base, aligned model and what they say about the task are the same for every seed:

    every-seed/text/            data sets and tokenizer
    every-seed/base/            pretrained; every-seed/aligned/ goes on from it on the task
    every-seed/cache-base/      hidden states on the task, as beside it cache-aligned/
    seed-0/untouched/           the student before any arm
    seed-0/A/delta/             every arm
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.evaluation.measures.overlap import rouge_of
from tutelage.files import write_text
from tutelage.interfaces import Machine
from tutelage.recipes import Recipe, read
from tutelage.reproductions.delta_measures import LONGEST, Held, measured, on_references
from tutelage.reproductions.delta_text import (
    WINDOW,
    asking,
    questions,
    row,
    sources,
    task,
    tokenizer,
    windows,
)
from tutelage.reproductions.e2e import spread
from tutelage.reproductions.e2e_bed import config
from tutelage.reproductions.parts import Outcome, Piece
from tutelage.reproductions.testbed import opened, trained
from tutelage.reproductions.work import EVERY_SEED
from tutelage.run.caching import build_cache
from tutelage.stores.payload import Form
from tutelage.teachers.cached import CachedTeacher
from tutelage.teachers.delta import DeltaTeacher
from tutelage.teachers.model import ModelTeacher

BIG, STUDENT = (3, 128), (2, 48)
"""Layers and width."""

RATE, ALIGNING_RATE = 2e-3, 1e-3
WINDOWS, PAIRS_OF_TEACHER, PAIRS = 16, 32, 24
"""Rows of a step: of pretraining, of fine-tuning the big model, of an arm."""


@dataclass(frozen=True)
class Pace:
    """How much of everything there is.

    Attributes:
        windows: of pretraining text.
        pairs: of the task.
        questions: held-out meaning representations.
        asked: of them, for each of which a text is written.
        story_ids: tokens of held-out stories.
        pretraining, aligning, steps: of base and of the raw student, of the aligned model, of every arm.
    """

    windows: int = 8000
    pairs: int = 4000
    questions: int = 150
    asked: int = 100
    story_ids: int = 9600
    pretraining: int = 500
    aligning: int = 375
    steps: int = 250


WHOLE = Pace()
SMOKE = Pace(200, 100, 6, 4, 192, 6, 6, 6)


@dataclass(frozen=True)
class Arm:
    """A way of going on from the raw student.

    Attributes:
        name: in results.
        what: what it is, in a few words.
        teacher: ``aligned``, ``delta`` or none.
        gold: share of cross-entropy on the sentences of the data.
    """

    name: str
    what: str
    teacher: str = ""
    gold: float = 0.0


@dataclass(frozen=True)
class Bed:
    """One seed's students in a folder, and what they share with other seeds beside it.

    Attributes:
        folder: of the seed.
        seed: of the student's weights and of the order of rows.
        pace: how much of everything.
    """

    folder: Path
    seed: int
    pace: Pace = WHOLE

    def common(self) -> list[Piece]:
        """Text, base and aligned model, what they say, and how good they are."""
        made = [
            self._piece("every/text", "data sets and tokenizer", self._written, shared=True),
            self._training("every/base", self._base, "every/text"),
            self._training("every/aligned", self._aligned, "every/base"),
        ]
        for name in ("aligned", "base"):
            needs = (f"every/{name}", "every/text")
            do = lambda name=name: self._cached(name)
            made.append(self._piece(f"every/cache-{name}", f"what {name} says", do, *needs, shared=True))
        for name, what in {"base": "pretrained", "aligned": "base after fine-tuning on the task"}.items():
            do = lambda name=name: measured(opened(self.shared / name), self._held())
            made.append(self._piece(f"teachers/{name}", what, do, *CACHES, shown=True, shared=True))
        return made

    def student(self, strengths: Sequence[float]) -> list[Piece]:
        """The raw student, and the delta teacher that is made with it, at some strengths."""
        made = [
            self._training("train/untouched", self._raw, "every/text"),
            self._piece(
                "A/untouched",
                "the raw student, pretrained only",
                lambda: measured(opened(self.folder / "untouched"), self._held()),
                "train/untouched",
                *CACHES,
                shown=True,
            ),
        ]
        return made + [
            self._piece(
                f"teachers/delta_{strength:g}",
                f"the delta teacher itself, strength {strength:g}",
                lambda strength=strength: self._delta(strength),
                "train/untouched",
                *CACHES,
                shown=True,
            )
            for strength in strengths
        ]

    def arms(self, arms: Sequence[Arm]) -> list[Piece]:
        """All arms, trained and then measured."""
        made = []
        for arm in arms:
            needs = ("train/untouched", *(CACHES if arm.teacher else ()))
            made += [
                self._training(f"train/{arm.name}", lambda arm=arm: self._recipe(arm), *needs, arm=arm),
                self._piece(
                    f"A/{arm.name}",
                    arm.what,
                    lambda arm=arm: measured(opened(self.folder / "A" / arm.name), self._held()),
                    f"train/{arm.name}",
                    *CACHES,
                    arm=arm,
                    shown=True,
                ),
            ]
        return made

    @property
    def shared(self) -> Path:
        """The folder of what is the same for every seed."""
        return self.folder.parent / EVERY_SEED

    @property
    def text(self) -> Path:
        """The folder of data sets and tokenizer."""
        return self.shared / "text"

    def _training(
        self, name: str, recipe: Callable[[], Recipe], *needs: str, arm: Arm | None = None
    ) -> Piece:
        def do() -> dict[str, float]:
            return {"cpu_seconds": trained(recipe())}

        shared = name.startswith("every/")
        return self._piece(name, f"training {name}", do, *needs, arm=arm, shared=shared)

    def _piece(
        self,
        name: str,
        what: str,
        do: Callable[[], Any],
        *needs: str,
        arm: Arm | None = None,
        shown: bool = False,
        shared: bool = False,
    ) -> Piece:
        told = {**SETTINGS, **asdict(self.pace), **({} if arm is None else {"arm": asdict(arm)})}
        return Piece(name, what, do, told, needs, shown=shown, shared=shared)

    def _written(self) -> dict[str, float]:
        rouge_of([], [])  # without its library nothing of all this could be measured: say so first
        texts, pairs, held = sources(), task(self.pace.pairs), questions(self.pace.questions)
        files = {
            "windows": [{"text": text} for text in windows(texts, self.pace.windows)],
            "task": [row(pair) for pair in pairs],
            "dev": [row(pair) for question in held for pair in question.pairs],
        }
        for name, rows in files.items():
            lines = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in rows)
            write_text(self.text / f"{name}.jsonl", lines)
        learnt = [text for known in texts.values() for text in known]
        learnt += [asking(pair.meaning) + pair.text for pair in pairs]
        tokenizer(learnt).save_pretrained(self.text / "tokenizer")
        return {}

    def _base(self) -> Recipe:
        words = self._words("windows", RATE, WINDOWS, self.pace.pretraining)
        return self._read(self.shared / "base", words, self._new(BIG), seed=0)

    def _aligned(self) -> Recipe:
        words = self._words("task", ALIGNING_RATE, PAIRS_OF_TEACHER, self.pace.aligning)
        return self._read(self.shared / "aligned", words, self._from(self.shared / "base"), seed=0)

    def _raw(self) -> Recipe:
        words = self._words("windows", RATE, WINDOWS, self.pace.pretraining)
        return self._read(self.folder / "untouched", words, self._new(STUDENT), seed=self.seed)

    def _recipe(self, arm: Arm) -> Recipe:
        words = self._words("task", RATE, PAIRS, self.pace.steps)
        if arm.teacher:
            weights = {"forward_kl": 1 - arm.gold, "cross_entropy": arm.gold}
            words["objective"] = [{"divergence": one, "weight": w} for one, w in weights.items() if w]
            del words["divergence"]
            said: dict[str, Any] = {
                name: {"kind": "cached", "cache": str(self._cache(name))} for name in ("aligned", "base")
            }
            delta = {"kind": "delta", **said, "onto": "initial_student", "strength": 1.0}
            words["teacher"] = delta if arm.teacher == "delta" else said[arm.teacher]
        student = self._from(self.folder / "untouched")
        return self._read(self.folder / "A" / arm.name, words, student, seed=self.seed)

    def _cache(self, name: str) -> Path:
        return self.shared / f"cache-{name}"

    def _cached(self, name: str) -> dict[str, float]:
        words = self._words("task", RATE, PAIRS, 1) | {
            "divergence": "forward_kl",
            "teacher": str(self.shared / name / "student"),
            "evaluation": {"data": str(self.text / "dev.jsonl"), "max_rows": 5000},
        }
        place = str(self._cache(name))
        recipe = self._read(Path(place), words, self._new(STUDENT), seed=0)
        build_cache(recipe, place, Form("hidden", "float32"))
        return {}

    def _held(self) -> Held:
        held = questions(self.pace.questions)
        return Held(
            data=str(self.text / "dev.jsonl"),
            questions=held,
            asked=spread(held, self.pace.asked),
            aligned=self._known("aligned").open(Machine()),
            base=self._known("base").open(Machine()),
            story_ids=self.pace.story_ids,
        )

    def _known(self, name: str) -> CachedTeacher:
        return CachedTeacher(cache=str(self._cache(name)))

    def _delta(self, strength: float) -> Outcome:
        onto = ModelTeacher(str(self.folder / "untouched" / "student"))
        delta = DeltaTeacher(self._known("aligned"), self._known("base"), onto, strength)
        return on_references(delta.open(Machine()), self._held(), opened(self.folder / "untouched"))

    def _read(self, out: Path, words: Mapping[str, Any], student: Mapping[str, Any], seed: int) -> Recipe:
        return read({"out": str(out), "seed": seed, "student": student, **words})

    def _new(self, size: tuple[int, int]) -> dict[str, Any]:
        made = config(*size) | {"n_positions": LONGEST}
        return {"config": made, "tokenizer": str(self.text / "tokenizer")}

    def _from(self, run: Path) -> dict[str, Any]:
        return {"model": str(run / "student")}

    def _words(self, data: str, rate: float, rows: int, steps: int) -> dict[str, Any]:
        fits = {"max_length": WINDOW, "long": "cut"} if data == "windows" else {"max_length": LONGEST}
        return {
            "divergence": "cross_entropy",
            "samples": {"kind": "dataset", "data": str(self.text / f"{data}.jsonl"), **fits},
            "training": {
                "learning_rate": rate,
                "per_device_train_batch_size": rows,
                "max_steps": steps,
                "lr_scheduler_type": "cosine",
                "logging_steps": 25,
                "eval_steps": steps,
                "save_steps": 250,
                "save_total_limit": 1,
            },
        }


CACHES = ("every/cache-aligned", "every/cache-base")
SETTINGS: Mapping[str, Any] = {
    "big": BIG,
    "student": STUDENT,
    "rates": (RATE, ALIGNING_RATE),
    "rows": (WINDOWS, PAIRS_OF_TEACHER, PAIRS),
}
