"""TAID in runs: the schedule sees the loss of whole steps, is kept with the state, and composes."""

from __future__ import annotations

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
)

from small_caches import cache_of
from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student
from tutelage.recipes import load
from tutelage.run import check
from tutelage.schedules import Ramp, Schedule
from tutelage.teachers import InterpolatedTeacher, ModelTeacher

EAGER = {"t_start": 0.2, "step_size": 0.9, "momentum": 0.5}
"""So far ahead of the ramp that six steps of feedback can be told from none."""


def walking(recipe_file: Path, **options: Any) -> Path:
    """The small recipe with its teacher at the end of a way."""
    words = yaml.safe_load(recipe_file.read_text())
    words["teacher"] = {"kind": "interpolated", "teacher": words["teacher"], **options}
    words["training"]["save_steps"] = 1
    recipe_file.write_text(yaml.safe_dump(words))
    return recipe_file


def steps(folder: Path) -> list[dict[str, Any]]:
    """The lines of single steps."""
    return [line for line in lines(folder) if "loss_nats" in line]


@pytest.mark.parametrize(("drive", "watched"), [("cross_entropy", "cross_entropy"), ("kl", "forward_kl")])
def test_the_schedule_follows_the_loss_of_whole_steps(
    recipe_file: Path, tmp_path: Path, drive: str, watched: str
) -> None:
    """Its trace in metrics.jsonl is the one that the watched losses give, held-out text in between or not."""
    trained(walking(recipe_file, drive=drive, **EAGER), tmp_path / "run")
    schedule = Schedule(Ramp(start=0.2, steps=6, step_size=0.9, momentum=0.5))
    found = steps(tmp_path / "run")
    for step, line in enumerate(found):
        assert line["teacher_t"] == schedule.t
        assert line["teacher_momentum"] == schedule.momentum
        schedule.step(line[f"watched_{watched}_nats"], step)
    if drive == "cross_entropy":
        assert found[-1]["teacher_t"] > found[-1]["teacher_ramp"] + 0.05
    else:
        assert found[2]["watched_forward_kl_nats"] == pytest.approx(found[2]["loss_nats"], rel=1e-6)


def test_micro_batches_change_nothing(recipe_file: Path, tmp_path: Path) -> None:
    """Neither the weights nor, beyond rounding, the way of t (law 1)."""
    path = walking(recipe_file, **EAGER)
    whole = trained(path, tmp_path / "a")
    cut = ["training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=4"]
    assert close(whole, trained(path, tmp_path / "b", *cut))
    for one, other in zip(steps(tmp_path / "a"), steps(tmp_path / "b"), strict=True):
        assert one["teacher_t"] == pytest.approx(other["teacher_t"], abs=1e-6)


@pytest.mark.long
def test_two_processes_train_what_one_does(recipe_file: Path, tmp_path: Path) -> None:
    """The loss is summed up over both before the schedule sees it (law 1)."""
    path = walking(recipe_file, **EAGER)
    alone, out = trained(path, tmp_path / "alone"), tmp_path / "two"
    run_by_two(path, 29561, f"out={out}", "training.per_device_train_batch_size=2")
    assert close(alone, load_file(out / "student" / "model.safetensors"))
    for one, other in zip(steps(tmp_path / "alone"), steps(out), strict=True):
        assert one["teacher_t"] == pytest.approx(other["teacher_t"], abs=1e-6)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(recipe_file: Path, tmp_path: Path) -> None:
    """The schedule's state is in the checkpoint (law 6)."""
    assert ends_the_same_when_killed(walking(recipe_file, **EAGER), tmp_path / "killed")


def test_at_the_end_of_the_way_it_is_the_plain_teacher(recipe_file: Path, tmp_path: Path) -> None:
    """Bit for bit (law 4)."""
    plain = trained(recipe_file, tmp_path / "plain")
    assert same(plain, trained(walking(recipe_file, schedule="fixed", t_start=1.0), tmp_path / "end"))


@pytest.mark.parametrize("path", ["logits", "probabilities", 0.3])
def test_at_its_beginning_there_is_nothing_to_learn(recipe_file: Path, tmp_path: Path, path: Any) -> None:
    """The student is its own teacher: no loss and no gradient."""
    trained(walking(recipe_file, schedule="fixed", t_start=0.0, path=path), tmp_path / "start")
    for line in steps(tmp_path / "start"):
        assert abs(line["loss_nats"]) < 1e-6
        assert line["gradient_norm"] < 1e-5


def test_students_are_measured_against_the_end(recipe_file: Path, tmp_path: Path) -> None:
    """`tutelage check` gives the numbers of the plain teacher, to the last digit."""
    plain = check(load(str(recipe_file)))
    between = check(load(str(walking(recipe_file, **EAGER))))
    for name in ("teacher_nats", "forward_kl_nats", "agreement"):
        assert between.numbers[name] == plain.numbers[name]
    assert "between the student as it is and its end" in between.findings["teacher"]


def test_from_a_cache_it_is_the_one_from_memory(recipe_file: Path, tmp_path: Path) -> None:
    """A cache that was written once serves every t; float32 hidden states give the same way."""
    cache_of(load(str(recipe_file)), tmp_path / "cache", precision="float32")
    path = walking(recipe_file, **EAGER)
    live = trained(path, tmp_path / "live")
    words = yaml.safe_load(path.read_text())
    words["teacher"]["teacher"] = {"kind": "cached", "cache": str(tmp_path / "cache")}
    path.write_text(yaml.safe_dump(words))
    assert close(live, trained(path, tmp_path / "cached"))


def test_from_k_tokens_and_the_rest(recipe_file: Path, tmp_path: Path) -> None:
    """The student is brought onto the same columns at every t; the loss is finite and the way is walked."""
    cache_of(load(str(recipe_file)), tmp_path / "cache", "top_k", k=8)
    path = walking(recipe_file, **EAGER)
    words = yaml.safe_load(path.read_text())
    words["teacher"]["teacher"] = {"kind": "cached", "cache": str(tmp_path / "cache")}
    path.write_text(yaml.safe_dump(words))
    trained(path, tmp_path / "cut")
    found = steps(tmp_path / "cut")
    assert all(line["loss_nats"] > 0 for line in found)
    assert found[-1]["teacher_t"] > found[0]["teacher_t"]
    assert found[-1]["teacher_skipped"] == 0


def test_drawn_tokens_cannot_be_interpolated(recipe_file: Path, tmp_path: Path) -> None:
    """The logs of an unbiased estimate are biased: refused before anything is written."""
    cache_of(load(str(recipe_file)), tmp_path / "cache", "sampled")
    path = walking(recipe_file, **EAGER)
    words = yaml.safe_load(path.read_text())
    words["teacher"]["teacher"] = {"kind": "cached", "cache": str(tmp_path / "cache")}
    path.write_text(yaml.safe_dump(words))
    with pytest.raises(TutelageError, match="only some tokens are known"):
        trained(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_with_reverse_kl_on_the_students_own_text(recipe_file: Path, tmp_path: Path) -> None:
    """Whose text it is and where the teacher stands are two words; feedback is about own rows alone."""
    path = walking(recipe_file, **EAGER)
    words = yaml.safe_load(path.read_text())
    del words["divergence"]
    words["objective"] = [
        {"divergence": "reverse_kl", "on": "student"},
        {"divergence": "cross_entropy", "against": "gold", "on": "dataset"},
    ]
    words["samples"] |= {"kind": "student", "on_policy": 0.5, "max_new_tokens": 12, "prompt_tokens": 6}
    path.write_text(yaml.safe_dump(words))
    trained(path, tmp_path / "own")
    found = steps(tmp_path / "own")
    assert found[-1]["teacher_t"] > found[-1]["teacher_ramp"]
    assert all(line["watched_cross_entropy_nats"] > 0 for line in found)


def test_in_a_mixture_and_from_another_start(recipe_file: Path, tmp_path: Path) -> None:
    """A mixture of a plain teacher and one on its way from a frozen model; both ways are kept apart."""
    words = yaml.safe_load(recipe_file.read_text())
    other = str(
        save_student(
            new_model(tiny_config(n_embd=24), TOKENIZER, seed=5, machine=Machine()), tmp_path / "other"
        )
    )
    plain = words["teacher"]
    words["teacher"] = {
        "kind": "mixture",
        "teachers": [
            plain,
            {"kind": "interpolated", "teacher": plain, "start": other, "schedule": "linear"},
            {"kind": "interpolated", "teacher": other, "schedule": "exponential", "step_size": 0.9},
        ],
        "weights": [1, 2, 1],
    }
    words["divergence"] = {"kind": "jensen_shannon", "beta": 0.4}
    recipe_file.write_text(yaml.safe_dump(words))
    trained(recipe_file, tmp_path / "run")
    found = steps(tmp_path / "run")
    assert [line["teacher_t"] for line in found] == [line["teacher_ramp"] for line in found]
    assert found[-1]["teacher_t_2"] > found[-1]["teacher_ramp_2"]


def test_the_end_of_the_way_may_be_a_delta(recipe_file: Path, teacher: Path, tmp_path: Path) -> None:
    """What a fine-tuning taught, approached from the student as it is; at the end it is the plain delta."""
    base = save_student(
        new_model(tiny_config(n_embd=32), TOKENIZER, seed=8, machine=Machine()), tmp_path / "base"
    )
    delta = {"kind": "delta", "aligned": str(teacher), "base": str(base)}
    words = yaml.safe_load(recipe_file.read_text())
    recipe_file.write_text(yaml.safe_dump({**words, "teacher": delta}))
    plain = trained(recipe_file, tmp_path / "plain")
    recipe_file.write_text(yaml.safe_dump(words | {"teacher": delta}))
    path = walking(recipe_file, **EAGER)
    trained(path, tmp_path / "way")
    found = steps(tmp_path / "way")
    assert found[-1]["teacher_t"] > found[-1]["teacher_ramp"]
    assert found[0]["loss_nats"] > 0
    ended = trained(path, tmp_path / "ended", f"teacher={written(delta)}")
    assert same(plain, ended)


def written(delta: dict[str, Any]) -> str:
    """A delta at the end of a way that is already walked, as the command line says it."""
    inner = ", ".join(f"{name}: {value}" for name, value in delta.items())
    return f"{{kind: interpolated, schedule: fixed, t_start: 1.0, teacher: {{{inner}}}}}"


def test_the_report_draws_the_way(recipe_file: Path, tmp_path: Path) -> None:
    """With the distance to the linear ramp beside it."""
    path = walking(recipe_file, **EAGER)
    assert answered(["run", str(path), f"out={tmp_path / 'run'}"]) == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Share of the teacher in its target" in page
    assert "ahead of its linear ramp" in page


def test_what_moves_is_neither_cached_nor_served(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is given and status 2."""
    path = walking(recipe_file, **EAGER)
    assert answered(["cache", "build", str(path), "--out", str(tmp_path / "cache")]) == 2
    assert "cannot be cached: it is made of the student of a run" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_conformance_measures_what_it_can(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Micro-batches, padding, order and chunks change nothing; caches and servers are not asked."""
    path = walking(recipe_file, **EAGER)
    assert answered(["check", str(path), "--conformance"]) == 0
    said = capsys.readouterr().out
    assert "cannot be cached" in said
    assert "cannot be served" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"schedule": "linear", "momentum": 0.5}, "does not look at it"),
        ({"schedule": "fixed", "t_end": 0.9}, "does not look at it"),
        ({"step_size": 0.1, "step_size_per_run": 8.0}, "and `step_size_per_run: 8.0`"),
        ({"t_start": 0.7, "t_end": 0.6}, "t_end is 0.6"),
        ({"t_start": 1.2}, "t_start"),
    ],
)
def test_options_that_cannot_be_are_refused(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], said: str
) -> None:
    """Before anything is written, with the line of the recipe."""
    path = walking(recipe_file, **options)
    assert answered(["run", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert not Path(yaml.safe_load(path.read_text())["out"]).exists()


def test_a_schedule_whose_feedback_is_dead_says_so(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the paper's step size six steps are too few; with the paper's product they are not."""
    trained(walking(recipe_file), tmp_path / "short")
    assert "does not get ahead of the linear ramp" in capsys.readouterr().err
    alone, linear = steps(tmp_path / "short"), Ramp("linear", steps=6)
    assert [line["teacher_t"] for line in alone[1:]] == [linear.floor(step) for step in range(5)]
    recipe = load(str(recipe_file), ["teacher.step_size_per_run=8"])
    assert InterpolatedTeacher(ModelTeacher("x"), **ramp_options(recipe.teacher))._ramp(6).inert is False


def ramp_options(word: Any) -> dict[str, Any]:
    """The options of a word but its members."""
    return {name: value for name, value in word.options.items() if name not in ("teacher", "start")}


def test_a_loss_that_is_infinite_is_skipped_and_said(
    teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The schedule follows its ramp, and a line for people comes once."""
    found = InterpolatedTeacher(ModelTeacher(str(teacher)), **EAGER)
    found.__dict__["clock"] = Schedule(found._ramp(6))
    assert found.stepped(0, {"cross_entropy": 2.0}) is None
    line = found.stepped(1, {"cross_entropy": torch.inf})
    assert line is not None
    assert "step 2" in line
    assert found.stepped(2, {"cross_entropy": torch.inf}) is None
    assert found.noted["teacher_skipped"] == 2
