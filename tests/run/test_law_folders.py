"""Folders that `tutelage run` left, read as runs to fit a law to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from small_runs import STORIES, TOKENIZER, lines, tiny_config

from tutelage.errors import Damaged, TutelageError
from tutelage.interfaces import Machine
from tutelage.models import load_model, new_model
from tutelage.plans.run_folders import read_runs
from tutelage.recipes import load
from tutelage.run import distil

GOLD = [{"divergence": "cross_entropy", "against": "gold"}]


def inner(config: dict[str, object]) -> int:
    """Numbers of a GPT-2 of two layers without embeddings: four matrices a layer, biases, and norms."""
    width = int(str(config["n_embd"]))
    return 2 * (12 * width**2 + 13 * width) + 2 * width


@pytest.fixture
def study_file(recipe_file: Path) -> Path:
    """One teacher, held-out text, and an arm without a teacher."""
    words = yaml.safe_load(recipe_file.read_text())
    words["evaluation"] = {"data": str(STORIES / "valid.txt.gz"), "max_rows": 2}
    words["seeds"] = [0, 1]
    words["arms"] = {"taught": {}, "alone": {"objective": GOLD}, "hot": {"objective": hot()}}
    recipe_file.write_text(yaml.safe_dump(words))
    return recipe_file


def hot() -> list[dict[str, object]]:
    return [{"divergence": "forward_kl", "temperature": 2.0}]


def test_a_study_is_read_as_runs(study_file: Path, tmp_path: Path, teacher: Path) -> None:
    """Size without embeddings, counted tokens, the held-out nats of student and teacher, by arm and seed."""
    out = tmp_path / "out"
    distil(load(str(study_file), [f"out={out}"]))
    runs, said = read_runs(tmp_path / "out")
    expected = {f"arms/{arm}/seed-{seed}" for arm in ("taught", "alone") for seed in (0, 1)}
    assert {run.name for run in runs} == expected
    assert len(runs) == 4
    for run in runs:
        folder = out / run.name
        measured = json.loads((folder / "measured.json").read_text())
        last = [line for line in lines(folder) if "counted_tokens" in line][-1]
        assert run.parameters == inner(tiny_config())
        assert run.tokens == last["counted_tokens"]
        assert run.loss == measured["numbers"]["student_nats"]
        assert run.distilled == ("taught" in run.name)
        if run.distilled:
            assert run.teacher == str(teacher)
            assert run.teacher_loss == measured["numbers"]["teacher_nats"]
            assert run.teacher_parameters == inner(tiny_config(n_embd=32))
        assert len(run.tokenizer) == 64
    assert len({run.tokenizer for run in runs}) == 1
    assert len([line for line in said if "temperature 2; the law is about 1" in line]) == 2


def test_parameters_without_embeddings_are_counted(teacher: Path) -> None:
    """The tied table of tokens and that of positions are left out, once each."""
    loaded = load_model(teacher, machine=Machine())
    width, positions = 32, 128
    rows = loaded.vocabulary.rows
    assert loaded.inner_parameters == inner(tiny_config(n_embd=32))
    assert loaded.parameters - loaded.inner_parameters == width * (rows + positions)


def test_an_output_layer_of_its_own_is_left_out_too() -> None:
    """Untied models have two tables of tokens."""
    config = {
        "model_type": "llama",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 24,
        "tie_word_embeddings": False,
    }
    model = new_model(config, TOKENIZER, seed=0, machine=Machine())
    assert model.inner_parameters == 4 * 16**2 + 3 * 16 * 24 + 3 * 16
    assert model.parameters - model.inner_parameters == 2 * 16 * model.vocabulary.rows


def test_a_folder_without_runs_says_why(tmp_path: Path) -> None:
    """Nothing there, and something that is no run of ours."""
    with pytest.raises(TutelageError, match="of 0 run folders none holds a run"):
        read_runs(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(Damaged, match="has no recipe"):
        read_runs(tmp_path)
