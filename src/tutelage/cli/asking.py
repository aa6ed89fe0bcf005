"""From the words of a `tutelage plan` command line to a planning problem."""

from __future__ import annotations

import math
from typing import Any

from tutelage.divergences import TABLE
from tutelage.errors import OutOfRange, TutelageError, UnknownName, listed, nearest
from tutelage.plans import units
from tutelage.plans.cautions import Caution, outside, repeated
from tutelage.plans.flops import Family
from tutelage.plans.lawfile import laws_named
from tutelage.plans.money import Machine, Storage
from tutelage.plans.problem import MOST, Problem, tokens_there_are
from tutelage.plans.published import PUBLISHED
from tutelage.plans.scenario import Scenario, Teacher, shared
from tutelage.plans.scenario import scenario as named

EPOCHS = 4.0
"""How often a token may be seen unless told: about so many are assumed harmless."""

PROBLEM = (
    "size",
    "budget",
    "tokens",
    "unique_tokens",
    "epochs",
    "teacher",
    "scenario",
    "students",
    "rows_shared",
    "logits_share",
    "training_share",
    "teacher_tokens",
    "forward_flops",
    "law",
    "context",
    "vocabulary",
    "aspect",
)
MACHINE = ("peak", "mfu", "teacher_mfu", "throughput", "teacher_throughput", "devices", "price_per_hour")
CAUTIONS = ("epochs", "unique_tokens", "temperature", "mixing", "top_k", "divergence")
TEACHER = {"loss": "loss", "size": "parameters", "tokens": "tokens", "flops": "flops", "name": "name"}


def number(text: str | None, what: str) -> float | None:
    """A number with its suffix, or None where nothing was said."""
    return None if text is None else units.number(text, what)


def problem(**said: Any) -> Problem:
    """The problem that options describe.

    Raises:
        TutelageError: a number in the wrong unit, a teacher that cannot be read, or options that
            exclude each other.
    """
    laws = laws_named(said["law"])
    teachers = tuple(teacher(text) for text in said["teacher"] or ())
    if teachers and said["teacher_tokens"] is not None:
        raise TutelageError(
            "`--teacher-tokens` beside a `--teacher`",
            expected="the tokens of a teacher that exists among its own keys",
            fix="write for instance `--teacher size=7.75B,tokens=155B`",
        )
    often = times_seen(said["epochs"])
    budget = number(said["budget"], "--budget")
    # A teacher that is to be trained finds no more text than its student, unless told.
    text = tokens_there_are(number(said["unique_tokens"], "--unique-tokens"), often, None, laws)
    most = tokens_there_are(
        number(said["unique_tokens"], "--unique-tokens"),
        often,
        number(said["tokens"], "--tokens"),
        laws,
    )
    if said["epochs"] is not None and said["unique_tokens"] is None:
        raise _alone("--epochs", "--unique-tokens", "--unique-tokens 10B")
    return Problem(
        laws,
        units.number(said["size"], "the size of the student"),
        math.inf if budget is None else budget,
        who_pays(said, bool(teachers)),
        teachers,
        Family(said["context"], said["vocabulary"], said["aspect"]),
        number(said["forward_flops"], "--forward-flops"),
        most,
        number(said["teacher_tokens"], "--teacher-tokens") or min(text, MOST),
    )


def who_pays(said: dict[str, Any], teachers: bool) -> Scenario:
    """The scenario: a name, shares, or a number of students.

    Raises:
        TutelageError: two ways of saying it at once.
    """
    by_share = said["logits_share"] is not None or said["training_share"] is not None
    by_count = said["students"] > 1 or said["rows_shared"]
    ways = [said["scenario"] is not None, by_share, by_count]
    if sum(ways) > 1:
        raise TutelageError(
            "who pays for the teacher is said twice",
            expected="one of `--scenario`, `--students`, or `--logits-share` with `--training-share`",
            fix="keep the one that you mean",
        )
    if by_share:
        return Scenario(said["logits_share"] or 0.0, said["training_share"] or 0.0)
    if by_count:
        return shared(said["students"], rows=said["rows_shared"])
    return named(said["scenario"] or ("inference" if teachers else "both"))


def teacher(text: str) -> Teacher:
    """A teacher from ``size=7.75B,loss=2.0``.

    Raises:
        TutelageError: a key that means nothing, or none at all.
    """
    found: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in TEACHER:
            close = nearest(key, TEACHER)
            raise UnknownName(
                f"--teacher is {text!r}: cannot read {part.strip()!r}",
                expected=f"KEY=VALUE with commas between; keys are {listed(TEACHER, 'and')}",
                fix=f"write {close}=..." if close else "write for instance size=7.75B,loss=2.0",
            )
        found[TEACHER[key]] = value if key == "name" else units.number(value, f"{key} of --teacher")
    return Teacher(**found)


def cautions(epochs: float | None, unique_tokens: str | None, **objective: Any) -> tuple[Caution, ...]:
    """What a reader must know of repeated text, and of an objective outside the law.

    Raises:
        UnknownName: there is no such divergence. OutOfRange: a number that an objective cannot have.
    """
    if "divergence" in objective:
        TABLE[objective["divergence"]]
    seen = repeated(times_seen(epochs)) if unique_tokens else []
    return (*outside(**objective), *seen)


def times_seen(said: float | None) -> float:
    """How often a token may be seen."""
    return EPOCHS if said is None else said


def machine(**said: Any) -> Machine | None:
    """What computes; None where nothing was said of it.

    Raises:
        TutelageError: a share of a peak that was not told. OutOfRange: no throughput, or a bad number.
    """
    for name in ("mfu", "teacher_mfu"):
        if said[name] is not None and said["peak"] is None:
            raise _alone(f"--{name.replace('_', '-')}", "--peak", "--peak 989e12")
    asked = (said["peak"], said["throughput"], said["teacher_throughput"], said["price_per_hour"])
    if all(each is None for each in asked) and said["devices"] == 1:
        return None
    return Machine(
        number(said["peak"], "--peak"),
        Machine.utilisation if said["mfu"] is None else said["mfu"],
        Machine.teacher_utilisation if said["teacher_mfu"] is None else said["teacher_mfu"],
        number(said["throughput"], "--throughput"),
        number(said["teacher_throughput"], "--teacher-throughput"),
        said["devices"],
        said["price_per_hour"],
    )


def storage(entries: int | None, entry_bytes: float | None, price: float | None) -> Storage | None:
    """How rows would be stored; None where nothing was said of it.

    Raises:
        TutelageError: a price or a size of entries without their number.
    """
    if entries is None:
        for name, value in (("--price-per-terabyte", price), ("--entry-bytes", entry_bytes)):
            if value is not None:
                raise _alone(name, "--stored-entries", "--stored-entries 64")
        return None
    return Storage(entries, Storage.bytes_per_entry if entry_bytes is None else entry_bytes, price)


def laws_json() -> list[dict[str, Any]]:
    """Every published set."""
    return [
        {
            "name": laws.name,
            "source": laws.source,
            "error": laws.error,
            "supervised": vars(laws.supervised),
            "distillation": None if laws.distillation is None else vars(laws.distillation),
            "ranges": vars(laws.ranges),
        }
        for laws in PUBLISHED.values()
    ]


def laws_text() -> str:
    """The same for a terminal."""
    lines = []
    for laws in PUBLISHED.values():
        low, high = laws.ranges.parameters
        least, most = laws.ranges.tokens
        told = units.told
        both = "both laws" if laws.distillation else "the supervised law alone"
        lines += [
            laws.name,
            f"  {laws.source}",
            f"  {both}; {told(low)} to {told(high)} parameters, {told(least)} to {told(most)} tokens",
        ]
    return "\n".join(lines)


def held_out(word: str | None) -> float | list[str] | None:
    """A share, or names of runs and teachers with commas between."""
    if word is None:
        return None
    try:
        return float(word)
    except ValueError:
        return [name.strip() for name in word.split(",") if name.strip()]


def coefficients(words: list[str]) -> dict[str, float]:
    """Coefficients to hold, from ``NAME=VALUE``."""
    return {name: number(value, name) or 0.0 for name, value in map(_pair, words)}


def _alone(option: str, missing: str, example: str) -> TutelageError:
    """The error for an option that says nothing without another one."""
    return TutelageError(
        f"`{option}` without `{missing}`",
        expected=f"both, or neither: it says nothing without `{missing}`",
        fix=f"add for instance `{example}`",
    )


def _pair(word: str) -> tuple[str, str]:
    name, found, value = word.partition("=")
    if not found:
        raise OutOfRange(
            f"--hold {word!r} holds nothing",
            expected="a coefficient and its value",
            fix="write --hold gamma=1",
        )
    return name.strip(), value
