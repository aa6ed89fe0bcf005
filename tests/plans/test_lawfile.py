"""Laws as a file: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import Damaged, OutOfRange, TutelageError, UnknownName
from tutelage.plans.law import CutOffLaw
from tutelage.plans.lawfile import laws_named, read_laws, write_laws
from tutelage.plans.published import PUBLISHED, published


@pytest.mark.parametrize("name", PUBLISHED)
def test_laws_survive_the_file(tmp_path: Path, name: str) -> None:
    """Coefficients, ranges, error and source come back to the last bit."""
    laws = published(name)
    write_laws(tmp_path / "law.json", laws)
    assert read_laws(tmp_path / "law.json") == laws


def test_draws_and_the_reduced_form_survive_too(tmp_path: Path) -> None:
    """Bands are made from the draws, so a file without them would be sure of itself."""
    laws = published("reconciled")
    reduced = CutOffLaw(A=1.0, B=2.0, alpha=0.3, beta=0.4, gamma=0.5, c0=2.0, kappa=2.3, f1=0.1)
    draw = dataclasses.replace(laws, distillation=reduced)
    laws = dataclasses.replace(
        laws, draws=(draw, dataclasses.replace(draw, supervised=published("table6").supervised))
    )
    write_laws(tmp_path / "law.json", laws, tokenizer="abc", made={"when": "now"})
    read = read_laws(tmp_path / "law.json")
    assert read == laws
    assert read.band(lambda one: one.supervised.E) == laws.band(lambda one: one.supervised.E)
    assert json.loads((tmp_path / "law.json").read_text())["units"]["loss"] == "nats per token"


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        del document[path[-1]]

    return change


def put(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("supervised", "beta"), "supervised lacks 'beta'"),
        (drop("ranges"), "the file lacks 'ranges'"),
        (put(0, "distillation", "f1"), "coefficient f1 of the DistillationLaw is 0.0"),
        (put(-1, "supervised", "A"), "coefficient A of the SupervisedLaw is -1.0"),
        (put("0.4", "supervised", "alpha"), "supervised.alpha is '0.4', not a number"),
        (put(True, "error"), "error is True, not a number"),
        (put(0, "error"), "error is 0"),
        (put(1, "supervised", "delta"), "supervised has an unknown name 'delta'"),
        (put(2, "version"), "is of version 2"),
        (put("bits", "units", "loss"), "has other units"),
        (put("other", "format"), "format is tutelage-laws"),
        (put("odd", "distillation", "form"), "form 'odd'"),
        (put([2, 1], "ranges", "tokens"), "ranges.tokens runs from 2 to 1"),
        (put([1], "ranges", "tokens"), "not two numbers"),
        (put(1, "vocabulary"), "a vocabulary of 1"),
        (put([{}], "draws"), "draw 0 lacks 'supervised'"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """A law that is silently another one plans another run."""
    path = tmp_path / "law.json"
    write_laws(path, published("reconciled"))
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises((Damaged, OutOfRange)) as caught:
        read_laws(path)
    assert says in caught.value.problem
    assert str(path) in caught.value.problem


@pytest.mark.parametrize("text", ["", "[]", "{", "N,D,L\n"])
def test_what_is_no_such_file_is_damaged(tmp_path: Path, text: str) -> None:
    """Also an empty file, and a table of runs given by mistake."""
    (tmp_path / "law.json").write_text(text)
    with pytest.raises(Damaged):
        read_laws(tmp_path / "law.json")


def test_a_name_or_a_file_is_meant_by_one_word(tmp_path: Path) -> None:
    """`--law` takes either."""
    write_laws(tmp_path / "mine.json", published("table6"))
    assert laws_named("table6") == laws_named(str(tmp_path / "mine.json"))
    with pytest.raises(UnknownName, match="unknown laws 'reconciledd'"):
        laws_named("reconciledd")
    with pytest.raises(TutelageError, match="cannot be read"):
        laws_named(str(tmp_path / "other.json"))
