"""Words of `training:` that must do what they say, and runs that must stop."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import lines

from tutelage.errors import TutelageError
from tutelage.recipes import load
from tutelage.run import distil


def run(recipe_file: Path, out: Path, *changes: str) -> dict[str, torch.Tensor]:
    distil(load(str(recipe_file), [f"out={out}", *changes]))
    return load_file(out / "student" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(one[name], other[name], rtol=1e-4, atol=1e-5) for name in one)


def test_gradient_checkpointing_changes_nothing_but_memory(recipe_file: Path, tmp_path: Path) -> None:
    """Activations are computed twice, to the same end."""
    plain = run(recipe_file, tmp_path / "plain")
    assert same(plain, run(recipe_file, tmp_path / "twice", "training.gradient_checkpointing=true"))


def test_bf16_trains_close_to_float32_and_saves_float32(recipe_file: Path, tmp_path: Path) -> None:
    """Mixed precision rounds the steps; the trained weights stay in float32."""
    plain, half = (
        run(recipe_file, tmp_path / "plain"),
        run(recipe_file, tmp_path / "half", "training.bf16=true"),
    )
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    ends = [lines(tmp_path / name)[0]["loss_nats"] for name in ("plain", "half")]
    assert ends[0] == pytest.approx(ends[1], rel=0.05)
    assert not all(torch.equal(plain[name], half[name]) for name in plain)


def test_the_learning_rate_follows_its_schedule(recipe_file: Path, tmp_path: Path) -> None:
    """Two steps up, then a cosine down to nearly nothing."""
    words = ["training.lr_scheduler_type=cosine", "training.warmup_steps=2"]
    run(recipe_file, tmp_path / "out", *words)
    rates = [line["learning_rate"] for line in lines(tmp_path / "out") if "learning_rate" in line]
    assert rates[0] == 0
    assert rates[2] == pytest.approx(1e-3)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_long_gradient_is_shortened(recipe_file: Path, tmp_path: Path) -> None:
    """With a tiny `max_grad_norm` the first AdamW step is unchanged in sign but the logged norm is whole."""
    run(recipe_file, tmp_path / "out", "training.max_grad_norm=0.001")
    assert all(line["gradient_norm"] > 0.001 for line in lines(tmp_path / "out") if "gradient_norm" in line)


def test_trackers_are_told_the_same_numbers(recipe_file: Path, tmp_path: Path) -> None:
    """TensorBoard, through accelerate."""
    run(recipe_file, tmp_path / "out", "training.report_to=tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next(path.parent for path in (tmp_path / "out").rglob("events.out.tfevents*"))
    events = EventAccumulator(str(folder))
    events.Reload()
    logged = [line["loss_nats"] for line in lines(tmp_path / "out") if "loss_nats" in line]
    told = [event.value for event in events.Scalars("student/seed-0/loss_nats")]
    assert told == pytest.approx(logged, rel=1e-5)


def test_a_loss_that_is_no_number_stops_the_run_before_the_weights_are_touched(
    recipe_file: Path, tmp_path: Path
) -> None:
    """It says at which step, and what to do; the last good state is there."""
    out = tmp_path / "out"
    with pytest.raises(TutelageError, match=r"step \d+: the loss is"):
        run(
            recipe_file,
            out,
            "training.learning_rate=1e30",
            "training.save_steps=1",
            "training.max_grad_norm=0",
        )
    assert not (out / "student").exists()
    for path in (out / "state").glob("step-*/weights.safetensors"):
        assert path.stat().st_size > 0


def test_a_study_compares_its_arms_with_the_control(recipe_file: Path, tmp_path: Path) -> None:
    """Arms x seeds, each in its folder; differences are paired by seed and have intervals."""
    out = tmp_path / "study"
    words = [
        "seeds=[0, 1]",
        "arms={sft: {divergence: cross_entropy}, kd: {divergence: reverse_kl}}",
        "control=sft",
    ]
    distil(load(str(recipe_file), [f"out={out}", *words]))
    found = json.loads((out / "results.json").read_text())
    assert [arm["name"] for arm in found["arms"]] == ["untouched", "sft", "kd"]
    for arm in ("sft", "kd"):
        for seed in (0, 1):
            assert (out / "arms" / arm / f"seed-{seed}" / "student" / "model.safetensors").exists()
    numbers = {arm["name"]: arm["numbers"]["student_nats"] for arm in found["arms"]}
    gap = next(d for d in found["differences"] if d["arm"] == "kd" and d["metric"] == "student_nats")
    mean = sum(a - b for a, b in zip(numbers["kd"], numbers["sft"], strict=True)) / 2
    assert gap["mean"] == pytest.approx(mean)
    assert gap["low"] < gap["mean"] < gap["high"]
    assert found["noise_floor"]["student_nats"] > 0
    texts = json.loads((out / "texts.json").read_text())
    assert [text["writer"] for text in texts[0]["texts"]] == ["teacher", "untouched", "sft", "kd"]
    drawn = json.loads((out / "heat.json").read_text())
    assert [(one["arm"], one["seed"]) for one in drawn] == [("sft", 0), ("kd", 0)]
    for one in drawn:
        counted = [token["counted"] for token in one["tokens"]]
        assert counted == ["nats" in token for token in one["tokens"]]
    assert drawn[0]["tokens"] != drawn[1]["tokens"]


def test_rows_longer_than_a_models_positions_are_refused_before_anything_is_written(
    recipe_file: Path, tmp_path: Path
) -> None:
    """The models here have 128 positions; the message says so, and the folder is not taken."""
    with pytest.raises(TutelageError, match="which has 128 positions"):
        run(recipe_file, tmp_path / "out", "samples.max_length=200")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ('samples.prompt="{nothing}"', r"nothing"),
        ("samples.max_length=200", r"which has 128 positions"),
    ],
)
def test_what_is_found_while_opening_names_the_place_in_the_recipe(
    recipe_file: Path, tmp_path: Path, word: str, told: str
) -> None:
    """The recipe's line, or the word on the command line, stands in front."""
    with pytest.raises(TutelageError) as caught:
        run(recipe_file, tmp_path / "out", word)
    assert re.search(told, caught.value.problem)
    assert caught.value.problem.startswith((str(recipe_file), recipe_file.name, word.partition("=")[0]))


def test_a_tracker_that_is_not_installed_is_named(recipe_file: Path, tmp_path: Path) -> None:
    """Asked for and left out in silence would be a flag that is ignored."""
    with pytest.raises(TutelageError, match="'dvclive' is not installed"):
        run(recipe_file, tmp_path / "out", "training.report_to=dvclive")
