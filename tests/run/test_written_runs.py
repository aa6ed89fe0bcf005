"""Runs on text that is written meanwhile, in every way that there is: kills, processes, odd combinations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_runs import (
    TOKENIZER,
    close,
    ends_the_same_when_killed,
    lines,
    run_by_two,
    same,
    tiny_config,
    trained,
    weights,
)

from live_servers import served
from small_caches import cache_of
from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.models import load_model, new_model, save_student
from tutelage.recipes import load
from tutelage.run import check, distil
from tutelage.teachers import ModelTeacher

SHORT = {"max_new_tokens": 12, "prompt_tokens": 6}
GOLD = {"divergence": "cross_entropy", "against": "gold", "on": "dataset"}
WAYS: dict[str, dict[str, Any]] = {
    "minillm": {
        "samples": {
            "kind": "student",
            "on_policy": 0.75,
            "teacher_tokens": 0.2,
            "inner_epochs": 2,
            "steps_per_rollout": 2,
        },
        "objective": [{"divergence": "reverse_kl", "on": "student"}, GOLD],
        "estimator": {"kind": "policy_gradient"},
    },
    "distillm": {
        "samples": {"kind": "replay", "fresh": 0.5, "capacity": 9, "oldest": 3},
        "divergence": {"kind": "skew_forward_kl", "skew": 0.1},
    },
    "f_distill_js": {
        "samples": {"kind": "mixture", "teacher": 0.5, "student": 0.5},
        "objective": [
            {"divergence": {"kind": "skew_forward_kl", "skew": 0.5}, "on": "teacher", "weight": 0.5},
            {"divergence": {"kind": "skew_reverse_kl", "skew": 0.5}, "on": "student", "weight": 0.5},
        ],
        "estimator": {"kind": "per_token", "middle": "exact", "reduction": "sequence_sum"},
    },
    "seqkd": {
        "samples": {"kind": "teacher", "copies": 2},
        "objective": [{"divergence": "cross_entropy", "against": "gold", "on": "teacher"}],
    },
    "sampled_token": {
        "samples": {"kind": "student", "inner_epochs": 2, "teacher_tokens": 0.3},
        "objective": [{"divergence": "reverse_kl", "on": "student"}],
        "estimator": {"kind": "sampled_token", "form": "k1"},
    },
}


def written_as(way: str, recipe_file: Path, **changes: Any) -> Path:
    """The small recipe in one of the ways, every step saved."""
    words = yaml.safe_load(recipe_file.read_text())
    del words["divergence"]
    how = WAYS[way]
    words["samples"] |= {**SHORT, **how["samples"]}
    words |= {key: value for key, value in how.items() if key != "samples"}
    words["training"]["save_steps"] = 1
    words |= changes
    recipe_file.write_text(yaml.safe_dump(words))
    return recipe_file


@pytest.mark.parametrize("way", WAYS)
def test_micro_batches_change_nothing(recipe_file: Path, tmp_path: Path, way: str) -> None:
    """The same texts, advantages and weights however a step is cut (law 1)."""
    path = written_as(way, recipe_file)
    whole = trained(path, tmp_path / "a")
    cut = ["training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=4"]
    assert close(whole, trained(path, tmp_path / "b", *cut))


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", ["minillm", *(pytest.param(way, marks=pytest.mark.long) for way in ("distillm", "f_distill_js"))]
)
def test_two_processes_train_what_one_does(recipe_file: Path, tmp_path: Path, way: str) -> None:
    """Each writes its half of the rows; collections and buffers are of both (law 1)."""
    path = written_as(way, recipe_file)
    alone, out = trained(path, tmp_path / "alone"), tmp_path / "two"
    port = 29530 + list(WAYS).index(way)
    run_by_two(path, port, f"out={out}", "training.per_device_train_batch_size=2")
    assert close(alone, load_file(out / "student" / "model.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["minillm", "distillm", pytest.param("seqkd", marks=pytest.mark.long)])
def test_a_killed_run_ends_with_the_same_weights(recipe_file: Path, tmp_path: Path, way: str) -> None:
    """SIGKILL at a random step, in the middle of a collection or with a half full buffer (law 6)."""
    assert ends_the_same_when_killed(written_as(way, recipe_file), tmp_path / "killed")


def test_minillm_with_a_cached_teacher(recipe_file: Path, tmp_path: Path) -> None:
    """Rows of the data set come from the cache, own text from the live teacher: losses of the live one."""
    plain = load(str(recipe_file))
    cache_of(plain, tmp_path / "cache", precision="float32")
    live = {"kind": "model", "model": yaml.safe_load(recipe_file.read_text())["teacher"]}
    path = written_as("minillm", recipe_file)
    trained(path, tmp_path / "live")
    cached = {"kind": "cached", "cache": str(tmp_path / "cache"), "live": live}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "teacher": cached}))
    trained(path, tmp_path / "cached")
    for one, other in zip(lines(tmp_path / "live"), lines(tmp_path / "cached"), strict=True):
        assert one.keys() == other.keys()
        if "loss_nats" in one:
            assert abs(one["loss_nats"] - other["loss_nats"]) < 1e-5


def test_a_cache_of_another_teacher_is_not_stretched(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`live` must be the teacher that the cache was made with; without it own text is refused."""
    cache_of(load(str(recipe_file)), tmp_path / "cache")
    other = save_student(
        new_model(tiny_config(n_embd=32), TOKENIZER, seed=8, machine=Machine()), tmp_path / "other"
    )
    path = written_as("minillm", recipe_file)
    words = yaml.safe_load(path.read_text())
    cached = {"kind": "cached", "cache": str(tmp_path / "cache")}
    for live, said in ((str(other), "made with another teacher"), (None, "written during the run")):
        words["teacher"] = cached if live is None else {**cached, "live": {"kind": "model", "model": live}}
        path.write_text(yaml.safe_dump(words))
        assert answered(["run", str(path)]) == 2
        assert said in capsys.readouterr().err


def test_f_distill_js_with_a_mixture_of_two_teachers(recipe_file: Path, tmp_path: Path) -> None:
    """Both write and are asked as one."""
    words = yaml.safe_load(recipe_file.read_text())
    other = save_student(
        new_model(tiny_config(n_embd=24), TOKENIZER, seed=5, machine=Machine()), tmp_path / "other"
    )
    mixture = {"kind": "mixture", "teachers": [words["teacher"], str(other)], "weights": [0.3, 0.7]}
    path = written_as("f_distill_js", recipe_file, teacher=mixture)
    trained(path, tmp_path / "mixed")
    (folder,) = (tmp_path / "mixed" / "state" / "teacher_text").iterdir()
    assert len((next(folder.glob("part-*.jsonl"))).read_text().splitlines()) >= 6
    told = [line for line in lines(tmp_path / "mixed") if "loss_nats" in line]
    assert all(line["loss_nats"] > 0 for line in told)


def test_gkd_with_lora_on_the_student(recipe_file: Path, tmp_path: Path) -> None:
    """Adapters are trained and merged: the saved student is a plain one that differs from the untouched."""
    words = yaml.safe_load(recipe_file.read_text())
    begun = save_student(new_model(tiny_config(), TOKENIZER, seed=1, machine=Machine()), tmp_path / "begun")
    words["student"] = {"model": str(begun), "lora_rank": 4}
    words["samples"] |= {"kind": "student", "on_policy": 0.5, **SHORT}
    words["divergence"] = {"kind": "jensen_shannon", "beta": 0.5}
    words["training"]["gradient_checkpointing"] = True
    recipe_file.write_text(yaml.safe_dump(words))
    found = trained(recipe_file, tmp_path / "lora")
    before = load_file(begun / "model.safetensors")
    assert found.keys() == before.keys()
    changed = {name for name in found if not torch.equal(found[name], before[name])}
    assert changed
    assert all("attn" in name or "mlp" in name for name in changed)
    assert all(name.endswith("weight") for name in changed)
    assert load_model(tmp_path / "lora" / "student", machine=Machine()).model.config.model_type == "gpt2"


@pytest.mark.long
def test_a_killed_run_with_lora_ends_with_the_same_weights(recipe_file: Path, tmp_path: Path) -> None:
    """Adapters are part of the state."""
    words = yaml.safe_load(recipe_file.read_text())
    words["student"] |= {"lora_rank": 2, "lora_targets": ["c_attn"]}
    recipe_file.write_text(yaml.safe_dump(words))
    assert ends_the_same_when_killed(recipe_file, tmp_path / "killed")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora_rank": 2, "lora_targets": ["nowhere"]}, "is called nowhere"),
        ({"lora_rank": 2, "lora_targets": ["lm_head"]}, "the output layer or the embedding"),
        ({"lora_targets": ["c_attn"]}, "without `lora_rank`"),
    ],
)
def test_adapters_that_cannot_be_are_refused(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    """Status 2, before anything is written."""
    words = yaml.safe_load(recipe_file.read_text())
    words["student"] |= changes
    recipe_file.write_text(yaml.safe_dump(words))
    assert answered(["run", str(recipe_file)]) == 2
    assert said in capsys.readouterr().err
    assert not Path(words["out"]).exists()


def test_a_served_teacher_writes_and_is_kept(recipe_file: Path, teacher: Path, tmp_path: Path) -> None:
    """Text over /v1/completions, tokens by id: the rows end with the end token or at their length."""
    path = written_as("seqkd", recipe_file)
    with served(ModelTeacher(str(teacher)).open(Machine())) as url:
        words = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**words, "teacher": {"kind": "server", "url": url}}))
        trained(path, tmp_path / "served")
        again = trained(path, tmp_path / "served")
    (folder,) = (tmp_path / "served" / "state" / "teacher_text").iterdir()
    files = [file.read_text().splitlines() for file in folder.glob("part-*")]
    said = [json.loads(line) for lines_of in files for line in lines_of[1:]]
    assert said
    for row in said:
        assert 1 <= len(row["tokens"]) <= 12
        assert row["ended"] or len(row["tokens"]) == 12
    assert same(again, weights(tmp_path / "served"))


def test_a_served_teacher_cannot_write_beside_the_student(
    recipe_file: Path, teacher: Path, tmp_path: Path
) -> None:
    """Token by token it would be asked once a token: refused, and the fix says which word to change."""
    path = written_as("minillm", recipe_file)
    with served(ModelTeacher(str(teacher)).open(Machine())) as url:
        words = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**words, "teacher": {"kind": "server", "url": url}}))
        with pytest.raises(TutelageError, match="cannot write token by token") as refused:
            distil(load(str(path)))
        assert "teacher_tokens: 0" in str(refused.value.fix)
        trained(path, tmp_path / "without", "samples.teacher_tokens=0.0")
    assert any("own_reward" in line for line in lines(tmp_path / "without"))


@pytest.mark.parametrize("way", WAYS)
def test_check_measures_every_way(recipe_file: Path, way: str) -> None:
    """A step with its writing, without a folder left behind."""
    path = written_as(way, recipe_file)
    assert check(load(str(path))).numbers["step_bytes"] > 0
    assert not Path(yaml.safe_load(path.read_text())["out"]).exists()


@pytest.mark.slow
def test_text_that_collapses_stops_the_run_if_asked(tmp_path: Path) -> None:
    """ENGINE rewards no variety: with the demo's models and a high rate the student soon repeats itself."""
    words = [f"out={tmp_path / 'out'}", "training.learning_rate=3e-3", "training.logging_steps=1"]
    with pytest.raises(
        TutelageError, match=r"own text has collapsed: .* stood in their row before"
    ) as stopped:
        distil(load("engine", [*words, "samples.on_collapse=stop"]))
    assert "learning_rate" in str(stopped.value.fix)
