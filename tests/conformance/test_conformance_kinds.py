"""Recipes of every kind are judged by what they name, and say what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from part import answers, part, said

from live_servers import served
from small_caches import STORIES, cache_of, saved_model, stories
from tutelage.divergences import TABLE
from tutelage.interfaces import Machine
from tutelage.recipes import Recipe
from tutelage.teachers import ModelTeacher

TRAINS = [name for name, entry in TABLE.items() if entry.trains and entry.against == "teacher"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has opinions."""
    return saved_model(tmp_path_factory.mktemp("kinds") / "teacher", seed=3, initializer_range=0.3)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one."""
    return saved_model(tmp_path_factory.mktemp("kinds") / "other", seed=4, initializer_range=0.3)


def test_every_divergence_of_the_table_conforms_beside_gold_tokens(tmp_path: Path, teacher: Path) -> None:
    """Terms of all arms are evaluated, each once, tempered ones too."""
    terms: list[dict[str, Any]] = [{"divergence": name} for name in TRAINS]
    tempered = {"divergence": "forward_kl", "temperature": 2.0, "weight": 0.5}
    arms = {
        "sft": {"divergence": "cross_entropy"},
        "all": {"objective": [*terms, tempered]},
        "again": {"objective": [terms[0], {"divergence": "cross_entropy", "weight": 0.1}]},
    }
    found = part(stories(tmp_path, teacher, arms=arms, control="sft"))
    assert set(answers(found).values()) == {"ok"}, found.text()
    assert len(found.terms) == len(TRAINS) + 2
    kept = next(line for line in found.lines if line.measure == "top_k")
    assert "temperature" not in kept.said, "tempered columns are no bound"
    assert "total variation" in kept.said


def test_a_mixture_is_compared_with_every_model_in_it(tmp_path: Path, teacher: Path, other: Path) -> None:
    """It has no output layer of its own, so it is kept and sent in other forms."""
    words = {"kind": "mixture", "teachers": [str(teacher), str(other)], "weights": [0.3, 0.7]}
    found = part(stories(tmp_path, words))
    refused = {name for name, answer in answers(found).items() if answer == "not checked"}
    assert refused == {"cached = local, hidden, float32", "cached = local, hidden, bfloat16"}
    assert found.exit_status == 0, found.text()
    assert "no single output layer" in said(found)["cached = local, hidden, float32"]
    assert "dense" in said(found)["served = local"]


def test_a_routed_mixture_takes_its_column_along(tmp_path: Path, teacher: Path, other: Path) -> None:
    """Rows keep their column on every way: into batches, a cache, over the wire."""
    lines = [{"text": f"Once upon a time there was a {who}.", "who": who} for who in ("cat", "dog")]
    words = {"kind": "mixture", "teachers": [str(teacher), str(other)], "route": "who"}
    words |= {"names": ["cat", "dog"]}
    (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    samples = {"kind": "dataset", "data": str(tmp_path / "text.jsonl"), "max_length": 40}
    found = part(stories(tmp_path, words, samples=samples, evaluation="none"))
    assert found.exit_status == 0, found.text()
    assert answers(found)["served = local"] == "ok"
    assert answers(found)["cached = local, top_k"] == "ok"
    assert (found.rows, found.where) == (2, "training text, for want of `evaluation:`")


@pytest.mark.parametrize(
    ("kind", "options", "line"),
    [
        ("hidden", {"precision": "float32"}, "hidden, float32"),
        ("hidden", {}, "hidden, bfloat16"),
        ("top_k", {"k": 32}, "top_k"),
        ("sampled", {"draws": 20}, "sampled"),
    ],
)
def test_a_cache_is_compared_with_the_teacher_that_the_recipe_names(
    tmp_path: Path, teacher: Path, kind: str, options: dict[str, Any], line: str
) -> None:
    """With `of:` the line of its kind is measured; without, it says what to write."""
    cache_of(stories(tmp_path, teacher), tmp_path / "cache", kind, **options)
    words = {"kind": "cached", "cache": str(tmp_path / "cache")}
    found = part(stories(tmp_path, {**words, "of": str(teacher)}))
    assert found.exit_status == 0, found.text()
    checked = {name for name, answer in answers(found).items() if answer == "ok"}
    assert {name for name in checked if name.startswith("cached")} == {f"cached = local, {line}"}
    assert ("served = local" in checked) == (kind != "sampled"), said(found)["served = local"]
    alone = part(stories(tmp_path, words), "cached = local")
    assert set(answers(alone).values()) == {"not checked"}
    assert "`of:`" in said(alone)[f"cached = local, {line}"]


@pytest.mark.parametrize("payload", ["hidden", "top_k", "dense"])
def test_a_server_is_compared_with_the_local_copy_that_the_recipe_names(
    tmp_path: Path, teacher: Path, payload: str
) -> None:
    """With `probe:` it is measured; without, the line says what to write."""
    with served(ModelTeacher(str(teacher)).open(Machine())) as url:
        words = {"kind": "server", "url": url, "payload": payload}
        found = part(stories(tmp_path, {**words, "probe": str(teacher)}))
        assert found.exit_status == 0, found.text()
        assert answers(found)["served = local"] == "ok"
        assert answers(found)["micro-batches, gradient"] == "ok"
        alone = part(stories(tmp_path, words), "served = local")
        assert answers(alone) == {"served = local": "not checked"}
        assert "`probe:`" in said(alone)["served = local"]


def test_a_teacher_in_bfloat16_has_bounds_of_its_own(tmp_path: Path, teacher: Path) -> None:
    """Rounding to three digits is no failure, and the head of the table says so."""
    found = part(stories(tmp_path, {"kind": "model", "model": str(teacher), "dtype": "bfloat16"}))
    assert found.exit_status == 0, found.text()
    assert found.precision == "16 bits"
    lines = {line.name: line for line in found.lines}
    apart = lines["hidden = logits, teacher"]
    assert apart.found is not None
    assert apart.found > lines["hidden = logits, student"].bound, "a float32 bound would not hold"
    assert lines["hidden = logits, student"].bound < 1e-3 < apart.bound


def test_rows_are_few_different_and_in_shared_tokens(tmp_path: Path, teacher: Path) -> None:
    """The same text twice is looked at once; one row of text is enough for what needs no second."""
    (tmp_path / "text.txt").write_text("Once upon a time\nOnce upon a time\n", encoding="utf-8")
    found = part(_on(tmp_path, teacher, tmp_path / "text.txt"), "micro-batches", "padding", "fused = plain")
    assert found.rows == 1
    assert answers(found)["micro-batches, loss"] == "not checked"
    assert answers(found)["padding, loss"] == "ok"
    many = part(_on(tmp_path, teacher, STORIES / "train.txt.gz"), "chunk_rows")
    assert many.rows == 8


def _on(folder: Path, teacher: Path, text: Path) -> Recipe:
    samples = {"kind": "dataset", "data": str(text), "max_length": 40, "long": "cut"}
    return stories(folder, teacher, samples=samples, evaluation="none")


def test_a_server_of_kept_tokens_is_cached_as_it_is(tmp_path: Path, teacher: Path) -> None:
    """What came over the wire as top-k has no hidden states, and drawing from it would be no estimate."""
    with served(ModelTeacher(str(teacher)).open(Machine())) as url:
        words = {"kind": "server", "url": url, "payload": "top_k", "k": 16}
        found = part(stories(tmp_path, words), "cached = local")
    assert answers(found) == {
        "cached = local, hidden, float32": "not checked",
        "cached = local, hidden, bfloat16": "not checked",
        "cached = local, top_k": "ok",
        "cached = local, sampled": "not checked",
    }
