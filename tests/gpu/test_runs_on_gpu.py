"""Whole runs on a GPU, as a user starts them: on the student's own text, killed, from a cache, reported."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tutelage.recipes import load

sys.path.insert(0, str(Path(__file__).parents[1] / "run"))
from small_runs import COMMAND, environment, killed_after, lines, same, weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]
SHORT = [
    "seeds=[0]",
    "samples.max_new_tokens=16",
    "training.max_steps=4",
    "training.logging_steps=1",
    "training.eval_steps=2",
    "training.save_steps=2",
    "evaluation.max_rows=4",
    "evaluation.max_new_tokens=8",
]


def told(*words: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "tutelage", *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("bf16", ["false", "true"])
def test_the_students_own_text(bf16: str, tmp_path: Path) -> None:
    """The recipe of the package, cut short: both arms are trained, measured and reported."""
    out = tmp_path / "gkd"
    told("run", "gkd", f"out={out}", f"training.bf16={bf16}", *SHORT)
    record = json.loads((out / "run.json").read_text())
    assert record["machine"]["device"] == torch.cuda.get_device_name()
    assert "not_compiled" not in record
    results = json.loads((out / "results.json").read_text())
    assert results
    assert (out / "report.html").stat().st_size > 10_000
    for metrics in out.rglob("metrics.jsonl"):
        losses = [line["loss_nats"] for line in lines(metrics.parent) if "loss_nats" in line]
        assert len(losses) == 4
        assert all(map(math.isfinite, losses))


def single(folder: Path, **changes: Any) -> Path:
    """A single run of the demo's models on stories, in bfloat16."""
    words = {
        "out": str(folder / "whole"),
        "student": {"model": "package:demo/student"},
        "teacher": {"kind": "model", "model": "package:demo/teacher"},
        "objective": [
            {"divergence": "jensen_shannon", "weight": 0.9},
            {"divergence": "cross_entropy", "weight": 0.1},
        ],
        "samples": {
            "kind": "dataset",
            "data": "package:demo/data/train.txt.gz",
            "max_rows": 64,
            "max_length": 96,
            "long": "cut",
        },
        "training": {
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "max_steps": 8,
            "logging_steps": 1,
            "save_steps": 2,
            "bf16": True,
        },
        **changes,
    }
    path = folder / f"{Path(words['out']).name}.yaml"
    path.write_text(yaml.safe_dump(words))
    return path


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """The same steps, and to the bit the weights of a run that was left in peace (law 6)."""
    recipe = single(tmp_path)
    subprocess.run([*COMMAND, str(recipe)], env=environment(), check=True, capture_output=True)
    out = f"out={tmp_path / 'killed'}"
    assert killed_after(recipe, 3, out)
    subprocess.run([*COMMAND, str(recipe), out], env=environment(), check=True, capture_output=True)
    whole, killed = (lines(tmp_path / name) for name in ("whole", "killed"))
    assert [line["step"] for line in killed] == [line["step"] for line in whole]
    for one, other in zip(whole, killed, strict=True):
        if "loss_nats" in one:
            assert one["loss_nats"] == pytest.approx(other["loss_nats"], rel=1e-3)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_cache_is_built_verified_and_trained_from(tmp_path: Path) -> None:
    """Its losses are those of the live teacher to the rounding of what is kept."""
    live, cache = single(tmp_path), tmp_path / "cache"
    told("run", str(live))
    told("cache", "build", str(live), "--out", str(cache))
    told("cache", "verify", str(cache))
    stored = single(tmp_path, out=str(tmp_path / "stored"), teacher={"kind": "cached", "cache": str(cache)})
    assert load(str(stored)).teacher is not None
    told("run", str(stored))
    losses = [
        [line["loss_nats"] for line in lines(tmp_path / name) if "loss_nats" in line]
        for name in ("whole", "stored")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
