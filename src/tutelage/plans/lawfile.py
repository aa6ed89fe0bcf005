"""Laws as a file: what `tutelage plan fit` writes and every other plan reads with ``--law FILE``.

One JSON document with its format, units, where it is from, both laws, the ranges of the runs, the error of
prediction, and the draws from which bands are made. It is read strictly: what is missing, unknown or
impossible is an error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tutelage.errors import Damaged, OutOfRange, TutelageError
from tutelage.files import write_text
from tutelage.plans.law import CutOffLaw, DistillationLaw, Laws, Ranges, SupervisedLaw
from tutelage.plans.published import PUBLISHED, published

FORMAT = "tutelage-laws"
VERSION = 1
UNITS = {"parameters": "without embeddings, raw", "tokens": "raw", "loss": "nats per token"}
"""A law in other units has other coefficients: they are written down, and read back to be the same."""

FORMS: Mapping[str, type] = {"full": DistillationLaw, "reduced": CutOffLaw}

_FIRST = ("format", "version", "units")
_NEEDED = ("name", "source", "supervised", "distillation", "ranges", "error", "vocabulary")
_OPTIONAL = ("tokenizer", "made", "draws")


def write_laws(path: Path, laws: Laws, *, tokenizer: str = "", made: Mapping[str, Any] | None = None) -> None:
    """Write laws, whole or not at all.

    Args:
        path: of the file; one that is there is replaced.
        laws: with their draws.
        tokenizer: hash of the tokenizer whose tokens are counted; empty if nobody knows.
        made: how: time, command, numbers of runs, what was held.

    Raises:
        TutelageError: the file cannot be written.
    """
    ranges = {field.name: getattr(laws.ranges, field.name) for field in fields(Ranges)}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "units": UNITS,
        "name": laws.name,
        "source": laws.source,
        "supervised": vars(laws.supervised),
        "distillation": _taught(laws),
        "ranges": {name: value for name, value in ranges.items() if value is not None},
        "error": laws.error,
        "vocabulary": laws.vocabulary,
        "tokenizer": tokenizer,
        "made": dict(made or {}),
        "draws": [
            {"supervised": vars(draw.supervised), "distillation": _taught(draw)} for draw in laws.draws
        ],
    }
    write_text(path, json.dumps(document, indent=1) + "\n")


def read_laws(path: Path) -> Laws:
    """The laws of a file.

    Raises:
        Damaged: it is no such file, or something in it is missing, unknown or no number.
        OutOfRange: a coefficient is not above 0.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TutelageError(
            f"{path}: cannot be read ({error.strerror or error})",
            expected="a file that `tutelage plan fit --law-out` wrote",
            fix="check the path",
        ) from error
    except ValueError as error:
        raise _damaged(path, f"is no JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _damaged(path, f"does not say that its format is {FORMAT}")
    if document.get("version") != VERSION:
        raise _damaged(path, f"is of version {document.get('version')}, this program reads {VERSION}")
    if document.get("units") != UNITS:
        raise _damaged(path, f"has other units: {document.get('units')}")
    _names(path, "the file", document, (*_FIRST, *_NEEDED), _OPTIONAL)
    supervised = _law(path, "supervised", SupervisedLaw, document["supervised"])
    vocabulary = document["vocabulary"]
    if vocabulary is not None and not (isinstance(vocabulary, int) and vocabulary > 1):
        raise _damaged(path, f"has a vocabulary of {vocabulary}")
    error = _number(path, "error", document["error"])
    if error <= 0:
        raise OutOfRange(
            f"{path}: error is {error:g}", expected="a share above 0, such as 0.01", fix="fit the law again"
        )
    ranges = _ranges(path, document["ranges"])
    made = Laws(
        str(document["name"]),
        supervised,
        _distillation(path, "distillation", document["distillation"]),
        ranges,
        str(document["source"]),
        error,
        vocabulary,
        # The runs themselves say which sizes are no slip of the unit.
        smallest_parameters=min(1e3, ranges.parameters[0] / 10),
        smallest_tokens=min(1e6, ranges.tokens[0] / 10),
    )
    draws = []
    for index, draw in enumerate(document.get("draws", [])):
        here = f"draw {index}"
        _names(path, here, draw, ("supervised", "distillation"))
        draws.append(
            Laws(
                made.name,
                _law(path, f"{here}: supervised", SupervisedLaw, draw["supervised"]),
                _distillation(path, f"{here}: distillation", draw["distillation"]),
                made.ranges,
                made.source,
                made.error,
                made.vocabulary,
                made.smallest_parameters,
                made.smallest_tokens,
            )
        )
    return replace(made, draws=tuple(draws))


def laws_named(word: str) -> Laws:
    """Published laws by name, or those of a file.

    Raises:
        UnknownName: it is neither.
    """
    if word not in PUBLISHED and (word.endswith(".json") or Path(word).is_file()):
        return read_laws(Path(word))
    return published(word)


def _taught(laws: Laws) -> dict[str, Any] | None:
    law = laws.distillation
    if law is None:
        return None
    form = next(name for name, kind in FORMS.items() if isinstance(law, kind))
    return {"form": form, **vars(law)}


def _distillation(path: Path, here: str, found: Any) -> DistillationLaw | CutOffLaw | None:
    if found is None:
        return None
    form = str(found.get("form")) if isinstance(found, dict) else ""
    if form not in FORMS:
        raise _damaged(path, f"{here} has the form {form!r}, not one of {', '.join(FORMS)}")
    return _law(path, here, FORMS[form], {name: value for name, value in found.items() if name != "form"})


def _law(path: Path, here: str, kind: type, found: Any) -> Any:
    names = tuple(field.name for field in fields(kind))
    _names(path, here, found, names)
    values = {name: _number(path, f"{here}.{name}", found[name]) for name in names}
    try:
        return kind(**values)
    except OutOfRange as error:
        raise OutOfRange(f"{path}: {error.problem}", expected=error.expected, fix=error.fix) from error


def _ranges(path: Path, found: Any) -> Ranges:
    known = tuple(field.name for field in fields(Ranges))
    _names(path, "ranges", found, ("parameters", "tokens"), known)
    pairs = {}
    for name, pair in found.items():
        if not (isinstance(pair, list) and len(pair) == 2):
            raise _damaged(path, f"ranges.{name} is {pair!r}, not two numbers")
        low, high = (_number(path, f"ranges.{name}", one) for one in pair)
        if not 0 < low <= high:
            raise _damaged(path, f"ranges.{name} runs from {low:g} to {high:g}")
        pairs[name] = (low, high)
    return Ranges(**pairs)


def _names(path: Path, here: str, found: Any, needed: Iterable[str], optional: Iterable[str] = ()) -> None:
    if not isinstance(found, dict):
        raise _damaged(path, f"{here} is {found!r}, not a table of names")
    needed = list(needed)
    for name in needed:
        if name not in found:
            raise _damaged(path, f"{here} lacks '{name}'")
    for name in found:
        if name not in needed and name not in optional:
            raise _damaged(path, f"{here} has an unknown name '{name}'")


def _number(path: Path, here: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _damaged(path, f"{here} is {value!r}, not a number")
    return float(value)


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(
        f"{path}: {why}",
        expected="a file that `tutelage plan fit --law-out` wrote, unchanged",
        fix="fit the law again, or use a published set (`tutelage plan laws` lists them)",
    )
