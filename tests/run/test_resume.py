"""A run that is killed goes on to the same weights, bit for bit."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from small_runs import COMMAND, ROOT, environment, killed_after, lines, same, tiny_config, weights

from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student
from tutelage.recipes import Recipe, load
from tutelage.run import distil


@pytest.fixture
def dolly(tmp_path: Path) -> Path:
    """Distillation on dolly with GPT-2's tokenizer (50,257 tokens): prompts, dropout, accumulation."""
    tokenizer = ROOT / "data" / "tokenizers" / "gpt2"
    teacher = new_model(tiny_config(n_embd=24), tokenizer, seed=3, machine=Machine())
    save_student(teacher, tmp_path / "teacher")
    words = {
        "out": str(tmp_path / "whole"),
        "seed": 5,
        "student": {"config": tiny_config(resid_pdrop=0.1, n_embd=8), "tokenizer": str(tokenizer)},
        "teacher": str(tmp_path / "teacher"),
        "objective": [
            {"divergence": "jensen_shannon", "weight": 0.9},
            {"divergence": "cross_entropy", "weight": 0.1},
        ],
        "samples": {
            "kind": "dataset",
            "data": str(ROOT / "data" / "dolly" / "train.jsonl.gz"),
            "prompt": "{instruction}\n{input}\n",
            "completion": "{output}",
            "max_rows": 64,
            "max_length": 48,
        },
        "training": {
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "max_steps": 14,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 2,
            "weight_decay": 0.1,
            "logging_steps": 1,
            "save_steps": 3,
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(words))
    return path


@pytest.mark.slow
def test_a_run_killed_at_three_random_steps_ends_with_the_weights_of_an_uninterrupted_one(
    dolly: Path, tmp_path: Path
) -> None:
    """SIGKILL at any moment, the same command again, the same weights (law 6)."""
    subprocess.run([*COMMAND, str(dolly)], env=environment(), check=True, capture_output=True)
    out = f"out={tmp_path / 'killed'}"
    steps = sorted(random.Random(time.time_ns()).sample(range(1, 14), 3))
    kills = [killed_after(dolly, step, out) for step in steps]
    assert kills[0], f"was not killed at {steps}"
    subprocess.run([*COMMAND, str(dolly), out], env=environment(), check=True, capture_output=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed")), f"killed at {steps}"
    whole, killed = (lines(tmp_path / name) for name in ("whole", "killed"))
    assert [line["step"] for line in killed] == [line["step"] for line in whole]
    assert [line["loss_nats"] for line in killed if "loss_nats" in line] == [
        line["loss_nats"] for line in whole if "loss_nats" in line
    ]


def test_a_finished_run_is_not_run_again(recipe: Recipe) -> None:
    """The second call leaves student and metrics as they are."""
    out = distil(recipe)
    before = {path: path.read_bytes() for path in (out / "student").iterdir()}
    written = (out / "metrics.jsonl").stat().st_mtime_ns
    distil(recipe)
    assert {path: path.read_bytes() for path in (out / "student").iterdir()} == before
    assert (out / "metrics.jsonl").stat().st_mtime_ns == written


def test_another_recipe_in_the_same_folder_is_refused_and_shows_the_difference(
    recipe: Recipe, recipe_file: Path
) -> None:
    """Nothing that existed is overwritten."""
    out = distil(recipe)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(TutelageError, match=r"max_steps: 9 here, 6 there"):
        distil(load(str(recipe_file), ["training.max_steps=9"]))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_with_somebody_elses_files_is_refused(recipe: Recipe) -> None:
    """A run does not mix its files with others."""
    out = Path(recipe.out)
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    with pytest.raises(TutelageError, match="holds no run"):
        distil(recipe)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
