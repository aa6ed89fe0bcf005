"""The test bed of the scaling laws: models of one family that differ in size, text and teacher alone.

Everything is an ordinary recipe run by `tutelage.run.distil`. A folder holds one seed:

    every-seed/text/                      the corpus
    every-seed/rate/98k-0.004/            a run of the learning-rate check
    seed-0/supervised/332k-1M/            a model that learnt from text, perhaps a teacher, and beside it
    seed-0/distilled/12k-0.5M-of-332k-1M/ a student of such a teacher
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tutelage.models import LanguageModel
from tutelage.plans.flops import Shape
from tutelage.recipes import read
from tutelage.reproductions.parts import Piece
from tutelage.reproductions.scaling_text import CONTEXT, ROW, write_corpus
from tutelage.reproductions.testbed import opened, trained
from tutelage.reproductions.work import EVERY_SEED
from tutelage.run.learner import said_by
from tutelage.samples.dataset import DatasetSamples

Words = Mapping[str, Any]
SIZES = {
    "12k": (1, 32),
    "55k": (2, 48),
    "98k": (2, 64),
    "332k": (3, 96),
    "787k": (4, 128),
    "1.54M": (5, 160),
}
"""Layers and width; the name is the size without embeddings, roughly."""

TOKENS = {"0.25M": 244, "0.5M": 488, "1M": 976}
"""Steps of 1,024 tokens."""

ROWS, HEAD = 8, 16
VOCABULARY = 256
TUNED = "98k"
"""The size at which the learning rate is chosen; the others have it times its width over theirs."""

TUNED_ON = "0.25M"
FACTORS = {"half": 0.5, "chosen": 1.0, "double": 2.0}
AGAIN = 1000
"""Added to the seed of a run that is made once more, to see what chance does."""

LOSS, TEACHER_LOSS = "loss_nats", "teacher_loss_nats"

Cell = tuple[str, str]
"""Names of a size and of a number of tokens."""


@dataclass(frozen=True)
class Design:
    """Which runs there are.

    Attributes:
        supervised: models that learn from text.
        again: of them, those that are made with a second seed too.
        teachers: of them, those that teach.
        students: sizes that are taught by every teacher.
        amounts: of tokens that they are taught on.
        held_teacher: whose students no fit sees.
        held_student: which no fit sees, whoever teaches it.
        held_supervised: of `supervised`, those that no fit sees.
        rates: that are tried at `TUNED`.
        largest: size at which the chosen rate is halved and doubled.
        divide: all steps by this; 1 but in a smoke test.
        measured: pieces of held-out text, 128 tokens each.
    """

    supervised: tuple[Cell, ...]
    again: tuple[Cell, ...]
    teachers: tuple[Cell, ...]
    students: tuple[str, ...]
    held_teacher: Cell
    held_student: Cell
    held_supervised: tuple[Cell, ...]
    amounts: tuple[str, ...] = tuple(TOKENS)
    rates: tuple[float, ...] = (0.004, 0.008, 0.016)
    largest: str = "332k"
    divide: int = 1
    measured: int = 1024

    def steps(self, amount: str) -> int:
        """Steps of a run on so many tokens."""
        return max(2, TOKENS[amount] // self.divide)

    @property
    def taught(self) -> list[tuple[Cell, Cell]]:
        """Every student with its teacher."""
        cells = [(size, amount) for size in self.students for amount in self.amounts]
        return [(cell, teacher) for teacher in self.teachers for cell in cells]

    def held(self, student: Cell, teacher: Cell) -> bool:
        """Whether no fit sees a student."""
        return teacher == self.held_teacher or student == self.held_student


def _grid(*sizes: str) -> tuple[Cell, ...]:
    return tuple((size, amount) for size in sizes for amount in TOKENS)


TEN_MINUTES = Design(
    supervised=_grid("332k", "98k", "55k", "12k"),
    again=(("12k", "0.5M"), ("55k", "0.25M"), ("98k", "0.25M")),
    teachers=(("332k", "1M"), ("332k", "0.5M"), ("332k", "0.25M"), ("98k", "1M"), ("12k", "0.25M")),
    students=("55k", "12k"),
    held_teacher=("332k", "0.5M"),
    held_student=("55k", "1M"),
    held_supervised=(("12k", "1M"), ("98k", "0.5M"), ("332k", "0.25M")),
)
HALF_HOUR = replace(
    TEN_MINUTES,
    supervised=(("1.54M", "0.5M"), ("787k", "1M"), ("787k", "0.5M"), *TEN_MINUTES.supervised),
    teachers=(("1.54M", "0.5M"), ("787k", "1M"), ("332k", "1M"), ("332k", "0.25M"), ("12k", "0.25M")),
    students=("98k", "55k", "12k"),
    held_teacher=("332k", "1M"),
    held_student=("98k", "1M"),
    held_supervised=(*TEN_MINUTES.held_supervised, ("787k", "0.5M")),
    largest="1.54M",
)
SMOKE = replace(TEN_MINUTES, divide=122, measured=16)


@dataclass(frozen=True)
class Bed:
    """One seed's models in a folder, and what they share with other seeds beside it.

    Attributes:
        folder: of the seed.
        seed: of weights and of the order of text.
        design: which runs there are.
    """

    folder: Path
    seed: int
    design: Design = TEN_MINUTES

    def common(self) -> list[Piece]:
        """The corpus and the learning rate, the same for every seed."""
        text = self._piece("every/text", "bytes by document", lambda: write_corpus(self.text), {}, ())
        pieces = [replace(text, shared=True, shown=False)]
        for rate in self.design.rates:
            pieces.append(self._rated(f"{TUNED}-{rate:g}", TUNED, rate))
        for name, factor in FACTORS.items():
            size = self.design.largest
            pieces.append(self._rated(f"{size}-{name}", size, None, factor))
        return pieces

    def supervised(self) -> list[Piece]:
        """Models that learn from the teachers' half of the text."""
        made = []
        for cell in self.design.supervised:
            made.append(self._supervised(cell, self.seed, ""))
        for cell in self.design.again:
            made.append(self._supervised(cell, self.seed + AGAIN, "-again"))
        return made

    def distilled(self) -> list[Piece]:
        """Students of every teacher, on the students' half of the text."""
        made = []
        for cell, teacher in self.design.taught:
            held = " (held out)" if self.design.held(cell, teacher) else ""
            made.append(
                self._piece(
                    distilled_name(cell, teacher),
                    f"{cell[0]} taught on {cell[1]} by {name_of(teacher)}{held}",
                    lambda cell=cell, teacher=teacher: self._taught(cell, teacher),
                    {"cell": cell, "teacher": teacher},
                    ("every/text", *self._rates, supervised_name(teacher)),
                )
            )
        return made

    @property
    def shared(self) -> Path:
        """The folder of what is the same for every seed."""
        return self.folder.parent / EVERY_SEED

    @property
    def text(self) -> Path:
        """The folder of the corpus."""
        return self.shared / "text"

    def numbers(self, name: str, *, shared: bool = False) -> dict[str, float]:
        """What a piece that is done has left."""
        path = (self.shared if shared else self.folder) / "results" / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8"))["numbers"]

    def rate(self, size: str) -> float:
        """The learning rate of a size: the best at `TUNED`, times its width over that of the size."""
        losses = {
            rate: self.numbers(f"rate/{TUNED}-{rate:g}", shared=True)[LOSS] for rate in self.design.rates
        }
        return min(losses, key=lambda rate: losses[rate]) * SIZES[TUNED][1] / SIZES[size][1]

    @property
    def _rates(self) -> tuple[str, ...]:
        return tuple(f"rate/{TUNED}-{rate:g}" for rate in self.design.rates)

    def _rated(self, name: str, size: str, rate: float | None, factor: float = 1.0) -> Piece:
        cell, run = (size, TUNED_ON), self.shared / "rate" / name

        def do() -> dict[str, float]:
            return self._trained(run, cell, self.rate(size) * factor if rate is None else rate, 0)

        needs = ("every/text", *(self._rates if rate is None else ()))
        told = {"cell": cell, "rate": rate, "factor": factor}
        what = f"{size} on {TUNED_ON}, " + (f"learning rate {rate:g}" if rate else f"{factor:g} x the rate")
        return replace(self._piece(f"rate/{name}", what, do, told, needs), shared=True)

    def _supervised(self, cell: Cell, seed: int, ending: str) -> Piece:
        name = supervised_name(cell) + ending

        def do() -> dict[str, float]:
            return self._trained(self.folder / name, cell, self.rate(cell[0]), seed)

        held = " (held out)" if cell in self.design.held_supervised and not ending else ""
        what = f"{cell[0]} on {cell[1]}{', a second seed' if ending else ''}{held}"
        return self._piece(name, what, do, {"cell": cell, "seed": seed}, ("every/text", *self._rates))

    def _taught(self, cell: Cell, teacher: Cell) -> dict[str, float]:
        run, taught_by = self.folder / distilled_name(cell, teacher), self.folder / supervised_name(teacher)
        theirs = self.numbers(supervised_name(teacher))
        found = self._trained(run, cell, self.rate(cell[0]), self.seed, taught_by)
        extra = found["tokens"] * shape(teacher[0]).forward_flops
        return found | {TEACHER_LOSS: theirs[LOSS], "logits_flops": extra}

    def _trained(
        self, run: Path, cell: Cell, rate: float, seed: int, teacher: Path | None = None
    ) -> dict[str, float]:
        size, _ = cell
        seconds = trained(read({"out": str(run), "seed": seed, **self._words(cell, rate, teacher)}))
        of = shape(size)
        tokens = float(_last(run)["counted_tokens"])
        found = {
            "parameters": float(of.parameters),
            "tokens": tokens,
            "flops": 3 * of.forward_flops * tokens,
            "learning_rate": rate,
            "cpu_seconds": seconds,
        }
        taught_by = None if teacher is None else opened(teacher)
        return found | losses(opened(run), self.text / "held_out.jsonl", self.design.measured, taught_by)

    def _words(self, cell: Cell, rate: float, teacher: Path | None) -> dict[str, Any]:
        size, amount = cell
        steps, part = self.design.steps(amount), "teacher" if teacher is None else "student"
        told: dict[str, Any] = {"divergence": "cross_entropy"}
        if teacher is not None:
            told = {"divergence": "forward_kl", "teacher": str(teacher / "student")}
        return told | {
            "student": {"config": config(*SIZES[size]), "tokenizer": str(self.text / "tokenizer")},
            "samples": {
                "kind": "dataset",
                "data": str(self.text / f"{part}.jsonl"),
                "max_length": CONTEXT + 1,
                # Just enough: nothing is seen twice.
                "max_rows": math.ceil(steps * ROWS * CONTEXT / ROW),
            },
            "training": {
                "learning_rate": rate,
                "per_device_train_batch_size": ROWS,
                "max_steps": steps,
                "lr_scheduler_type": "cosine",
                "warmup_steps": max(1, round(0.05 * steps)),
                "weight_decay": 1e-4,
                "adam_beta2": 0.95,
                "logging_steps": steps,
                "save_steps": 500,
                "save_total_limit": 1,
            },
        }

    def _piece(self, name: str, what: str, do: Any, told: Words, needs: tuple[str, ...]) -> Piece:
        of = self.design
        pace = {"divide": of.divide, "measured": of.measured, "rates": of.rates}
        return Piece(name, what, do, {**told, **pace}, needs)


def name_of(cell: Cell) -> str:
    """Size and tokens, such as ``332k-1M``."""
    return "-".join(cell)


def supervised_name(cell: Cell) -> str:
    """Of the piece that learns from text."""
    return f"supervised/{name_of(cell)}"


def distilled_name(cell: Cell, teacher: Cell) -> str:
    """Of the piece that learns from a teacher."""
    return f"distilled/{name_of(cell)}-of-{name_of(teacher)}"


def config(layers: int, width: int) -> dict[str, Any]:
    """A Llama with heads of 16 and an output layer of its own."""
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": width // HEAD,
        "num_key_value_heads": width // HEAD,
        "intermediate_size": round(8 * width / 3),
        "max_position_embeddings": CONTEXT + 1,
        "tie_word_embeddings": False,
        # With the usual 0.02 models of these widths start so flat that they still say bigrams when they end.
        "initializer_range": width**-0.5,
    }


def shape(size: str) -> Shape:
    """What a size costs."""
    layers, width = SIZES[size]
    return Shape(
        layers=layers,
        width=width,
        heads=width // HEAD,
        key_heads=width // HEAD,
        head_size=HEAD,
        hidden=round(8 * width / 3),
        matrices=3,
        context=CONTEXT,
        vocabulary=VOCABULARY,
        tied=False,
        biases=(2 * layers + 1) * width,
    )


def losses(
    model: LanguageModel, text: Path, pieces: int, teacher: LanguageModel | None = None
) -> dict[str, float]:
    """Cross-entropy against text, and how far a student is from its teacher, in nats per token.

    Args:
        model: that is measured.
        text: held-out, as recipes read it.
        pieces: of the context's length, from the top of the file.
        teacher: of the model, or None.
    """
    held = DatasetSamples(str(text), max_length=CONTEXT + 1, max_rows=math.ceil(pieces * CONTEXT / ROW))
    sums, count = {LOSS: 0.0} | ({} if teacher is None else {"forward_kl_nats": 0.0}), 0
    with torch.no_grad():
        for batch in held.open(model.tokenizer).in_order(32, pieces):
            log_q = said_by(model.model, batch).log_probs().double()
            count += batch.counted
            sums[LOSS] -= float(log_q.gather(1, batch.gold[:, None]).sum())
            if teacher is not None:
                log_p = said_by(teacher.model, batch).log_probs().double()
                sums["forward_kl_nats"] += float((log_p.exp() * (log_p - log_q)).sum())
    return {name: value / count for name, value in sums.items()}


def _last(run: Path) -> Mapping[str, Any]:
    lines: Sequence[str] = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return next(told for told in map(json.loads, reversed(lines)) if "counted_tokens" in told)
