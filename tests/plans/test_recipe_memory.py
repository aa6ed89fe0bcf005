"""Memory from shapes: what grows with what, and what torch itself counts in real networks."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tutelage.errors import OutOfRange
from tutelage.forecast.config import described_config
from tutelage.plans.duration import Amounts, Duration, at_speed, flops_of
from tutelage.plans.memory import Listener, Step, cache_kinds, memory_of, remedies

NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
CONFIGS = {
    "gpt2": {"n_embd": 64, "n_layer": 3, "n_head": 4, **NO_DROPOUT},
    "gpt2 that drops out": {"model_type": "gpt2", "n_embd": 64, "n_layer": 3, "n_head": 4},
    "llama": {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 3, "num_attention_heads": 4},
    "mistral": {
        "hidden_size": 64,
        "intermediate_size": 200,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "gpt_neox": {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    },
}


def network(name: str, device: str = "cpu"):
    """A real network of transformers, and its settings as `config.json` has them."""
    settings = {"model_type": name, **CONFIGS[name], "vocab_size": 300}
    kind = settings.pop("model_type")
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **settings, **ids)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config), config.to_dict()


def step_of(name: str = "llama", rows: int = 8, length: int = 64, **others) -> Step:
    """A step of a small student."""
    _, settings = network(name, "meta")
    found = described_config(settings, name, length)
    return Step(found.shape, rows, length, found.kept, **others)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shape_counts_the_parameters_that_the_network_has(name):
    """Within one percent: transformers itself is the oracle."""
    model, settings = network(name, "meta")
    assert described_config(settings, name, 64).shape.total_parameters == pytest.approx(
        sum(parameter.numel() for parameter in model.parameters()), rel=0.01
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_what_layers_keep_is_what_autograd_saves(name):
    """Bytes of the tensors that torch saves for the way back, within fifteen percent."""
    model, settings = network(name)
    model.train()
    found = described_config(settings, name, 96)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.randint(0, 300, (4, 96), generator=torch.Generator().manual_seed(0))
    attention = torch.ones(4, 96, dtype=torch.long)
    attention[0, -5:] = 0
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # Held until it has been counted: what is freed gives its address to the next tensor.
        kept = model.base_model(input_ids=tokens, attention_mask=attention, use_cache=False)
    layers = found.shape.layers * found.kept.floats(found.shape, 96) * 4 * 4 * 96
    assert layers == pytest.approx(sum(saved.values()), rel=0.15)
    del kept


def test_memory_grows_with_rows_length_and_every_teacher():
    """And nothing of the rest changes."""
    small = step_of()
    teacher = Listener(step_of("gpt_neox").student)
    for larger in (
        replace(small, rows=16),
        replace(small, length=128),
        replace(small, teachers=(teacher,)),
    ):
        assert memory_of(larger).peak > memory_of(small).peak
    one, two = (memory_of(replace(small, teachers=(teacher,) * n)) for n in (1, 2))
    assert two.teachers == 2 * one.teachers
    assert two.asking == one.asking, "one is asked after the other"


def test_the_fused_evaluation_takes_no_rows_times_vocabulary():
    """Eight times the rows of a large vocabulary take less than twice the tiles."""
    step = step_of(rows=1, length=2048)
    wide = replace(step, student=replace(step.student, vocabulary=150_000))
    assert memory_of(replace(wide, rows=8)).evaluation < 2 * memory_of(wide).evaluation


def test_checkpointing_keeps_less_and_adapters_train_less():
    """What they say they save, they save, and nothing else."""
    step = step_of(rows=32)
    plain, checkpointed = memory_of(step), memory_of(replace(step, checkpointing=True))
    adapted = memory_of(replace(step, lora_rank=4))
    assert checkpointed.activations < plain.activations
    assert {**asdict(checkpointed), "activations": 0} == {**asdict(plain), "activations": 0}
    assert adapted.moments == 2 * adapted.gradients < plain.moments


def test_every_remedy_saves_what_it_says():
    """Sorted by what they save; `fits` is about the limit; nothing is offered that takes more."""
    step = step_of(rows=64, teachers=(Listener(step_of("gpt_neox").student),))
    peak = memory_of(step).peak
    limit = peak - 2**20
    found = remedies(step, limit, cache_kinds(step.teachers))
    assert [remedy.saves for remedy in found] == sorted((r.saves for r in found), reverse=True)
    for remedy in found:
        assert remedy.saves > 0
        assert remedy.fits == (peak - remedy.saves <= limit)
    said = " ".join(map(str, found))
    for word in ("batch_size", "checkpointing", "top_k", "hidden", "lora_rank"):
        assert word in said


def test_nothing_cannot_be_a_step():
    """Rows and length are at least one."""
    with pytest.raises(OutOfRange, match="rows"):
        step_of(rows=0)


def test_seconds_are_flops_over_speed_and_prices_hours():
    """A backward pass is two forward passes; all teachers are asked about every token."""
    shape, amounts = step_of().student, Amounts(trained=100.0, told=100.0)
    flops = flops_of(shape, [shape, shape], amounts)
    assert flops["training"] == 300 * shape.forward_flops
    assert flops["teacher"] == 200 * shape.forward_flops
    duration = at_speed(flops, 1e9, rest=2.0)
    assert duration.seconds == pytest.approx(sum(flops.values()) / 1e9 + 2)
    assert Duration(3600.0).price(2.5) == pytest.approx(2.5)


def test_a_speed_in_teraflops_is_caught():
    """312 instead of 312e12."""
    with pytest.raises(OutOfRange, match="312"):
        at_speed({"training": 1.0}, 312.0)
    with pytest.raises(OutOfRange):
        Duration(1.0).price(-1.0)
