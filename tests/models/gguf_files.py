"""Small GGUF files written as llama.cpp's converter writes them, from a tiny model and a small tokenizer."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, TokenType
from transformers import AutoConfig, AutoModelForCausalLM

from tutelage.seeds import drawing_from

ROWS = 300
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
# Every architecture that can be imported, by the name that a GGUF file calls it. Heads of 128 and 1,024
# positions are what transformers assumes for these two, whatever the file says.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SIZES | {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}),
    "qwen2": ("qwen2", SIZES),
    "qwen3": ("qwen3", SIZES | {"head_dim": 128}),
    "gemma2": ("gemma2", SIZES | {"head_dim": 16}),
    "gemma3": ("gemma3_text", SIZES | {"head_dim": 16}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 1024}),
}
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GEMMA_LAYER = LAYER | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
GPT2_LAYER = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
OUTSIDE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
}


def small_model(architecture: str = "llama", *, tied: bool = True) -> Any:
    """A model all of whose weights are random, norms and biases too, so that no two can be mistaken."""
    model_type, sizes = ARCHITECTURES[architecture]
    marks = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(model_type, **sizes, **marks, vocab_size=ROWS, tie_word_embeddings=tied)
    with drawing_from(0, "a small model"):
        model: Any = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data.normal_(std=0.3)
    return model.eval()


def write_gguf(
    path: Path,
    model: Any,
    words: Any,
    *,
    stored: GGMLQuantizationType = GGMLQuantizationType.F32,
    architecture: str = "llama",
    rules: str | None = "gpt-2",
    extra: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write a model and its tokenizer.

    Args:
        stored: how matrices are stored; vectors are float32 in every file.
        architecture: what the file says it is.
        rules: `tokenizer.ggml.pre`.
        extra: more tensors, by name.
        settings: more integers in the metadata, by key.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("a small model")
    writer.add_license("cc0-1.0")
    _write_sizes(writer, model.config)
    for key, value in (settings or {}).items():
        writer.add_uint32(key, value)
    _write_words(writer, words, rules)
    for name, weight in _tensors(model):
        _add(writer, name, weight, stored)
    for name, weight in (extra or {}).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_sizes(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if config.model_type == "llama":
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_vocab_size(config.vocab_size)
    elif config.model_type != "qwen2":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if config.model_type.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _write_words(writer: gguf.GGUFWriter, words: Any, rules: str | None) -> None:
    tokens = sorted(words.get_vocab(), key=words.get_vocab().get)
    special = {token.content for token in words.added_tokens_decoder.values()}
    writer.add_tokenizer_model("gpt2")
    if rules is not None:
        writer.add_tokenizer_pre(rules)
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if t in special else TokenType.NORMAL for t in tokens])
    merges = json.loads(words.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(words.bos_token_id)
    writer.add_eos_token_id(words.eos_token_id)
    writer.add_pad_token_id(words.pad_token_id)
    writer.add_chat_template(TEMPLATE)


def _tensors(model: Any) -> list[tuple[str, np.ndarray]]:
    config = model.config
    gemma, gpt2 = config.model_type.startswith("gemma"), config.model_type == "gpt2"
    inside = GEMMA_LAYER if gemma else GPT2_LAYER if gpt2 else LAYER
    named = []
    for name, weight in model.state_dict().items():
        module, _, kind = name.rpartition(".")
        if module == "lm_head" and config.tie_word_embeddings:
            continue
        if module.startswith(("model.layers.", "transformer.h.")):
            _, _, number, inner = module.split(".", 3)
            module = f"blk.{number}.{inside[inner]}"
        else:
            module = OUTSIDE[module]
        array = weight.detach().to(torch.float32).numpy()
        if config.model_type == "llama" and module.endswith(("attn_q", "attn_k")):
            array = _interleaved(array, config.head_dim)
        if gemma and module.endswith("norm"):
            array = array + 1  # gemma multiplies by one more than its norms' weights
        if gpt2 and array.ndim == 2 and module.startswith("blk."):
            array = np.ascontiguousarray(array.T)  # its layers are stored the other way round
        named.append((f"{module}.{kind}", array))
    return named


def _interleaved(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """llama.cpp turns neighbouring rows of a head together, transformers the two halves of a head."""
    halves = rows.reshape(-1, 2, head_dim // 2, rows.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def _add(writer: gguf.GGUFWriter, name: str, weight: np.ndarray, stored: GGMLQuantizationType) -> None:
    if weight.ndim < 2 or stored == GGMLQuantizationType.F32:
        writer.add_tensor(name, weight)
    else:
        writer.add_tensor(name, gguf.quantize(weight, stored), raw_dtype=stored)
