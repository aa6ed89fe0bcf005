"""Caches in runs: built whole or not at all, used like the live teacher, refused where they do not belong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from small_caches import ROOT, STILL, TINY, TOKENIZER, cache_of, contents, saved_model, stories
from tutelage import api
from tutelage.errors import Damaged, NotShared, TutelageError
from tutelage.models import load_tokenizer
from tutelage.recipes import Recipe, load, read
from tutelage.run import check, distil
from tutelage.run.caching import cache_info
from tutelage.stores.cache import open_cache
from tutelage.stores.manifest import LAYER, MANIFEST, SHARDS
from tutelage.stores.verify import verify


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "teacher"
    return saved_model(folder, seed=3, n_embd=24, initializer_range=0.3)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, Path]:
    """A cache of each kind."""
    folder = tmp_path_factory.mktemp("caches")
    recipe = stories(folder, model)
    cache_of(recipe, folder / "exact", "hidden", precision="float32")
    for kind in ("hidden", "top_k", "sampled"):
        cache_of(recipe, folder / kind, kind)
    return {name: folder / name for name in ("exact", "hidden", "top_k", "sampled")}


def cached(place: Path | str, **options: Any) -> dict[str, Any]:
    return {"kind": "cached", "cache": str(place), **options}


def using(folder: Path, place: Path | str, model: Path, **changes: Any) -> Recipe:
    """The recipe with its teacher taken from a cache."""
    return read(stories(folder, model).resolved(), teacher=cached(place), **changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "student" / "model.safetensors")


def measured(folder: Path) -> dict[str, float]:
    return json.loads((folder / "measured.json").read_text())["numbers"]


def test_a_run_from_exact_hidden_states_ends_where_the_live_one_does(
    built: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    """The run cannot tell where its teacher is."""
    live = distil(stories(tmp_path, model, out=str(tmp_path / "live")))
    stored = distil(using(tmp_path, built["exact"], model, out=str(tmp_path / "stored")))
    one, other = weights(live), weights(stored)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)
    assert measured(stored) == pytest.approx(measured(live), abs=1e-5)


@pytest.mark.parametrize("kind", ["hidden", "top_k", "sampled"])
def test_a_run_from_a_cache_ends_with_its_report(
    built: dict[str, Path], model: Path, tmp_path: Path, kind: str
) -> None:
    """Evaluation during the run, provenance and report work from a cache of every kind."""
    out = api.reported(distil(using(tmp_path, built[kind], model)))
    record = json.loads((out / "run.json").read_text())
    assert record["caches"] == {str(built[kind]): open_cache(str(built[kind])).manifest.identity}
    assert record["teacher"]["parameters"] == cache_info(str(built[kind])).manifest.recorded["parameters"]
    assert "the cache" in record["sentence"]["teacher"]
    numbers = measured(out)
    assert numbers["forward_kl_nats"] > -0.01
    assert numbers["teacher_nats"] > 0
    assert ("agreement" in numbers) == (kind != "sampled")
    assert (out / "report.html").read_text().startswith("<!doctype html>")


def test_the_teachers_own_nats_are_known_from_every_kind(
    built: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    """So `check` can say whether the teacher is ahead, although most of its tokens were not kept."""
    live = check(stories(tmp_path, model))
    for kind in ("hidden", "top_k", "sampled"):
        found = check(using(tmp_path, built[kind], model))
        assert found.verdict == live.verdict
        mean = found.numbers["teacher_nats"]["mean"]
        assert mean == pytest.approx(live.numbers["teacher_nats"]["mean"], abs=2e-3)
        assert "cached" in found.findings["teacher"]


def test_measured_loss_is_told_with_its_interval(built: dict[str, Path]) -> None:
    """On held-out text, in nats per token, beside the bytes that a token takes."""
    hidden = cache_info(str(built["hidden"]))
    assert hidden.manifest.measured["where"] == "held-out text"
    kl = hidden.manifest.measured["kl_nats"]
    assert kl["low"] <= kl["mean"] <= kl["high"] < 1e-3
    top_k = cache_info(str(built["top_k"])).manifest.measured
    assert top_k["kl_nats"]["mean"] > kl["mean"]
    assert top_k["gap_nats"]["mean"] > 0
    sampled = cache_info(str(built["sampled"])).manifest.measured
    assert "kl_nats" not in sampled
    assert sampled["spread_nats"] > 0
    # 4.5 standard errors: fails once in 150,000 draws of a correct cache.
    assert abs(sampled["gap_nats"]["mean"]) < 4.5 * sampled["spread_nats"] / sampled["tokens"] ** 0.5
    assert hidden.bytes_per_token > 2 * 24
    assert "nats per token" in hidden.text()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples": {"max_length": 30}}, r"text.max_length: 30 here, 40 there"),
        ({"samples": {"max_rows": 13}}, r"row 12 .* text.max_rows: 13 here, 12 there"),
        ({"samples": {"data": str(ROOT / "data" / "tinystories" / "LICENSE.txt")}}, r"text.sha256: "),
        ({"evaluation": {"max_rows": 9}}, r"row 3 is not in the cache"),
        ({"teacher": {"tail": "drop"}}, r"`tail: drop` for the cache"),
    ],
)
def test_a_text_that_is_not_in_the_cache_is_refused_with_the_difference(
    built: dict[str, Path], model: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    """Before anything is written."""
    recipe = read(using(tmp_path, built["hidden"], model).resolved(), **changes)
    with pytest.raises(TutelageError, match=told):
        distil(recipe)
    assert not (tmp_path / "run").exists()


def test_fewer_rows_of_the_same_text_are_served(built: dict[str, Path], model: Path, tmp_path: Path) -> None:
    """What counts is whether the rows are there, not how many others are."""
    distil(using(tmp_path, built["hidden"], model, samples={"max_rows": 6}))
    assert (tmp_path / "run" / "student").is_dir()


def test_another_tokenizer_is_refused(built: dict[str, Path], model: Path, tmp_path: Path) -> None:
    """By the proof that any teacher has to pass."""
    gpt2 = str(ROOT / "data" / "tokenizers" / "gpt2")
    student = {"config": {**TINY, **STILL, "n_embd": 4}, "tokenizer": gpt2}
    with pytest.raises(NotShared, match=r"the token 0 is"):
        distil(using(tmp_path, built["hidden"], model, student=student))
    assert not (tmp_path / "run").exists()


def test_another_chat_template_is_refused(model: Path, tmp_path: Path) -> None:
    """Messages laid out by another template are other rows, and the template is named."""
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Lily ran."}]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(row) + "\n")
    students = {}
    for name, mark in (("one", "A:"), ("other", "B:")):
        tokenizer = load_tokenizer(TOKENIZER)
        tokenizer.chat_template = (
            "{% for m in messages %}{{ m.role }} " + mark + " {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant " + mark + " {% endif %}"
        )
        tokenizer.save_pretrained(tmp_path / name)
        students[name] = {"config": {**TINY, **STILL}, "tokenizer": str(tmp_path / name)}
    samples = {"kind": "dataset", "data": str(tmp_path / "chat.jsonl"), "max_length": 60, "long": "drop"}
    words = {**stories(tmp_path, model).resolved(), "samples": samples, "evaluation": None}
    cache_of(read(words, student=students["one"]), tmp_path / "cache")
    words["teacher"] = cached(tmp_path / "cache")
    read(words, student=students["one"])
    with pytest.raises(TutelageError, match=r"tokenizer.template: [0-9a-f]{16}... here, [0-9a-f]{16}"):
        distil(read(words, student=students["other"]))
    distil(read(words, student=students["one"], training={"per_device_train_batch_size": 1}))


@pytest.mark.parametrize(
    ("kind", "options", "term", "told"),
    [
        ("sampled", {}, {"divergence": "reverse_kl"}, "reverse_kl from a teacher that is known by drawn"),
        ("sampled", {}, {"divergence": "forward_kl", "temperature": 2}, "temperature 2 with a teacher"),
        ("top_k", {"tail": "drop"}, {"divergence": "forward_kl", "temperature": 2}, "temperature 2 with"),
        (
            "top_k",
            {"tail": "drop"},
            {"divergence": "adaptive_kl"},
            "adaptive_kl needs something of the whole",
        ),
    ],
)
def test_a_term_that_a_cache_cannot_serve_is_refused_by_its_line(
    built: dict[str, Path],
    model: Path,
    tmp_path: Path,
    kind: str,
    options: dict[str, Any],
    term: dict[str, Any],
    told: str,
) -> None:
    """The recipe's file and line, the reason, what would do; nothing is written."""
    words = stories(tmp_path, model).resolved()
    words = {key: value for key, value in words.items() if value is not None and key != "where"}
    words["teacher"] = cached(built[kind], **options)
    words["objective"] = [{"divergence": "cross_entropy"}, term]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(words, sort_keys=False))
    line = 1 + next(
        n
        for n, text in enumerate(path.read_text().splitlines())
        if f"divergence: {term['divergence']}" in text
    )
    with pytest.raises(TutelageError, match=told) as caught:
        distil(load(str(path)))
    assert caught.value.problem.startswith(f"{path}:{line}: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("divergence", ["forward_kl", "skew_forward_kl", "cross_entropy"])
def test_drawn_tokens_serve_what_the_teacher_bounds(
    built: dict[str, Path], model: Path, tmp_path: Path, divergence: str
) -> None:
    """And what is compared with the gold tokens may be anything: only the teacher's rows are cut."""
    words = using(tmp_path, built["sampled"], model, training={"max_steps": 1}).resolved()
    terms = [
        {"divergence": divergence, "against": "teacher"},
        {"divergence": "jensen_shannon", "against": "gold"},
    ]
    distil(read({**words, "objective": terms}))
    assert (tmp_path / "run" / "student").is_dir()


def test_a_mixture_of_drawn_tokens_is_refused(built: dict[str, Path], model: Path, tmp_path: Path) -> None:
    """Before the run, with the line of the teacher."""
    mixture = {"kind": "mixture", "teachers": [cached(built["sampled"]), str(model)]}
    with pytest.raises(TutelageError, match="only some tokens are known"):
        distil(read(stories(tmp_path, model).resolved(), teacher=mixture))
    assert not (tmp_path / "run").exists()


def test_a_cache_that_was_exchanged_in_mid_run_is_refused(model: Path, tmp_path: Path) -> None:
    """A run goes on with the teacher that it began with."""
    cache_of(stories(tmp_path, model), tmp_path / "cache", precision="float32")
    recipe = using(tmp_path, tmp_path / "cache", model)
    out = distil(recipe)
    shutil.rmtree(out / "student")
    record = json.loads((out / "run.json").read_text())
    del record["finished"]
    (out / "run.json").write_text(json.dumps(record))
    other = saved_model(tmp_path / "other", seed=5, n_embd=24)
    shutil.rmtree(tmp_path / "cache")
    cache_of(stories(tmp_path, other), tmp_path / "cache", precision="float32")
    with pytest.raises(TutelageError, match="is not the one that this run began with"):
        distil(recipe)


def test_a_mixture_keeps_its_likeliest_tokens_but_has_no_hidden_states(model: Path, tmp_path: Path) -> None:
    """Any teacher can be cached; hidden states need a single output layer."""
    other = saved_model(tmp_path / "other", seed=5, n_embd=24)
    mixture = {"kind": "mixture", "teachers": [str(model), str(other)]}
    recipe = read(stories(tmp_path, model).resolved(), teacher=mixture)
    with pytest.raises(TutelageError, match="no single output layer"):
        cache_of(recipe, tmp_path / "cache", "hidden")
    assert not (tmp_path / "cache").exists()
    told = cache_of(recipe, tmp_path / "cache", "top_k", k=8)
    assert told.description.teacher["kind"] == "MixtureTeacher"
    assert len({one["weights"] for one in told.description.teacher["teachers"]}) == 2
    distil(using(tmp_path, tmp_path / "cache", model))


def test_a_cache_can_be_made_of_a_cache(built: dict[str, Path], model: Path, tmp_path: Path) -> None:
    """Hidden states become top-k lists without the teacher, the same ones."""
    cache_of(using(tmp_path, built["exact"], model), tmp_path / "short", "top_k")
    ours, theirs = open_cache(str(tmp_path / "short")), open_cache(str(built["top_k"]))
    assert ours.description.teacher["of"] == theirs.description.teacher
    everything = range(len(ours.index))
    one, other = ours.rows(everything), theirs.rows(everything)
    assert float((one["ids"] == other["ids"]).float().mean()) > 0.99
    torch.testing.assert_close(one["log_tail"], other["log_tail"], rtol=1e-4, atol=1e-4)


def test_the_same_build_gives_the_same_bytes(built: dict[str, Path], model: Path, tmp_path: Path) -> None:
    """Whatever order the shards are made in; a second build of what is there changes nothing."""
    for kind in ("hidden", "top_k", "sampled"):
        cache_of(stories(tmp_path, model), tmp_path / kind, kind)
        assert contents(tmp_path / kind) == contents(built[kind])
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "hidden").rglob("*")}
    cache_of(stories(tmp_path, model), tmp_path / "hidden")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "hidden").rglob("*")} == written


def test_nothing_in_a_cache_names_the_machine_it_was_built_on(built: dict[str, Path]) -> None:
    """All but what people wrote in the recipe is content."""
    for name, content in contents(built["hidden"]).items():
        if name != MANIFEST and name != "vocabulary.json":
            assert str(ROOT).encode() not in content, name


def test_a_place_that_holds_something_else_is_refused(
    built: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    """Another cache, with what differs, or somebody's files; nothing is touched."""
    before = contents(built["top_k"])
    with pytest.raises(TutelageError, match=r"holds another cache \(form.k: 8 here, 64 there"):
        cache_of(stories(tmp_path, model), built["top_k"], "top_k", k=8)
    with pytest.raises(TutelageError, match=r"text.keys"):
        cache_of(stories(tmp_path, model, samples={"max_rows": 5}), built["top_k"], "top_k")
    assert contents(built["top_k"]) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(TutelageError, match="is not empty and holds no cache"):
        cache_of(stories(tmp_path, model), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_arms_with_different_teachers_need_a_cache_each(model: Path, tmp_path: Path) -> None:
    """And a recipe without a teacher has nothing to keep."""
    other = saved_model(tmp_path / "other", seed=5, n_embd=24)
    arms = {"one": {"divergence": "forward_kl"}, "two": {"teacher": str(other), "divergence": "reverse_kl"}}
    words = {k: v for k, v in stories(tmp_path, model).resolved().items() if k != "objective"}
    with pytest.raises(TutelageError, match="the arms have different teachers"):
        cache_of(read(words, arms=arms), tmp_path / "cache")
    with pytest.raises(TutelageError, match="the recipe has no teacher"):
        cache_of(read(words, teacher=None, divergence="cross_entropy"), tmp_path / "cache")


def damage(place: Path, what: str) -> str:
    """Damage a cache; the name of the file."""
    shard = sorted((place / SHARDS).iterdir())[0]
    name = shard.relative_to(place).as_posix()
    if what == "flipped":
        content = bytearray(shard.read_bytes())
        content[-40] ^= 4
        shard.write_bytes(content)
    elif what == "cut":
        os.truncate(shard, shard.stat().st_size - 1)
    elif what == "gone":
        shard.unlink()
    else:
        name = what
        (place / what).write_bytes((place / what).read_bytes()[:-2] + b"!\n")
    return name


@pytest.mark.parametrize("what", ["flipped", "cut", "gone", LAYER, "vocabulary.json", "index.safetensors"])
def test_damage_is_named_and_a_second_build_mends_it(
    built: dict[str, Path], model: Path, tmp_path: Path, what: str
) -> None:
    """Verify says which file; with that file removed the same build makes the same bytes again."""
    whole = contents(built["hidden"])
    shutil.copytree(built["hidden"], tmp_path / "cache")
    assert verify(str(tmp_path / "cache")).exit_status == 0
    name = damage(tmp_path / "cache", what)
    found = verify(str(tmp_path / "cache"))
    assert found.exit_status == 3
    assert [line.partition(":")[0] for line in found.damage] == [name]
    if what not in ("gone", "flipped"):
        with pytest.raises(Damaged, match=name):
            distil(using(tmp_path, tmp_path / "cache", model))
    (tmp_path / "cache" / name).unlink(missing_ok=True)
    cache_of(stories(tmp_path, model), tmp_path / "cache")
    assert contents(tmp_path / "cache") == whole
    assert verify(str(tmp_path / "cache")).exit_status == 0


def test_an_unfinished_cache_is_no_cache(built: dict[str, Path], model: Path, tmp_path: Path) -> None:
    """It says what to do; `verify` answers no."""
    shutil.copytree(built["hidden"], tmp_path / "cache")
    (tmp_path / "cache" / MANIFEST).unlink()
    with pytest.raises(TutelageError, match=r"no finished cache in .*: no `manifest.json` there"):
        using(tmp_path, tmp_path / "cache", model)
    with pytest.raises(TutelageError, match="a cache whose build has not ended"):
        cache_info(str(tmp_path / "cache"))
    assert verify(str(tmp_path / "cache")).exit_status == 3
    with pytest.raises(TutelageError, match="no cache there"):
        verify(str(tmp_path / "nowhere"))
