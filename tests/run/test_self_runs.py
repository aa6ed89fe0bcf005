"""Runs whose teacher is the student itself: kills, processes, micro-batches, own text, every verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
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

from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student
from tutelage.recipes import load
from tutelage.run import check, distil

GOLD = {"divergence": "cross_entropy", "against": "gold"}
BESIDE_GOLD = [GOLD, {"divergence": "forward_kl", "weight": 0.5}]
KINDS: dict[str, dict[str, Any]] = {
    "initial": {"of": "initial"},
    "average": {"decay": 0.6},
    "snapshot": {"of": "snapshot", "every": 2},
    "prompted": {"of": "current", "prompt": "A sad story. "},
}
ADAPTERS = {"lora_rank": 2, "lora_targets": ["c_attn"]}


def written_as(recipe_file: Path, kind: str, **changes: Any) -> Path:
    """The small recipe with the student itself as teacher, beside gold tokens."""
    words = yaml.safe_load(recipe_file.read_text())
    del words["divergence"]
    words |= {"teacher": {"kind": "self", **KINDS[kind]}, "objective": BESIDE_GOLD}
    words["student"] |= changes.pop("student", {})
    words["training"] |= {"save_steps": 1, "learning_rate": 1e-2}
    recipe_file.write_text(yaml.safe_dump(words | changes))
    return recipe_file


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_change_nothing(recipe_file: Path, tmp_path: Path, kind: str) -> None:
    """A teacher moves once a step, however the step is cut (law 1)."""
    path = written_as(recipe_file, kind)
    whole = trained(path, tmp_path / "a")
    cut = ["training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=4"]
    assert close(whole, trained(path, tmp_path / "b", *cut))


def test_the_teacher_takes_part_in_what_is_learnt(recipe_file: Path, tmp_path: Path) -> None:
    """Each kind ends with other weights than gold tokens alone, and than the other kinds."""
    ends = [trained(written_as(recipe_file, "initial", objective=[GOLD]), tmp_path / "gold")]
    for kind in KINDS:
        words = yaml.safe_load(recipe_file.read_text())
        words |= {"teacher": {"kind": "self", **KINDS[kind]}, "objective": BESIDE_GOLD}
        recipe_file.write_text(yaml.safe_dump(words))
        ends.append(trained(recipe_file, tmp_path / kind))
    assert not any(same(one, other) for i, one in enumerate(ends) for other in ends[:i])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "student"),
    [
        ("average", {}),
        ("initial", ADAPTERS),
        pytest.param("initial", {}, marks=pytest.mark.long),
        pytest.param("snapshot", {}, marks=pytest.mark.long),
        pytest.param("average", ADAPTERS, marks=pytest.mark.long),
    ],
)
def test_a_killed_run_ends_with_the_same_weights(
    recipe_file: Path, tmp_path: Path, kind: str, student: dict[str, Any]
) -> None:
    """What is averaged or kept is part of the state; what was before training is made again (law 6)."""
    assert ends_the_same_when_killed(written_as(recipe_file, kind, student=student), tmp_path / "killed")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["average"])
def test_two_processes_train_what_one_does(recipe_file: Path, tmp_path: Path, kind: str) -> None:
    """Each keeps the same average (law 1)."""
    path = written_as(recipe_file, kind)
    alone, out = trained(path, tmp_path / "alone"), tmp_path / "two"
    run_by_two(path, 29551, f"out={out}", "training.per_device_train_batch_size=2")
    assert close(alone, load_file(out / "student" / "model.safetensors"))


def test_a_student_with_adapters_is_measured_against_what_it_was(recipe_file: Path, tmp_path: Path) -> None:
    """Before they are merged: afterwards the network without them is gone."""
    begun = save_student(new_model(tiny_config(), TOKENIZER, seed=1, machine=Machine()), tmp_path / "begun")
    path = written_as(recipe_file, "initial")
    words = yaml.safe_load(path.read_text())
    words["student"] = {"model": str(begun), "lora_rank": 4}
    words["training"]["gradient_checkpointing"] = True
    path.write_text(yaml.safe_dump(words))
    trained(path, tmp_path / "itself")
    path.write_text(yaml.safe_dump(words | {"teacher": str(begun)}))
    trained(path, tmp_path / "checkpoint")
    for one, other in zip(lines(tmp_path / "itself"), lines(tmp_path / "checkpoint"), strict=True):
        for name in one.keys() & {"loss_nats", "eval_forward_kl_nats", "eval_teacher_nats"}:
            assert one[name] == pytest.approx(other[name], abs=1e-5)
    found = [
        json.loads((tmp_path / name / "measured.json").read_text())["numbers"]
        for name in ("itself", "checkpoint")
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[0]["forward_kl_nats"] > 1e-4
    assert close(weights(tmp_path / "itself"), weights(tmp_path / "checkpoint"))


def test_a_prompt_on_the_students_own_text(recipe_file: Path, tmp_path: Path) -> None:
    """Context distillation on-policy: the student comes nearer to itself with the prompt."""
    path = written_as(recipe_file, "initial")
    words = yaml.safe_load(path.read_text())
    words["teacher"]["prompt"] = "A sad story about a dog. "
    words["objective"] = [{"divergence": "reverse_kl", "on": "student"}]
    words["samples"] |= {"kind": "student", "max_new_tokens": 12, "prompt_tokens": 6}
    words["training"] |= {"max_steps": 12, "learning_rate": 3e-3, "eval_steps": 12}
    path.write_text(yaml.safe_dump(words))
    trained(path, tmp_path / "own")
    told = [line["loss_nats"] for line in lines(tmp_path / "own") if "loss_nats" in line]
    assert sum(told[-3:]) < sum(told[:3])


def test_every_row_with_a_hint_of_its_own(recipe_file: Path, tmp_path: Path) -> None:
    """A column of the data that the teacher reads; one that is missing is named before anything is learnt."""
    data = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"What is {n}?", "completion": f" It is {n}.", "hint": f"{n}!"} for n in range(20)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = written_as(recipe_file, "initial", objective=[{"divergence": "forward_kl"}])
    words = yaml.safe_load(path.read_text())
    words["teacher"]["prompt_column"] = "hint"
    words["samples"] = {"kind": "dataset", "data": str(data)}
    words["evaluation"] |= {"data": str(data)}
    path.write_text(yaml.safe_dump(words))
    trained(path, tmp_path / "hinted")
    assert all(line["loss_nats"] > 0 for line in lines(tmp_path / "hinted") if "loss_nats" in line)
    words["teacher"]["prompt_column"] = "answer"
    path.write_text(yaml.safe_dump(words))
    with pytest.raises(TutelageError, match="no column 'answer' to read") as refused:
        distil(load(str(path)))
    assert "completion, hint or prompt" in refused.value.fix


def test_a_prompt_that_leaves_no_room_is_refused_before_the_run(
    recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and nothing is written."""
    path = written_as(recipe_file, "initial")
    words = yaml.safe_load(path.read_text())
    words["teacher"]["prompt"] = "word " * 100
    path.write_text(yaml.safe_dump(words))
    assert answered(["run", str(path)]) == 2
    assert "with the teacher's prompt a row has" in capsys.readouterr().err
    assert not Path(words["out"]).exists()


def test_check_asks_what_leads_a_teacher_made_of_the_student(recipe_file: Path) -> None:
    """Beside other terms it is no reason not to start; alone it has nothing to add."""
    path = written_as(recipe_file, "average")
    beside = check(load(str(path)))
    assert "cold start" in beside.verdict or "is left to cross entropy" in beside.why
    assert "0.6 of it kept" in beside.findings["teacher"]
    words = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(words | {"objective": [{"divergence": "forward_kl"}]}))
    assert check(load(str(path))).verdict == "this teacher adds nothing here"


@pytest.mark.parametrize("verb", [["cache", "build"], ["serve"]])
def test_it_is_neither_cached_nor_served(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: list[str]
) -> None:
    """It says nothing without the student of a run; status 2 and the reason."""
    words = [*verb, str(written_as(recipe_file, "average"))]
    words += ["--out", str(tmp_path / "cache")] if verb[0] == "cache" else []
    assert answered(words) == 2
    assert "it is made of the student of a run" in capsys.readouterr().err
