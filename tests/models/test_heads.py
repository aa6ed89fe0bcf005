"""Hidden states and output layer, taken apart, give the model's own logits: on every architecture."""

from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES, tiny
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

from tutelage.distribution import Hidden
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch
from tutelage.models import last_hidden, output_layer, prove_head, rows_of
from tutelage.models.heads import HEADS
from tutelage.seeds import stream

everywhere = pytest.mark.parametrize("model_type", ARCHITECTURES)
either_way = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def batch(lengths: tuple[int, ...] = (7, 4), *, left: bool = False) -> Batch:
    """Random rows, padded on one side; all but the first real token count."""
    longest = max(lengths)
    tokens = torch.randint(2, 40, (len(lengths), longest), generator=stream(0, "tokens of a test"))
    attention = torch.zeros(len(lengths), longest, dtype=torch.bool)
    mask = attention.clone()
    for row, length in enumerate(lengths):
        start = longest - length if left else 0
        attention[row, start : start + length] = True
        mask[row, start + 1 : start + length] = True
    return Batch(torch.where(attention, tokens, 1), attention, mask, ("dataset",) * len(lengths))


def own_logits(model: Any, rows: Batch) -> torch.Tensor:
    positions = (rows.attention.long().cumsum(1) - 1).clamp(min=0)
    return model(input_ids=rows.tokens, attention_mask=rows.attention.long(), position_ids=positions).logits


def test_every_line_of_the_table_is_tested():
    assert set(HEADS) == set(ARCHITECTURES)


@everywhere
@either_way
def test_hidden_states_through_the_output_layer_are_the_models_own_logits(model_type: str, tied: bool):
    model, rows = tiny(model_type, tied=tied), batch()
    hidden, layer = rows_of(model, rows)
    expected = own_logits(model, rows)[rows.positions]
    assert_close(layer.logits(hidden), expected, atol=1e-5, rtol=0)
    # ... and so are the rows of the distribution that is made of them.
    said = Hidden(hidden, layer.weight, layer.bias, layer.scale, layer.softcap)
    assert_close(said.log_probs(), expected.log_softmax(-1), atol=1e-5, rtol=0)


@everywhere
@either_way
def test_gradients_reach_every_weight_as_through_the_models_own_logits(model_type: str, tied: bool):
    """The output layer is the parameter itself, whether the embeddings are tied to it or not."""
    model, rows = tiny(model_type, tied=tied), batch()
    chosen = torch.randn(rows.counted, 40, generator=stream(0, "weights of a sum"))
    (own_logits(model, rows)[rows.positions] * chosen).sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    hidden, layer = rows_of(model, rows)
    (layer.logits(hidden) * chosen).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert_close(gradient, expected[name], atol=1e-4, rtol=1e-4)
    assert layer.weight.grad is not None
    assert (layer.weight is model.get_input_embeddings().weight) == tied


@everywhere
def test_padding_on_either_side_changes_nothing(model_type: str):
    """A row says the same alone, padded on the right and padded on the left."""
    model = tiny(model_type)
    right, left = batch((4, 7)), batch((4, 7), left=True)
    alone = Batch(right.tokens[:1, :4], right.attention[:1, :4], right.mask[:1, :4], ("dataset",))
    shifted = Batch(
        torch.cat([torch.ones(1, 3, dtype=torch.long), alone.tokens], 1),
        left.attention[:1],
        left.mask[:1],
        ("dataset",),
    )
    with torch.no_grad():
        expected = last_hidden(model, alone)
        assert_close(last_hidden(model, right)[:1, :4], expected, atol=1e-5, rtol=1e-4)
        assert_close(last_hidden(model, shifted)[:, 3:], expected, atol=1e-5, rtol=1e-4)


@everywhere
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_proof_holds_and_leaves_the_model_as_it_was(model_type: str, dtype: torch.dtype):
    model = tiny(model_type).to(dtype).train()
    prove_head(model, torch.tensor([3, 5, 7]))
    assert model.training


@everywhere
def test_the_proof_fails_where_a_model_does_more_to_its_logits_than_the_table_says(model_type: str):
    """Here it doubles them; a forgotten soft-cap or scale would look the same."""
    model = tiny(model_type)
    model.get_output_embeddings().register_forward_hook(lambda layer, arguments, logits: 2 * logits)
    with pytest.raises(TutelageError, match="are not what its table line says"):
        prove_head(model, torch.tensor([3, 5, 7]))


def test_the_proof_fails_on_logits_that_are_not_numbers():
    model = tiny("llama")
    model.lm_head.weight.data[3] = torch.nan
    with pytest.raises(TutelageError, match="not numbers"):
        prove_head(model, torch.tensor([3, 5]))


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    config = AutoConfig.for_model("gptj", n_embd=16, n_layer=1, n_head=2, rotary_dim=4, vocab_size=40)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(TutelageError) as caught:
        output_layer(model)
    assert caught.value.problem == "the architecture 'gptj' is not known"
    assert "gemma2" in caught.value.expected
