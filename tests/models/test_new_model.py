"""A new model is a function of config and seed, and a config that can't be meant is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES

from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.models import new_model

GPT2 = {"model_type": "gpt2", **ARCHITECTURES["gpt2"]}


def made(config: Any, words_folder: str, seed: int = 0) -> Any:
    return new_model(config, words_folder, seed=seed, machine=Machine())


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_architecture_is_made_with_the_tokenizers_size_and_ids(model_type: str, words_folder: str):
    model = made({"model_type": model_type, **ARCHITECTURES[model_type]}, words_folder)
    assert model.model.get_input_embeddings().weight.shape[0] == len(model.tokenizer) == 300
    assert model.model.config.eos_token_id == model.tokenizer.eos_token_id
    assert model.model.dtype == torch.float32


def test_the_weights_are_a_function_of_the_seed_alone(words_folder: str):
    """What was drawn before, or is drawn after, moves nothing."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = made(GPT2, words_folder)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    same, other = made(GPT2, words_folder), made(GPT2, words_folder, seed=1)
    weights = [model.model.transformer.wte.weight for model in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_config_may_stand_in_a_file_that_a_model_was_saved_with(words_folder: str, tmp_path: Path):
    first = made(GPT2, words_folder)
    first.model.save_pretrained(tmp_path)
    again = made(tmp_path / "config.json", words_folder)
    assert torch.equal(first.model.transformer.wte.weight, again.model.transformer.wte.weight)


def test_more_rows_than_tokens_are_padding(words_folder: str):
    model = made(GPT2 | {"vocab_size": 320}, words_folder)
    assert (model.vocabulary.width, model.vocabulary.rows) == (300, 320)


@pytest.mark.parametrize(
    ("change", "problem", "fix"),
    [
        ({"n_embed": 16}, "unknown key 'n_embed' in the config of a gpt2", "write 'n_embd'"),
        ({"model_type": "gpt3"}, "the architecture 'gpt3' is not known", ""),
        ({"model_type": None}, "names no model_type", "model_type: gpt2"),
        ({"vocab_size": 10}, "vocab_size is 10 and the tokenizer has 300 tokens", "leave `vocab_size` out"),
        ({"vocab_size": "300"}, "vocab_size is '300'", ""),
        ({"n_embd": "16"}, "no gpt2 can be made of this config", ""),
        ({"n_embd": 15}, "no gpt2 can be made of this config", ""),
        ({"n_embd": -16}, "no gpt2 can be made of this config", ""),
        ({"n_layer": None}, "no gpt2 can be made of this config", ""),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(
    words_folder: str, change: dict[str, Any], problem: str, fix: str
):
    with pytest.raises(TutelageError) as caught:
        made(GPT2 | change, words_folder)
    assert problem in caught.value.problem
    assert fix in caught.value.fix


def test_parts_that_do_not_fit_together_are_refused_before_training(words_folder: str):
    """Qwen2's config fills in 32 key heads, whatever the number of heads: it fails in the first forward."""
    config = {"model_type": "qwen2", **ARCHITECTURES["qwen2"]}
    del config["num_key_value_heads"]
    with pytest.raises(TutelageError) as caught:
        made(config, words_folder)
    assert "num_key_value_heads" in caught.value.fix


def test_a_config_file_that_is_not_there_or_no_json_is_named(words_folder: str, tmp_path: Path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text(json.dumps([1]))
    for name in ("missing.json", "broken.json", "list.json"):
        with pytest.raises(TutelageError, match=name):
            made(tmp_path / name, words_folder)
