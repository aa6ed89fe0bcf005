"""What is written for a report disturbs nothing and is a function of the seed."""

from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES

from tutelage.errors import OutOfRange
from tutelage.interfaces import Machine
from tutelage.models import LanguageModel, new_model, write
from tutelage.text import start_tokens


@pytest.fixture(scope="module", params=["gpt2", "llama", "opt", "gemma3_text"])
def model(words_folder: str, request: pytest.FixtureRequest) -> LanguageModel:
    config = {"model_type": request.param, **ARCHITECTURES[request.param]}
    return new_model(config, words_folder, seed=3, machine=Machine())


PROMPTS = ["Once upon a time", "", "She"]


def test_prompts_of_different_lengths_are_continued_as_if_alone(model: LanguageModel):
    """Padding on the left is not seen."""
    together = write(model, PROMPTS, max_new_tokens=8, seed=0)
    assert together == [write(model, [prompt], max_new_tokens=8, seed=0)[0] for prompt in PROMPTS]


def test_the_likeliest_text_is_the_models_own_argmax(model: LanguageModel):
    """Token by token, from the model's logits."""
    tokens = start_tokens(model.tokenizer) + model.tokenizer("Once", add_special_tokens=False)["input_ids"]
    prompt = len(tokens)
    with torch.no_grad():
        for _ in range(6):
            tokens.append(int(model.model(torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] == model.tokenizer.eos_token_id:
                break
    said = [t for t in tokens[prompt:] if t != model.tokenizer.eos_token_id]
    assert write(model, ["Once"], max_new_tokens=6, seed=0) == [model.tokenizer.decode(said)]


def test_drawn_text_is_a_function_of_the_seed_and_moves_no_other_draw(model: LanguageModel):
    torch.manual_seed(11)
    state = torch.get_rng_state()
    model.model.train()
    texts = [write(model, PROMPTS, max_new_tokens=12, seed=seed, temperature=1.0) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), state)
    assert model.model.training


def test_text_ends_with_the_end_token_or_after_so_many_tokens(words_folder: str):
    """An output layer whose bias leaves only one token to say; the end token itself is not shown."""
    config = {"model_type": "phi", **ARCHITECTURES["phi"]}
    single = new_model(config, words_folder, seed=3, machine=Machine())
    tokenizer: Any = single.tokenizer
    layer: Any = single.model.get_output_embeddings()
    for token, text in ((tokenizer.eos_token, ""), ("a", "aaaa")):
        bias = layer.bias.data
        bias.zero_()[tokenizer.convert_tokens_to_ids(token)] = 1e4
        assert write(single, PROMPTS, max_new_tokens=4, seed=0, temperature=1.0) == [text] * 3


def test_numbers_out_of_range_are_refused(model: LanguageModel):
    with pytest.raises(OutOfRange):
        write(model, ["a"], max_new_tokens=3, seed=0, temperature=-1.0)
    with pytest.raises(OutOfRange):
        write(model, ["a"], max_new_tokens=0, seed=0)
    assert write(model, [], max_new_tokens=3, seed=0) == []
