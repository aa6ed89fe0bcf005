"""An option outside its range is refused where the recipe says it, before anything is opened."""

from __future__ import annotations

import typing

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import told_ways
from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.recipes import families, load, read
from tutelage.registry import options
from tutelage.samples import DatasetSamples
from tutelage.text.template import Long

JS, LENGTH, TEACHER = "jensen_shannon, beta: 0.3", "max_length: 64", "teacher: models/teacher"
SHARE = "a number from 0 to 1"
INSIDE = "a number strictly between 0 and 1"


@pytest.mark.parametrize(
    ("line", "old", "new", "problem", "expected", "fix"),
    [
        (7, JS, "jensen_shannon, beta: 1.5", "`divergence.beta` is 1.5", SHARE, ""),
        (7, JS, "jensen_shannon, beta: -0.1", "`divergence.beta` is -0.1", SHARE, ""),
        (7, JS, "alpha_divergence, order: 2", "`divergence.order` is 2", SHARE, ""),
        (7, JS, "skew_forward_kl, skew: 0", "`divergence.skew` is 0", INSIDE, ""),
        (7, JS, "skew_reverse_kl, skew: 1.0", "`divergence.skew` is 1.0", INSIDE, ""),
        (7, JS, "forward_kl, on: student", "a term on the student's text", "`on:` all or dataset", ""),
        (7, JS, "forward_kl, on: teacher", "a term on the teacher's text", "`on:` all or dataset", ""),
        (8, LENGTH, "max_length: 1", "`samples.max_length` is 1", "of at least 2", ""),
        (8, LENGTH, "max_rows: 0", "`samples.max_rows` is 0", "of at least 1 or none", ""),
        (8, LENGTH, 'max_rows: "5"', "`samples.max_rows` is '5'", "or none", "write 5 without quotes"),
        (8, LENGTH, "long: split_it", "`samples.long` is 'split_it'", "split, cut, drop or none", "'split'"),
        (8, LENGTH, "long: 7", "`samples.long` is 7", "split, cut, drop or none", ""),
        (
            6,
            TEACHER,
            "teacher: {kind: model, model: models/teacher, dtype: float16}",
            "`teacher.dtype` is 'float16'",
            "float32, bfloat16 or none",
            "'bfloat16' (the nearest name)",
        ),
        (
            6,
            TEACHER,
            "teacher: {kind: mixture, teachers: [models/teacher, models/teacher], weights: [-1, 2]}",
            "`teacher.weights` is -1",
            "a number of at least 0",
            "",
        ),
    ],
)
def test_an_option_out_of_range_gets_status_2_and_its_line(
    place, capsys, line, old, new, problem, expected, fix
):
    """File and line, the value, what would do, and the remedy where one is plain to see."""
    text = (place / "recipe.yaml").read_text()
    assert old in text
    (place / "recipe.yaml").write_text(text.replace(old, new))
    before = sorted(place.rglob("*"))
    assert answered(["run", "recipe.yaml"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    assert told[0].startswith(f"recipe.yaml:{line}: {problem}")
    assert expected in told[1]
    assert fix in told[2]
    assert sorted(place.rglob("*")) == before


def test_a_term_of_several_is_blamed_on_its_own_line(place):
    """Each term stands somewhere; the word `objective` is no place to look."""
    text = (place / "recipe.yaml").read_text()
    terms = "objective:\n  - cross_entropy\n  - divergence: forward_kl\n    on: student\n"
    (place / "recipe.yaml").write_text(text.replace("divergence: {kind: jensen_shannon, beta: 0.3}\n", terms))
    with pytest.raises(TutelageError, match=r"recipe.yaml:9: a term on the student's text"):
        load("recipe.yaml")
    with pytest.raises(TutelageError, match=r"recipe.yaml:9: forward_kl compares the student with a teacher"):
        load("recipe.yaml", ["teacher=none", "objective.1.on=all"])


RANGED = [
    (name, option)
    for name, entry in families()["divergences"].items()
    for option in options(entry).values()
    if "Annotated" in option.annotation
]


@pytest.mark.parametrize(("name", "option"), RANGED, ids=lambda one: getattr(one, "name", one))
def test_a_recipe_accepts_what_the_divergence_accepts(place, name, option):
    """The range in the annotation is the range that the function checks, ends included."""
    divergence = families()["divergences"].load(name)
    row, told = torch.tensor([0.25, 0.75]).log(), told_ways(name, 2)[0]

    def is_accepted(attempt) -> bool:
        try:
            attempt()
        except TutelageError:
            return False
        return True

    @given(st.floats(-0.5, 1.5) | st.sampled_from([0.0, 1.0]))
    def holds(value):
        by_recipe = is_accepted(lambda: read("recipe.yaml", divergence={"kind": name, option.name: value}))
        by_function = is_accepted(lambda: divergence(row, row, **told, **{option.name: value}))
        assert by_recipe == by_function, value

    holds()


def test_some_divergences_have_ranges():
    """Else the law above would hold of nothing."""
    assert {name for name, _ in RANGED} >= {"jensen_shannon", "alpha_divergence", "skew_forward_kl"}


def test_the_words_for_a_long_row_are_those_of_the_layout():
    """Two lists of the same words: what a recipe may say is what the text knows how to do."""
    declared = typing.get_type_hints(DatasetSamples)["long"]
    assert set(typing.get_args(typing.get_args(declared)[0])) == set(typing.get_args(Long))
