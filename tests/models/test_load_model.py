"""A checkpoint is loaded whole or refused in three lines; nothing is unpickled."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import bytes_tokenizer, tiny

from tutelage.errors import Damaged, TutelageError
from tutelage.interfaces import Machine
from tutelage.models import load_model, load_tokenizer

MACHINE = Machine()
DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, words: Any) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny("llama", rows=300).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_what_was_saved_is_loaded_bit_for_bit(saved: Path):
    loaded = load_model(saved, machine=MACHINE)
    for name, weight in tiny("llama", rows=300).state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight), name
    assert not loaded.model.training
    assert loaded.vocabulary.width == 300
    assert loaded.longest == 64
    assert loaded.pad_id == 0


def test_the_machine_says_the_type_of_the_weights(saved: Path):
    loaded = load_model(saved, machine=Machine(dtype="bfloat16"))
    assert loaded.model.dtype == torch.bfloat16


def test_a_tokenizer_of_another_folder_is_taken_where_it_is_named(folder: Path, words_folder: str):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(TutelageError, match="no tokenizer in this folder"):
        load_model(folder, machine=MACHINE)
    assert load_model(folder, machine=MACHINE, tokenizer=words_folder).vocabulary.width == 300


def remove(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Any:
    return lambda folder: (folder / name).write_text(text)


def only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def only_an_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def edit_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def lose_a_weight(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))


def change_a_shape(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({"model.norm.weight": torch.zeros(3)}))


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def edit_config(**changes: Any) -> Any:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


BROKEN = {
    "no config": (remove("config.json"), "no config.json"),
    "only an adapter": (only_an_adapter, "only an adapter"),
    "config is no JSON": (write("config.json", "{"), "config.json: can't be read"),
    "config is a list": (write("config.json", "[]"), "names no model_type"),
    "unknown type": (edit_config(model_type="llama9"), "its config can't be loaded"),
    "unknown architecture": (edit_config(model_type="bert"), "the architecture 'bert' is not known"),
    "code of others": (edit_config(auto_map={"AutoConfig": "evil.Config"}, model_type="evil"), "its config"),
    "a wrong value": (edit_config(hidden_size="big"), "its config can't be loaded"),
    "no weights": (remove("model.safetensors"), "no weights in safetensors"),
    "a pickle": (only_a_pickle, "no weights in safetensors, only pytorch_model.bin"),
    "a weight lost": (
        lose_a_weight,
        "1 weights are missing or of another shape, the first is model.layers.1",
    ),
    "a shape changed": (change_a_shape, "its weights can't be loaded"),
    "weights cut short": (cut_short, "its weights can't be loaded"),
    "config of a bigger one": (edit_config(hidden_size=32), "its weights can't be loaded"),
    "tokenizer is no JSON": (write("tokenizer.json", "{"), "no tokenizer can be loaded"),
    "no end token": (remove("tokenizer_config.json"), "the tokenizer names no end token"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_with_its_name_and_what_is_wrong(folder: Path, case: str):
    breaking, problem = BROKEN[case]
    breaking(folder)
    with pytest.raises(TutelageError) as caught:
        load_model(folder, machine=MACHINE)
    assert str(folder) in caught.value.problem or "architecture" in problem
    assert problem in caught.value.problem
    assert "\n" not in caught.value.problem


def test_a_missing_weight_is_damage(folder: Path):
    """transformers would draw it at random and go on."""
    lose_a_weight(folder)
    with pytest.raises(Damaged):
        load_model(folder, machine=MACHINE)


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no-such-model", "/not/there", "./not/there"])
def test_what_is_not_there_is_refused(name: str):
    with pytest.raises(TutelageError) as caught:
        load_model(name, machine=MACHINE)
    assert caught.value.problem.startswith(name)
    with pytest.raises(TutelageError):
        load_tokenizer(name)


def test_gpt2s_two_files_make_its_tokenizer():
    """They are no folder that AutoTokenizer knows, and the old keywords would give an empty tokenizer."""
    tokenizer: Any = load_tokenizer(DATA / "tokenizers" / "gpt2")
    assert len(tokenizer) == 50_257
    assert tokenizer("Hello world")["input_ids"] == [15496, 995]
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 50_256


def test_a_tokenizer_without_padding_pads_with_its_end(tmp_path: Path):
    words = bytes_tokenizer()
    words.pad_token = None
    words.save_pretrained(tmp_path)
    tokenizer: Any = load_tokenizer(tmp_path)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 0
