"""A scaling study of one's own: the recipes of runs from which `tutelage plan fit` reads both laws.

A law is identified by runs that differ in more than one direction, so there are both: every size on every
number of tokens, and sizes that share one budget. Teachers are models of the study itself, from the best to
one that is worse than the students, so that they lie on both sides of where teaching fades (r = 0.9); they
learn from one half of the text and their students from the other.

Source: Busbridge et al. 2025, arXiv:2502.08606, section 4.2; which teachers are taken is ours (``derived``).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tutelage.errors import OutOfRange, TutelageError
from tutelage.files import write_text
from tutelage.plans.ladder import Ladder
from tutelage.plans.sweep_text import halves

EPOCHS = 4
SAME = 0.1
"""Two numbers of tokens that differ by less, as a share, are one run."""

FEWEST_AMOUNTS, FEWEST_TEACHERS = 2, 2


@dataclass(frozen=True)
class Run:
    """One recipe of a sweep.

    Attributes:
        name: of its file and of its folder.
        layers: of the model.
        parameters: without embeddings.
        tokens: it learns from.
        flops: of its training, the teacher's forward pass included.
        teacher: name of the run that teaches it; empty for one that learns from text.
    """

    name: str
    layers: int
    parameters: int
    tokens: int
    flops: float
    teacher: str = ""


@dataclass(frozen=True)
class Sweep:
    """Recipes of a study, in the order in which they are to be run.

    Attributes:
        folder: of the study.
        runs: in order: a teacher stands before its students.
        warnings: what a reader must know.
        hours: at the FLOP per second that were told; None if none were.
    """

    folder: Path
    runs: tuple[Run, ...]
    warnings: tuple[str, ...] = ()
    hours: float | None = None
    exit_status: int = 0

    @property
    def flops(self) -> float:
        """Of all runs together."""
        return sum(run.flops for run in self.runs)

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the runs that teach, the costliest first."""
        named = dict.fromkeys(run.teacher for run in self.runs if run.teacher)
        return tuple(run.name for run in self.runs if run.name in named)

    def to_json(self) -> dict[str, Any]:
        """As ``manifest.json`` has it."""
        return {
            "folder": str(self.folder),
            "runs": [asdict(run) for run in self.runs],
            "teachers": list(self.teachers),
            "tokens": sum(run.tokens for run in self.runs),
            "flops": self.flops,
            "hours": self.hours,
            "warnings": list(self.warnings),
        }

    def text(self) -> str:
        """What was written, for a terminal."""
        taught = sum(bool(run.teacher) for run in self.runs)
        tokens = sum(run.tokens for run in self.runs)
        time = "" if self.hours is None else f", {self.hours:.3g} hours"
        lines = [
            f"{self.folder}: {len(self.runs)} recipes, {taught} of them of students with a teacher",
            f"  {tokens:.3g} tokens, {self.flops:.3g} FLOP{time}",
            f"  teachers: {', '.join(self.teachers)}",
            *(f"  warning: {line}" for line in self.warnings),
            f"  run them: sh {shlex.quote(str(self.folder / 'run.sh'))} (it goes on where it was)",
            f"  then: tutelage plan fit {shlex.quote(str(self.folder / 'runs'))} --law-out laws.json",
        ]
        return "\n".join(lines)


def write_sweep(
    folder: Path,
    *,
    text: Path,
    held_out: str,
    tokenizer: str,
    ladder: Ladder,
    tokens: Sequence[int],
    teachers: int = 3,
    students: int = 2,
    learning_rate: float = 1e-3,
    rows: int = 8,
    held_out_rows: int = 256,
    seed: int = 0,
    throughput: float | None = None,
) -> Sweep:
    """Write the recipes of a scaling study, and the two halves of its text; nothing is run.

    Args:
        folder: new or empty; paths in the recipes begin with it as it is given.
        text: documents, a .jsonl file with a `text` in each row; teachers and students get half each.
        held_out: text on which all losses are measured, as a recipe reads it.
        tokenizer: folder or hub name.
        ladder: the models.
        tokens: numbers of tokens that every size learns from.
        teachers: how many models teach.
        students: how many of the smallest sizes are taught.
        learning_rate: of the smallest size; the others have it times its width over theirs.
        rows: of one step.
        held_out_rows: of held-out text, in pieces of the context.
        seed: of every run.
        throughput: FLOP per second of the machine, for hours.

    Raises:
        OutOfRange: the study could not identify the laws, or asks for more text than there is.
        TutelageError: the text cannot be read, or the folder is not empty.
    """
    folder, amounts = folder.absolute(), sorted(set(tokens))
    _check(ladder, amounts, teachers, students, rows)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TutelageError(
            f"{folder}: is not empty (or not a folder)",
            expected="a new or empty folder for the study",
            fix="choose another folder; nothing in this one was touched",
        )
    alone = _alone(ladder, amounts)
    # Before anything is written: sizes that the text cannot feed.
    bytes_of = halves(text, folder / "text")
    warnings = _enough(bytes_of, max(run.tokens for run in alone))
    taught = _taught(ladder, alone, amounts, teachers, students)
    words = _Words(
        folder, _placed(held_out), _placed(tokenizer), ladder, learning_rate, rows, held_out_rows, seed
    )
    runs = (*alone, *taught)
    for number, run in enumerate(runs, 1):
        head = f"# {run.name}: run {number} of {len(runs)} of a sweep (`tutelage plan sweep`).\n"
        recipe = yaml.safe_dump(words.recipe(run), sort_keys=False, allow_unicode=True)
        write_text(folder / "recipes" / f"{number:03d}-{run.name}.yaml", head + recipe)
    hours = None if throughput is None else sum(run.flops for run in runs) / throughput / 3600
    made = Sweep(folder, runs, tuple(warnings), hours)
    write_text(folder / "manifest.json", json.dumps(made.to_json(), indent=1) + "\n")
    write_text(folder / "run.sh", _script(folder, runs))
    return made


@dataclass(frozen=True)
class _Words:
    """What all recipes of a sweep have in common."""

    folder: Path
    held_out: str
    tokenizer: str
    ladder: Ladder
    learning_rate: float
    rows: int
    held_out_rows: int
    seed: int

    def recipe(self, run: Run) -> dict[str, Any]:
        """One run as `tutelage run` takes it."""
        steps = max(2, round(run.tokens / (self.rows * self.ladder.context)))
        told: dict[str, Any] = {"divergence": "cross_entropy"}
        if run.teacher:
            taught_by = str(self.folder / "runs" / run.teacher / "student")
            told = {"divergence": "forward_kl", "teacher": taught_by}
        part = "student" if run.teacher else "teacher"
        return {
            "out": str(self.folder / "runs" / run.name),
            "seed": self.seed,
            "student": self.ladder.student(run.layers, self.tokenizer),
            **told,
            "samples": {
                "kind": "dataset",
                "data": str(self.folder / "text" / f"{part}.jsonl"),
                "max_length": self.ladder.context + 1,
            },
            "training": {
                "learning_rate": self.learning_rate * min(self.ladder.layers) / run.layers,
                "per_device_train_batch_size": self.rows,
                "max_steps": steps,
                "lr_scheduler_type": "cosine",
                "warmup_ratio": 0.05,
                "weight_decay": 1e-4,
                "eval_steps": steps,
                "save_steps": 500,
                "save_total_limit": 1,
            },
            "evaluation": {"data": self.held_out, "max_rows": self.held_out_rows},
        }


def _placed(name: str) -> str:
    """A path that is found from anywhere; what is no path here, such as a hub name, stays as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else name


def _check(ladder: Ladder, amounts: Sequence[int], teachers: int, students: int, rows: int) -> None:
    if len(amounts) < FEWEST_AMOUNTS or amounts[0] < 2 * rows * ladder.context:
        raise OutOfRange(
            f"numbers of tokens: {', '.join(f'{one:g}' for one in amounts) or 'none'}",
            expected=f"at least {FEWEST_AMOUNTS}, each of two steps ({2 * rows * ladder.context:,} tokens)",
            fix="write for instance `--tokens 5M,20M,80M`",
        )
    most = len(ladder.layers) * len(amounts)
    if not FEWEST_TEACHERS <= teachers <= most:
        raise OutOfRange(
            f"{teachers} teachers",
            expected=f"{FEWEST_TEACHERS} to {most}: a law of the teacher cannot be seen with one",
            fix="write `--teachers 4`",
        )
    if not 2 <= students <= len(ladder.layers):
        raise OutOfRange(
            f"{students} sizes of student",
            expected=f"2 to {len(ladder.layers)}: size cannot be seen with one",
            fix="write `--students 2`",
        )
    if students * len(amounts) * teachers < 10:
        raise OutOfRange(
            f"{students * len(amounts) * teachers} distilled runs",
            expected="at least 10: the reduced law has eight coefficients",
            fix="ask for more teachers, students or numbers of tokens",
        )


def _alone(ladder: Ladder, amounts: Sequence[int]) -> list[Run]:
    """Every size on every number of tokens, and all sizes at one budget in the middle; costliest first."""
    layers = sorted(set(ladder.layers))
    cells = [(n, amount) for n in layers for amount in amounts]
    middle = layers[len(layers) // 2]
    budget = ladder.shape(middle).forward_flops * amounts[len(amounts) // 2]
    for n in layers:
        bought = int(budget / ladder.shape(n).forward_flops)
        inside = amounts[0] <= bought <= amounts[-1] * 2
        if inside and all(abs(bought / amount - 1) > SAME for amount in amounts):
            cells.append((n, bought))
    made = [_run(ladder, n, amount) for n, amount in cells]
    return sorted(made, key=lambda run: -run.flops)


def _taught(
    ladder: Ladder, alone: Sequence[Run], amounts: Sequence[int], teachers: int, students: int
) -> list[Run]:
    """The smallest sizes on every number of tokens with each teacher."""
    # Cost stands for quality: nothing is measured yet. The cheapest is worse than the largest student.
    places = {round(i * (len(alone) - 1) / (teachers - 1)) for i in range(teachers)}
    chosen = [alone[place] for place in sorted(places)]
    sizes = sorted(set(ladder.layers))[:students]
    return [_run(ladder, n, amount, by) for by in chosen for n in reversed(sizes) for amount in amounts]


def _run(ladder: Ladder, layers: int, amount: int, by: Run | None = None) -> Run:
    shape = ladder.shape(layers)
    name = f"{layers}x{shape.width}-{_short(amount)}"
    flops = 3 * shape.forward_flops * amount
    if by is None:
        return Run(name, layers, shape.parameters, amount, flops)
    flops += ladder.shape(by.layers).forward_flops * amount
    return Run(f"{name}-of-{by.name}", layers, shape.parameters, amount, flops, by.name)


def _short(amount: int) -> str:
    """A number of tokens in a name, such as ``2.5M``.

    >>> _short(2_500_000), _short(4096)
    ('2.5M', '4.096k')
    """
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if amount >= size:
            return f"{amount / size:.4g}{letter}"
    return str(amount)


def _enough(bytes_of: Mapping[str, int], most: int) -> list[str]:
    """Warnings about text that is seen more than once.

    Raises:
        OutOfRange: there are not even as many bytes as tokens are asked for in `EPOCHS` epochs.
    """
    least = min(bytes_of.values())
    if most > EPOCHS * least:
        raise OutOfRange(
            f"a run of {most:,} tokens on {least:,} bytes of text",
            expected=f"text that is seen at most {EPOCHS} times, and a token is at least a byte",
            fix="give more text, or ask for fewer tokens",
        )
    if 4 * most > least:
        seen = 4 * most / least
        told = f"the longest run learns from {most:,} tokens and half of the text has {least:,} bytes"
        return [f"{told}: where a token is about four bytes, it is seen {seen:.1f} times"]
    return []


def _script(folder: Path, runs: Sequence[Run]) -> str:
    lines = [
        "#!/bin/sh",
        "# Every run of the study, in order; what is done is not done again.",
        "set -e",
        *(
            f"tutelage run {shlex.quote(str(folder / 'recipes' / f'{number:03d}-{run.name}.yaml'))}"
            for number, run in enumerate(runs, 1)
        ),
    ]
    return "\n".join(lines) + "\n"
