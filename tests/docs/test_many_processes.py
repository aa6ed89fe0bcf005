"""What docs/many-processes.md says: two processes do what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
SILENT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path):
    """Rows of 2 x 2 and of 1 x 4 are the same rows and give the same weights, without dropout."""
    recipe = {
        "out": "one",
        "student": {
            "config": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 48}
            | SILENT,
            "tokenizer": "package:demo/teacher",
        },
        "teacher": "package:demo/teacher",
        "divergence": "jensen_shannon",
        "samples": {
            "kind": "dataset",
            "data": "package:demo/data/train.txt.gz",
            "max_length": 48,
            "long": "cut",
        },
        "training": {"max_steps": 4, "per_device_train_batch_size": 4, "logging_steps": 1, "save_steps": 2},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["-m", "tutelage", "run", "recipe.yaml"]
    two = ["out=two", "training.per_device_train_batch_size=2"]
    for out, command in (("one", [sys.executable, *words]), ("two", [*TORCHRUN, *words, *two])):
        ended = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == f"{out}\n", "only the first process names the folder"
    assert json.loads((tmp_path / "two" / "run.json").read_text())["machine"]["processes"] == 2
    one, other = (load_file(tmp_path / name / "student" / "model.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        # Sums are taken in another order; AdamW makes whole steps out of a tiny gradient's last digits.
        torch.testing.assert_close(other[name], weight, rtol=0, atol=2e-6)
    losses = [
        [
            json.loads(line)["loss_nats"]
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
