"""Runs in which the student writes its own text: what they must not depend on, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from small_runs import (
    close,
    ends_the_same_when_killed,
    lines,
    run_by_two,
    same,
    trained,
)

from live_servers import served
from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.recipes import load
from tutelage.run import check, distil
from tutelage.teachers import ModelTeacher

OWN = {"kind": "student", "on_policy": 0.5, "max_new_tokens": 12, "prompt_tokens": 6}


@pytest.fixture
def own(recipe_file: Path) -> Path:
    """The small recipe, half of its rows the student's, each half with a divergence of its own."""
    words = yaml.safe_load(recipe_file.read_text())
    words["samples"] |= OWN
    del words["divergence"]
    words["objective"] = [
        {"divergence": "reverse_kl", "on": "student", "weight": 0.5},
        {"divergence": "forward_kl", "on": "dataset", "weight": 0.5},
    ]
    recipe_file.write_text(yaml.safe_dump(words))
    return recipe_file


def test_how_the_text_looked_is_in_the_metrics(own: Path, tmp_path: Path) -> None:
    """Length, truncation and repetition of the student's own rows; none where it wrote nothing."""
    trained(own, tmp_path / "own")
    told = [line for line in lines(tmp_path / "own") if "loss_nats" in line]
    assert all(0 < line["own_length"] <= 12 for line in told)
    assert all(0 <= line[name] <= 1 for line in told for name in ("own_truncated", "own_repeated"))
    shared = [line["eval_own_overlap"] for line in lines(tmp_path / "own") if "eval_own_overlap" in line]
    assert len(shared) == 2
    assert all(0 <= share <= 1 for share in shared)
    trained(own, tmp_path / "none", "samples.on_policy=0.0")
    assert not any("own_length" in line for line in lines(tmp_path / "none"))


def test_without_a_share_it_is_the_data_set(recipe_file: Path, tmp_path: Path) -> None:
    """`on_policy: 0` and samples of the kind `dataset` give the same weights, bit for bit."""
    plain = trained(recipe_file, tmp_path / "plain")
    words = ["samples.kind=student", "samples.on_policy=0.0"]
    assert same(plain, trained(recipe_file, tmp_path / "none", *words))


def test_micro_batches_change_nothing(own: Path, tmp_path: Path) -> None:
    """The same rows are the student's, with the same texts, however a step is cut (law 1)."""
    whole = trained(own, tmp_path / "a")
    cut = ["training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=4"]
    assert close(whole, trained(own, tmp_path / "b", *cut))


@pytest.mark.long
def test_two_processes_train_what_one_does(own: Path, tmp_path: Path) -> None:
    """Each writes its half of the rows (law 1)."""
    alone, out = trained(own, tmp_path / "alone"), tmp_path / "two"
    changes = [f"out={out}", "training.per_device_train_batch_size=2"]
    run_by_two(own, 29523, *changes)
    assert json.loads((out / "run.json").read_text())["machine"]["processes"] == 2
    assert close(alone, load_file(out / "student" / "model.safetensors"))


@pytest.mark.long
def test_a_killed_run_writes_the_same_text_again(own: Path, tmp_path: Path) -> None:
    """SIGKILL at a random step, the same command, the same weights bit for bit (law 6)."""
    assert ends_the_same_when_killed(own, tmp_path / "killed")


def test_a_served_teacher_is_asked_about_text_that_nobody_had_before(
    own: Path, teacher: Path, tmp_path: Path
) -> None:
    """Step by step the losses of the teacher in process, to a millionth of a nat."""
    trained(own, tmp_path / "local")
    with served(ModelTeacher(str(teacher)).open(Machine())) as url:
        words = yaml.safe_load(own.read_text())
        own.write_text(yaml.safe_dump({**words, "teacher": {"kind": "server", "url": url}}))
        trained(own, tmp_path / "served")
    for one, other in zip(lines(tmp_path / "local"), lines(tmp_path / "served"), strict=True):
        assert one.get("own_length") == other.get("own_length")
        if "loss_nats" in one:
            assert abs(one["loss_nats"] - other["loss_nats"]) < 1e-6


def test_check_measures_a_step_with_its_writing(own: Path) -> None:
    """The memory of a step is that of real rows of the student's."""
    found = check(load(str(own)))
    assert found.numbers["step_bytes"] > 0


def test_rows_that_would_not_fit_are_refused_before_anything_is_written(own: Path, tmp_path: Path) -> None:
    """Prompt and continuation together are longer than the positions of a model."""
    with pytest.raises(TutelageError, match="506 tokens") as refused:
        distil(load(str(own), ["samples.max_new_tokens=500"]))
    assert "max_new_tokens" in str(refused.value.fix)
    assert not (tmp_path / "run").exists()


def test_no_cache_has_text_that_is_written_during_the_run(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither can one be built for it: status 2, the line of the samples, nothing written."""
    assert answered(["cache", "build", str(own), "--out", str(tmp_path / "cache")]) == 2
    assert "written during the run" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
