"""The test bed on E2E: teachers that know the task, and a student that has seen its texts but no prompt.

Everything is an ordinary recipe run by `tutelage.run.distil`, but for one control (`blended`); only data and
measures belong to the test bed. Teachers and their caches are the same for every seed:

    every-seed/text/            data sets and tokenizer
    every-seed/teacher-L/       a teacher, and beside it
    every-seed/cache-L/         its hidden states on the fixed pairs and on the held-out references
    seed-0/warm_start/          the student before any arm
    seed-0/L/forward_kl/        every arm
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.files import write_text
from tutelage.interfaces import Machine
from tutelage.recipes import Recipe, read
from tutelage.reproductions.blended import blend
from tutelage.reproductions.e2e import pairs, spread, tokenizer
from tutelage.reproductions.e2e_measures import LONGEST, Held, asked_of, held_out, joined, measured
from tutelage.reproductions.parts import Outcome, Piece
from tutelage.reproductions.testbed import opened, trained
from tutelage.reproductions.work import EVERY_SEED
from tutelage.run.caching import build_cache
from tutelage.stores.payload import Form
from tutelage.teachers.cached import CachedTeacher

Words = Mapping[str, Any]
STUDENT = (1, 24)
TEACHERS = {"L": (4, 160), "S": (2, 40)}
"""Layers and width."""

JUDGE = "L"
"""The teacher that all students are held against."""

BEFORE = "before"
"""The set-up of what is there before any arm."""

TEACHER_RATE, STUDENT_RATE, TEACHER_WARM_UP = 4e-3, 3e-3, 50
ROWS = 32
EVERY = 10
"""Steps between two points of a course."""


@dataclass(frozen=True)
class Pace:
    """How much of everything there is.

    Attributes:
        pairs: that teachers learn from; None takes all.
        fixed: of them, that students are taught on.
        every: this dev row and so many further on belong to the held-out references.
        prompts: for each of which one text is drawn.
        teacher_steps: of training a teacher.
        steps: of the warm start, and of every arm.
    """

    pairs: int | None = None
    fixed: int = 6000
    every: int = 12
    prompts: int = 150
    teacher_steps: int = 900
    steps: int = 250


WHOLE = Pace()
SMOKE = Pace(pairs=600, fixed=200, every=240, prompts=12, teacher_steps=6, steps=6)


@dataclass(frozen=True)
class Arm:
    """A way of going on from the warm start.

    Attributes:
        name: in results.
        what: what it is, in a few words.
        teacher: whose; the set-up is named after it.
        divergence: of its loss, a name or a name with options; two for a blend.
        way: options of an `interpolated` teacher; None takes the teacher itself.
        gold: cross-entropy on the references, without a teacher.
        blend: its two divergences weigh ``1 - t`` and ``t``, with the ``t`` of ``way``; the teacher itself
            is what both look at.
        beside: an arm of the same set-up whose ``t`` this arm's is compared with.
    """

    name: str
    what: str
    teacher: str
    divergence: Any = "forward_kl"
    way: Words | None = None
    gold: bool = False
    blend: bool = False
    beside: str = ""


@dataclass(frozen=True)
class Bed:
    """One seed's students in a folder, and what they share with other seeds beside it.

    Attributes:
        folder: of the seed.
        seed: of the student's weights, of the order of rows and of its texts.
        pace: how much of everything.
    """

    folder: Path
    seed: int
    pace: Pace = WHOLE

    def common(self) -> list[Piece]:
        """Text, teachers and caches, the larger teacher first because it takes longest."""
        made = [self._piece("every/text", "data sets and tokenizer", self._written, {}, (), shared=True)]
        for name in TEACHERS:
            made.append(
                self._piece(
                    f"every/teacher-{name}",
                    f"training teacher {name}",
                    lambda name=name: {"cpu_seconds": trained(self._teacher(name))},
                    {"size": TEACHERS[name], "rate": TEACHER_RATE, "warm_up": TEACHER_WARM_UP},
                    ("every/text",),
                    shared=True,
                )
            )
        for name in reversed(TEACHERS):
            needs = ("every/text", f"every/teacher-{name}")
            made.append(
                self._piece(
                    f"every/cache-{name}",
                    f"what teacher {name} says",
                    lambda name=name: self._cached(name),
                    {"size": TEACHERS[name]},
                    needs,
                    shared=True,
                )
            )
        return made

    def teachers(self) -> list[Piece]:
        """Each teacher measured beside the larger one."""
        return [
            self._piece(
                f"{BEFORE}/teacher_{name}",
                f"teacher {name}, {layers} layers of width {width}",
                lambda name=name: self._measured(self.shared / f"teacher-{name}", 0),
                {"size": (layers, width)},
                (f"every/teacher-{name}", f"every/cache-{JUDGE}"),
                shown=True,
                shared=True,
            )
            for name, (layers, width) in TEACHERS.items()
        ]

    def warm_start(self) -> list[Piece]:
        """The student before any arm, trained and measured."""
        return self._student(
            "warm_start", f"{BEFORE}/untouched", "the student before any arm", self._warm, (), {}
        )

    def arms(self, arms: tuple[Arm, ...]) -> list[Piece]:
        """All arms, trained and then measured: only measuring has to wait for the larger teacher."""
        made = []
        for arm in arms:
            needs = ("train/warm_start", *(() if arm.gold else (f"every/cache-{arm.teacher}",)))
            place = f"{arm.teacher}/{arm.name}"
            do = (lambda arm=arm: blend(self._recipe(arm))) if arm.blend else None
            made += self._student(
                place, place, arm.what, lambda arm=arm: self._recipe(arm), needs, asdict(arm), do, arm.beside
            )
        return made

    @property
    def shared(self) -> Path:
        """The folder of what is the same for every seed."""
        return self.folder.parent / EVERY_SEED

    @property
    def text(self) -> Path:
        """The folder of data sets and tokenizer."""
        return self.shared / "text"

    def _student(
        self,
        place: str,
        name: str,
        what: str,
        recipe: Callable[[], Recipe],
        needs: tuple[str, ...],
        told: Words,
        do: Callable[[], float] | None = None,
        beside: str = "",
    ) -> list[Piece]:
        run = self.folder / place
        other = self.folder / name.partition("/")[0] / beside if beside else None
        training = self._piece(
            f"train/{place}",
            f"training {name}",
            lambda: {"cpu_seconds": (do or (lambda: trained(recipe())))()},
            {**told, "rate": STUDENT_RATE, "size": STUDENT},
            ("every/text", *needs),
        )
        further = (f"train/{name.partition('/')[0]}/{beside}",) if beside else ()
        measuring = self._piece(
            name,
            what,
            lambda: self._measured(run, self.seed, other),
            {**told, "rate": STUDENT_RATE, "size": STUDENT},
            (training.name, f"every/cache-{JUDGE}", *further),
            shown=True,
        )
        return [training, measuring]

    def _piece(
        self,
        name: str,
        what: str,
        do: Callable[[], Any],
        told: Words,
        needs: tuple[str, ...],
        *,
        shown: bool = False,
        shared: bool = False,
    ) -> Piece:
        return Piece(name, what, do, {**told, **asdict(self.pace)}, needs, shown=shown, shared=shared)

    def _written(self) -> dict[str, float]:
        train = pairs("train")
        learnt = train if self.pace.pairs is None else spread(train, self.pace.pairs)
        files = {
            "train": [pair.row for pair in learnt],
            "fixed": [pair.row for pair in spread(learnt, self.pace.fixed)],
            "responses": [{"text": pair.text} for pair in learnt],
            "dev": [row for _, row in held_out(self.pace.every)],
        }
        for name, rows in files.items():
            lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            write_text(self.text / f"{name}.jsonl", lines)
        tokenizer(pair.text for pair in train).save_pretrained(self.text / "tokenizer")
        return {}

    def _teacher(self, name: str) -> Recipe:
        steps = self.pace.teacher_steps
        words = self._words("train", TEACHER_RATE, steps, min(TEACHER_WARM_UP, steps // 2))
        words |= {"divergence": "cross_entropy", "student": self._new(TEACHERS[name])}
        return read({"out": str(self.shared / f"teacher-{name}"), "seed": 0, **words})

    @property
    def _warm(self) -> Callable[[], Recipe]:
        def recipe() -> Recipe:
            words = self._words("responses", STUDENT_RATE, self.pace.steps)
            words |= {"divergence": "cross_entropy", "student": self._new(STUDENT)}
            return read({"out": str(self.folder / "warm_start"), "seed": self.seed, **words})

        return recipe

    def _recipe(self, arm: Arm) -> Recipe:
        words = self._words("fixed", STUDENT_RATE, self.pace.steps)
        words["student"] = {"model": str(self.folder / "warm_start" / "student")}
        if arm.gold:
            words["divergence"] = "cross_entropy"
        else:
            words["teacher"] = {"kind": "cached", "cache": str(self.shared / f"cache-{arm.teacher}")}
            if arm.way is not None:
                words["teacher"] = {"kind": "interpolated", "teacher": words["teacher"], **arm.way}
            if arm.blend:
                words["objective"] = [{"divergence": one} for one in arm.divergence]
            else:
                words["divergence"] = arm.divergence
        return read({"out": str(self.folder / arm.teacher / arm.name), "seed": self.seed, **words})

    def _cached(self, name: str) -> dict[str, float]:
        words = self._words("fixed", STUDENT_RATE, 1)
        words |= {
            "student": self._new(STUDENT),
            "teacher": str(self.shared / f"teacher-{name}" / "student"),
            "divergence": "forward_kl",
            "evaluation": {"data": str(self.text / "dev.jsonl"), "max_rows": 5000},
        }
        place = self.shared / f"cache-{name}"
        build_cache(read({"out": str(place), "seed": 0, **words}), str(place), Form("hidden", "float32"))
        return {}

    def _measured(self, run: Path, seed: int, other: Path | None = None) -> Outcome:
        machine = Machine()
        held = Held(
            data=str(self.text / "dev.jsonl"),
            meanings=[meaning for meaning, _ in held_out(self.pace.every)],
            asked=asked_of(self.pace.prompts),
            teacher=CachedTeacher(cache=str(self.shared / f"cache-{JUDGE}")).open(machine),
            judge=opened(self.shared / f"teacher-{JUDGE}"),
        )
        found, shares = measured(opened(run), held, seed), shares_of(run)
        if other is not None:
            theirs = dict(shares_of(other))
            found = joined(found, t_apart=max(abs(t - theirs[step]) for step, t in shares))
        return Outcome(found.numbers, found.scores, {"t": thinned(shares)} if shares else {})

    def _new(self, size: tuple[int, int]) -> dict[str, Any]:
        return {"config": config(*size), "tokenizer": str(self.text / "tokenizer")}

    def _words(self, data: str, rate: float, steps: int, warm_up: int = 0) -> dict[str, Any]:
        return {
            "samples": {
                "kind": "dataset",
                "data": str(self.text / f"{data}.jsonl"),
                "max_length": LONGEST,
            },
            "training": {
                "learning_rate": rate,
                "per_device_train_batch_size": ROWS,
                "max_steps": steps,
                "lr_scheduler_type": "cosine",
                "warmup_steps": warm_up,
                "logging_steps": 1,
                "eval_steps": steps,
                "save_steps": 300,
                "save_total_limit": 1,
            },
        }


def config(layers: int, width: int) -> dict[str, Any]:
    """A GPT-2 (pre-norm, learned positions) without dropout, its output layer tied to its embeddings."""
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return {
        "model_type": "gpt2",
        "n_layer": layers,
        "n_embd": width,
        "n_head": 4,
        "n_positions": LONGEST,
    } | off


def shares_of(run: Path) -> list[tuple[int, float]]:
    """The teacher's share ``t`` at every step of a run, from its ``metrics.jsonl``; empty without one."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["step"], line["teacher_t"]) for line in lines if "teacher_t" in line]


def thinned(course: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Every tenth point, the first and the last, to six digits."""
    kept = [one for number, one in enumerate(course) if number % EVERY == 0 or number == len(course) - 1]
    return [(step, round(value, 6)) for step, value in kept if math.isfinite(value)]
