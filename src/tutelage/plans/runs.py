"""Runs to fit a law to: what each was given and what it reached, read from a table (CSV).

One line a run. Columns, of which other names are understood: `N` parameters without embeddings, `D`
training tokens, `L` held-out loss in nats per token; for a distilled run also `L_T`, the teacher's own
held-out loss on the same text, or else `N_T` and `D_T`, from which the supervised law predicts it.
Optional: `name`, `seed`, `teacher`, `profile` (runs of one budget), `tokenizer`, `temperature`, `lambda`.
Other columns are not read.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import OutOfRange, TutelageError

HIGHEST_LOSS = 15.0
FEWEST = (100.0, 1000.0)
"""Parameters and tokens: a run with fewer is one in another unit."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "N": ("n_s", "params", "parameters", "student_parameters", "non_embedding_parameters"),
    "D": ("d_s", "tokens", "training_tokens", "student_tokens"),
    "L": ("l_s", "loss", "loss_nats", "val_loss", "eval_loss", "student_nats"),
    "N_T": ("teacher_parameters", "teacher_params"),
    "D_T": ("teacher_tokens",),
    "L_T": ("teacher_loss", "teacher_loss_nats", "teacher_nats"),
    "name": ("run",),
    "seed": (),
    "teacher": ("teacher_name",),
    "profile": ("group", "budget", "flops", "c"),
    "tokenizer": ("tokenizer_hash",),
    "temperature": ("tau",),
    "lambda": ("kd_weight",),
}
"""Names of columns, spelt without regard to case."""

_BITS = ("bpb", "bits", "bpc", "bpt")


@dataclass(frozen=True)
class Trained:
    """One run.

    Attributes:
        name: for people; also what a run is held out by.
        parameters: of the model, without embeddings.
        tokens: it was trained on.
        loss: it reached on held-out text, nats per token.
        teacher: what its teacher is called; empty for a supervised run.
        teacher_loss: the teacher's own on the same held-out text; None where it must be predicted.
        teacher_parameters, teacher_tokens: of the teacher, where they are known.
        profile: runs of one profile are resampled among themselves; empty if it belongs to none.
        tokenizer: by which its losses are counted; empty if nobody said.
        where: file and line, or folder.
    """

    name: str
    parameters: float
    tokens: float
    loss: float
    teacher: str = ""
    teacher_loss: float | None = None
    teacher_parameters: float | None = None
    teacher_tokens: float | None = None
    profile: str = ""
    tokenizer: str = ""
    where: str = ""

    def __post_init__(self) -> None:
        here = f"{self.where}: " if self.where else ""
        for what, value in (("N", self.parameters), ("D", self.tokens), ("L", self.loss)):
            _positive(here, what, value)
        for what, value in (
            ("L_T", self.teacher_loss),
            ("N_T", self.teacher_parameters),
            ("D_T", self.teacher_tokens),
        ):
            if value is not None:
                _positive(here, what, value)
        for what, value, least in (("N", self.parameters, FEWEST[0]), ("D", self.tokens, FEWEST[1])):
            if value < least:
                raise OutOfRange(
                    f"{here}{what} is {value:g}: in millions or billions?",
                    expected=f"a raw number, at least {least:g}",
                    fix=f"write {value:g}e9 if it is in billions, {value:g}e6 if it is in millions",
                )
        for what, value in (("L", self.loss), ("L_T", self.teacher_loss)):
            if value is not None and value > HIGHEST_LOSS:
                raise OutOfRange(
                    f"{here}{what} is {value:g}: a perplexity?",
                    expected=f"a loss in nats per token, at most {HIGHEST_LOSS:g}",
                    fix=f"write its natural logarithm, {math.log(value):.4f}, if it is a perplexity",
                )
        if (
            self.teacher
            and self.teacher_loss is None
            and None
            in (
                self.teacher_parameters,
                self.teacher_tokens,
            )
        ):
            raise OutOfRange(
                f"{here}the teacher '{self.teacher}' has no loss",
                expected="L_T, or N_T and D_T together",
                fix="measure the teacher on the held-out text of the student",
            )

    @property
    def distilled(self) -> bool:
        """Whether it had a teacher."""
        return bool(self.teacher)


def read_table(path: Path) -> tuple[list[Trained], list[str]]:
    """The runs of a CSV file, and sentences about those that the law does not speak of.

    Raises:
        TutelageError: the file cannot be read, lacks a column, or has a value that is no number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TutelageError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})",
            expected="a table of runs as CSV, or a folder of runs that `tutelage run` wrote",
            fix="check the path",
        ) from error
    reader = csv.DictReader(io.StringIO(text))
    columns = _columns(path, reader.fieldnames or [])
    runs, said = [], []
    names: dict[str, str] = {}
    for row in reader:
        here = f"{path}:{reader.line_num}"
        found = {what: (row.get(column) or "").strip() for what, column in columns.items()}
        if not any(found.values()):
            continue
        run = _run(here, found)
        odd = _outside_the_law(here, found)
        if odd:
            said.append(f"{run.name} is left out: {odd}")
            continue
        if run.name in names:
            raise TutelageError(
                f"{here}: a second run is called '{run.name}' (the first is at {names[run.name]})",
                expected="names that differ, with their seeds where they have some",
                fix="rename it, or take the column `name` out: lines are then numbered",
            )
        names[run.name] = here
        runs.append(run)
    if not runs:
        raise TutelageError(
            f"{path}: holds no run", expected="a line a run below the heading", fix="check the file"
        )
    return runs, said


def mixed_tokenizers(runs: Iterable[Trained]) -> None:
    """Refuse runs whose losses are counted by different tokenizers.

    Raises:
        OutOfRange: two of them name different ones.
    """
    named = [run for run in runs if run.tokenizer]
    for run in named:
        if run.tokenizer != named[0].tokenizer:
            raise OutOfRange(
                f"{run.where or run.name}: tokenizer '{run.tokenizer[:16]}', but {named[0].name} has "
                f"'{named[0].tokenizer[:16]}'",
                expected="losses per token of one tokenizer",
                fix="fit the runs of each tokenizer on their own",
            )


def _columns(path: Path, heading: Iterable[str]) -> dict[str, str]:
    known = {alias: name for name, more in ALIASES.items() for alias in (name.lower(), *more)}
    found: dict[str, str] = {}
    given = [column for column in heading if column]
    for column in given:
        name = known.get(column.strip().lower())
        if name is None:
            continue
        if name in found:
            raise TutelageError(
                f"{path}:1: the columns '{found[name]}' and '{column}' both mean {name}",
                expected=f"one column for {name}",
                fix="rename the one that is not meant",
            )
        found[name] = column
    for name in ("N", "D", "L"):
        if name in found:
            continue
        bits = [column for column in given if any(word in column.lower() for word in _BITS)]
        if name == "L" and bits:
            raise OutOfRange(
                f"{path}:1: there is no loss in nats; '{bits[0]}' looks like bits",
                expected="a column L in nats per token of one tokenizer",
                fix="nats per token = bits per byte * bytes per token * 0.6931; coefficients fitted to "
                "another tokenizer do not carry over",
            )
        raise TutelageError(
            f"{path}:1: there is no column {name}",
            expected=f"{name}, or one of {', '.join(ALIASES[name])}; there are {', '.join(given) or 'none'}",
            fix="N: parameters without embeddings, D: training tokens, L: held-out nats per token",
        )
    return found


def _run(here: str, found: Mapping[str, str]) -> Trained:
    def number(what: str) -> float | None:
        written = found.get(what, "")
        if not written:
            return None
        try:
            return float(written.replace("_", ""))
        except ValueError as error:
            raise TutelageError(
                f"{here}: {what} is '{written}'",
                expected="a number, such as 1.2e9; never in millions or billions",
                fix="write the digits out, or leave the field empty if it is not known",
            ) from error

    teacher = {what: number(what) for what in ("N_T", "D_T", "L_T")}
    named = found.get("teacher", "")
    if not named and any(value is not None for value in teacher.values()):
        size = [f"{what}={value:g}" for what, value in teacher.items() if value is not None]
        # The same teacher measured by the same number; its loss tells it apart only where nothing else does.
        named = " ".join(one for one in size if len(size) == 1 or not one.startswith("L_T"))
    needed = {what: number(what) for what in ("N", "D", "L")}
    for what, value in needed.items():
        if value is None:
            raise TutelageError(
                f"{here}: {what} is empty", expected="a number in every line", fix="leave the line out"
            )
    name = found.get("name") or f"line {here.rpartition(':')[2]}"
    if found.get("seed"):
        name = f"{name} seed {found['seed']}"
    return Trained(
        name,
        needed["N"] or 0.0,
        needed["D"] or 0.0,
        needed["L"] or 0.0,
        named,
        teacher["L_T"],
        teacher["N_T"],
        teacher["D_T"],
        found.get("profile", ""),
        found.get("tokenizer", ""),
        here,
    )


def _outside_the_law(here: str, found: Mapping[str, str]) -> str:
    for what, usual in (("temperature", 1.0), ("lambda", 1.0)):
        written = found.get(what, "")
        try:
            differs = bool(written) and float(written) != usual
        except ValueError as error:
            raise TutelageError(
                f"{here}: {what} is '{written}'", expected="a number", fix="write 1, or leave it empty"
            ) from error
        if differs:
            return f"{what} {written}; the law is about {what} 1"
    return ""


def _positive(here: str, what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise OutOfRange(
            f"{here}{what} is {value}",
            expected="a finite number above 0",
            fix="leave the run out if it diverged",
        )
