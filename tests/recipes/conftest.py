"""A folder in which a recipe finds what it names, as the current directory."""

from __future__ import annotations

from pathlib import Path

import pytest

RECIPE = """\
# A small study that stands for many
# paper: minillm
out: runs/first
seed: 3
student: {config: {model_type: gpt2, n_embd: 8}, tokenizer: models/teacher}
teacher: models/teacher
divergence: {kind: jensen_shannon, beta: 0.3}
samples: {kind: dataset, data: data/train.jsonl, max_length: 64}
training:
  learning_rate: 1e-4
  max_steps: 5
evaluation:
  data: data/train.jsonl
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The folder: a model, some rows of text and ``recipe.yaml``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "teacher").mkdir(parents=True)
    (tmp_path / "models" / "teacher" / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"text": "Once upon a time"}\n' * 4)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path
