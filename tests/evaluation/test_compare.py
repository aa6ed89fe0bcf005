"""`tutelage evaluate`: several students on one text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distribution import Dense
from tutelage.errors import NotShared
from tutelage.evaluation import compare, measure
from tutelage.interfaces import Batch, Machine
from tutelage.models import new_model, save_student

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "data" / "tinystories" / "valid.txt.gz"
TOKENIZER = ROOT / "recipes" / "demo" / "tokenizer"


def made(folder: Path, seed: int, tokenizer: Path = TOKENIZER) -> str:
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2}
    return str(save_student(new_model(config, tokenizer, seed=seed, machine=Machine()), folder / str(seed)))


def test_a_student_compared_with_itself_differs_by_nothing(tmp_path: Path) -> None:
    """Same weights in two folders, one of them the teacher as well."""
    one, other = made(tmp_path / "a", 1), made(tmp_path / "b", 1)
    found = compare([one, other], data=str(STORIES), teacher=one, max_rows=3)
    assert found.differences[other].mean == 0
    assert found.students[other]["forward_kl_nats"].mean == pytest.approx(0, abs=1e-6)
    assert found.students[other]["agreement"].mean == 1
    assert "3 rows" in found.text()
    assert found.to_json()["students"][one]["student_nats"]["low"] > 0


def test_students_of_different_tokenizers_are_not_compared(tmp_path: Path) -> None:
    """Nats per token of different tokens are different things."""
    one = made(tmp_path, 1)
    other = made(tmp_path, 2, ROOT / "data" / "tokenizers" / "gpt2")
    with pytest.raises(NotShared):
        compare([one, other], data=str(STORIES), max_rows=2)


@given(seed=st.integers(0, 1000), rows=st.integers(1, 4), length=st.integers(2, 6))
def test_measures_by_row_add_up_to_those_by_position(seed: int, rows: int, length: int) -> None:
    """The mean over rows, weighted by their tokens, is the mean over counted tokens."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 7, (rows, length), generator=generator)
    mask = torch.rand(rows, length, generator=generator) < 0.7
    mask[:, 0] = False
    mask[0, 1] = True
    batch = Batch(tokens, torch.ones_like(mask), mask, ("dataset",) * rows)
    student, teacher = (Dense(torch.randn(batch.counted, 7, generator=generator).double()) for _ in range(2))
    found = measure([batch], lambda _: student, lambda _: teacher)
    log_q = student.log_probs()
    assert found.mean("student_nats") == pytest.approx(-float(log_q.gather(1, batch.gold[:, None]).mean()))
    assert int(found.tokens.sum()) == batch.counted
