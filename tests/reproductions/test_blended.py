"""The control with two blended losses: at its ends it is a plain run, in the middle a weighted objective."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student
from tutelage.recipes import read
from tutelage.reproductions.blended import blend
from tutelage.reproductions.e2e import tokenizer
from tutelage.reproductions.e2e_bed import shares_of
from tutelage.run import distil

TEXTS = ["the eagle is french .", "the mill is cheap .", "the eagle is near the mill .", "a french pub ."]


@pytest.fixture
def words(tmp_path: Path) -> dict[str, Any]:
    """A recipe without its objective: a tiny student on four texts, and a teacher of the same kind."""
    tokenizer(TEXTS * 5).save_pretrained(tmp_path / "tokenizer")
    shape = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 16}
    teacher = new_model(shape, str(tmp_path / "tokenizer"), seed=7, machine=Machine())
    save_student(teacher, tmp_path / "teacher")
    (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in TEXTS))
    return {
        "seed": 3,
        "student": {"config": shape, "tokenizer": str(tmp_path / "tokenizer")},
        "teacher": {"kind": "model", "model": str(tmp_path / "teacher")},
        "samples": {"kind": "dataset", "data": str(tmp_path / "x.jsonl"), "max_length": 16},
        "training": {
            "learning_rate": 1e-2,
            "per_device_train_batch_size": 2,
            "max_steps": 4,
            "logging_steps": 1,
        },
    }


def blended(words: dict[str, Any], out: Path, **way: Any) -> dict[str, torch.Tensor]:
    """Weights after the blend of reverse and forward KL."""
    teacher = {"kind": "interpolated", "teacher": words["teacher"], **way}
    terms = [{"divergence": "reverse_kl"}, {"divergence": "forward_kl"}]
    blend(read({**words, "out": str(out), "teacher": teacher, "objective": terms}))
    return load_file(out / "student" / "model.safetensors")


def plain(words: dict[str, Any], out: Path, **objective: Any) -> dict[str, torch.Tensor]:
    """Weights after an ordinary run."""
    distil(read({**words, "out": str(out), **objective}))
    return load_file(out / "student" / "model.safetensors")


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Equal up to what a changed order of summing does."""
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], rtol=1e-4, atol=1e-6) for name in one
    )


@pytest.mark.parametrize(("t", "divergence"), [(0.0, "reverse_kl"), (1.0, "forward_kl")])
def test_at_its_ends_it_is_a_plain_run(
    words: dict[str, Any], tmp_path: Path, t: float, divergence: str
) -> None:
    """Same student, same batches, same loop: only the loss is its own."""
    one = blended(words, tmp_path / "blend", schedule="fixed", t_start=t)
    assert alike(one, plain(words, tmp_path / "plain", divergence=divergence))
    other = {"reverse_kl": "forward_kl", "forward_kl": "reverse_kl"}[divergence]
    assert not alike(one, plain(words, tmp_path / "other", divergence=other))


def test_in_the_middle_it_is_a_weighted_objective(words: dict[str, Any], tmp_path: Path) -> None:
    """Three tenths of forward KL, seven of reverse KL."""
    terms = [
        {"divergence": "reverse_kl", "weight": 0.7},
        {"divergence": "forward_kl", "weight": 0.3},
    ]
    one = blended(words, tmp_path / "blend", schedule="fixed", t_start=0.3)
    assert alike(one, plain(words, tmp_path / "plain", objective=terms))


def test_its_share_is_that_of_the_schedule(words: dict[str, Any], tmp_path: Path) -> None:
    """Step by step the t of a TAID run with that schedule, which looks at the teacher on the way."""
    way = {"schedule": "exponential", "t_start": 0.2, "step_size": 0.8}
    teacher = {"kind": "interpolated", "teacher": words["teacher"], **way}
    blended(words, tmp_path / "blend", **way)
    plain({**words, "teacher": teacher}, tmp_path / "plain", divergence="forward_kl")
    shares = [shares_of(tmp_path / run) for run in ("blend", "plain")]
    assert shares[0] == shares[1]
    assert [step for step, _ in shares[0]] == [1, 2, 3, 4]
    assert shares[0][0][1] == 0.2
