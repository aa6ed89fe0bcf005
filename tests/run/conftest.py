"""Real models and real text, small enough to be trained in a second."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from small_runs import STORIES, TOKENIZER, tiny_config

from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student
from tutelage.recipes import Recipe, load


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with random weights that is bigger than any student here."""
    folder = tmp_path_factory.mktemp("models") / "teacher"
    model = new_model(tiny_config(n_embd=32), TOKENIZER, seed=7, machine=Machine())
    return save_student(model, folder)


@pytest.fixture
def recipe_file(tmp_path: Path, teacher: Path) -> Path:
    """A recipe that distils a new tiny student on forty stories."""
    words = {
        "out": str(tmp_path / "run"),
        "student": {"config": tiny_config(), "tokenizer": str(TOKENIZER)},
        "teacher": str(teacher),
        "divergence": "forward_kl",
        "samples": {
            "kind": "dataset",
            "data": str(STORIES / "train.txt.gz"),
            "max_rows": 40,
            "max_length": 48,
            "long": "cut",
        },
        "training": {
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 4,
            "max_steps": 6,
            "logging_steps": 1,
            "eval_steps": 3,
            "save_steps": 2,
        },
        "evaluation": {
            "data": str(STORIES / "valid.txt.gz"),
            "max_rows": 4,
            "prompts": ["Once upon a time"],
            "max_new_tokens": 5,
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(words))
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    """The same, read."""
    return load(str(recipe_file), [])
