"""A student's folder is whole or as it was before."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES

from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.models import LanguageModel, load_model, new_model, prove_shared, save_student


@pytest.fixture(scope="module")
def student(words_folder: str) -> LanguageModel:
    return new_model({"model_type": "gpt2", **ARCHITECTURES["gpt2"]}, words_folder, seed=0, machine=Machine())


def test_what_is_saved_comes_back_bit_for_bit_and_speaks_the_same_tokens(
    student: LanguageModel, tmp_path: Path
):
    again = load_model(save_student(student, tmp_path / "run" / "student"), machine=Machine())
    for name, weight in student.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight), name
    assert prove_shared(student.vocabulary, again.vocabulary).tokens == student.vocabulary.width
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["student"]
    assert not list((tmp_path / "run" / "student").glob("*.bin"))


def test_saving_again_replaces_the_earlier_model(student: LanguageModel, tmp_path: Path):
    folder = save_student(student, tmp_path / "student")
    (folder / "left over").write_text("")
    save_student(student, folder)
    assert not (folder / "left over").exists()
    assert (folder / "model.safetensors").exists()


def test_a_failure_on_the_way_leaves_the_earlier_model(
    student: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = save_student(student, tmp_path / "student")
    before = (folder / "model.safetensors").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(student.tokenizer), "save_pretrained", full)
    with pytest.raises(TutelageError, match="No space left on device"):
        save_student(student, folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["student"]


@pytest.mark.parametrize(
    "make", [lambda p: p.write_text("mine"), lambda p: (p.mkdir(), (p / "mine").write_text(""))]
)
def test_what_is_no_model_is_never_written_over(student: LanguageModel, tmp_path: Path, make: Any):
    make(tmp_path / "student")
    with pytest.raises(TutelageError, match="exists and is no saved model"):
        save_student(student, tmp_path / "student")


def test_a_folder_inside_a_file_is_an_error_of_three_lines(student: LanguageModel, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TutelageError, match="can't be written"):
        save_student(student, tmp_path / "file" / "student")
