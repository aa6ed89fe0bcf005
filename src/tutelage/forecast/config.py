"""A model's shape from its `config.json`, without loading it, in whatever words its family has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError
from tutelage.plans.flops import Shape
from tutelage.plans.memory import Kept

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTH = ("hidden_size", "n_embd", "d_model")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
HIDDEN = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff")
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
DROPOUT = ("attn_pdrop", "attention_dropout")

LEARNT_POSITIONS = frozenset({"biogpt", "gpt2", "gpt_neo", "opt", "xglm"})
PLAIN = LEARNT_POSITIONS | {"bloom", "codegen", "falcon", "gpt_neox", "gptj", "mpt", "phi", "starcoder2"}
"""Families whose feed-forward part has two matrices and no gate, and which have biases."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
    | {"attn_pdrop": 0.1, "activation_function": "gelu_new", "tie_word_embeddings": True},
    "llama": {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32}
    | {"intermediate_size": 11008, "vocab_size": 32000, "tie_word_embeddings": False},
}
"""What transformers fills in, for the families in which a recipe writes a new student's config by hand."""

WRITTEN_OUT = ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu")


@dataclass(frozen=True)
class Described:
    """A model as its config describes it.

    Attributes:
        name: folder or hub name.
        shape: of it.
        kept: what one of its layers keeps for the way back.
        dtype: of its weights in the file, or None.
    """

    name: str
    shape: Shape
    kept: Kept
    dtype: str | None = None


def described_model(where: str, context: int, tokens: int | None = None) -> Described:
    """A model from its folder, or from the hub's cache on this machine; nothing is downloaded.

    Args:
        where: folder, hub name, or a config file itself.
        context: tokens of a sequence, for the cost of attention.
        tokens: of the tokenizer, where the config does not say how many rows the embedding has.

    Raises:
        TutelageError: its config is not here, or does not say what is needed.
    """
    return described_config(_read(where), where, context, tokens)


def described_config(
    config: Mapping[str, Any], name: str, context: int, tokens: int | None = None
) -> Described:
    """A model from its settings.

    Args:
        config: as `config.json` has them.
        name: of the model, for errors.
        context: tokens of a sequence.
        tokens: of the tokenizer, where the config does not say how many rows the embedding has.

    Raises:
        TutelageError: it names no layers, width, heads or vocabulary.
    """
    kind = str(config.get("model_type", ""))
    # One that sees or hears as well has its language model's settings inside.
    inner = config.get("text_config")
    said = {**DEFAULTS.get(kind, {}), **(inner if isinstance(inner, Mapping) else {}), **config}
    if tokens is not None:
        said["vocab_size"] = config.get("vocab_size", tokens)
    layers, width = _number(said, LAYERS, name), _number(said, WIDTH, name)
    heads, vocabulary = _number(said, HEADS, name), _number(said, ("vocab_size",), name)
    keys = said.get("num_key_value_heads") or heads
    gated = kind not in PLAIN
    experts = next((said[key] for key in EXPERTS if said.get(key)), 1)
    hidden = next((said[key] for key in HIDDEN if said.get(key)), 4 * width)
    if experts > 1:
        hidden = said.get("moe_intermediate_size") or hidden
    size = said.get("head_dim") or width // heads
    positions = next((said[key] for key in POSITIONS if said.get(key)), 0)
    norms = (2 * layers + 1) * width
    biases = norms
    if not gated:
        biases += norms + layers * (5 * width + hidden)
    dropped = any(said.get(key) for key in DROPOUT)
    activation = said.get("activation_function") or said.get("hidden_act") or ""
    return Described(
        name,
        Shape(
            layers=layers,
            width=width,
            heads=heads,
            key_heads=int(keys),
            head_size=int(size),
            hidden=int(hidden),
            matrices=3 if gated else 2,
            context=context,
            vocabulary=vocabulary,
            tied=bool(said.get("tie_word_embeddings", kind in DEFAULTS or not gated)),
            biases=biases,
            positions=int(positions) if kind in LEARNT_POSITIONS else 0,
            experts=int(experts),
            active=int(said.get("num_experts_per_tok") or 1) if experts > 1 else 1,
        ),
        Kept(
            per_width=10.0 if gated or dropped else 8.0,
            per_hidden=4.0 if gated else 5.0 if activation in WRITTEN_OUT else 2.0,
            per_position=3.0 * heads if dropped else 1.0,
        ),
        said.get("dtype") or said.get("torch_dtype"),
    )


def _read(where: str) -> Mapping[str, Any]:
    path: Path | None = Path(where)
    if not path.is_file():
        path = path / "config.json" if path.is_dir() else _cached(where)
    if path is None or not path.is_file():
        raise TutelageError(
            f"{where}: its config.json is not on this machine",
            expected="a local folder, or a hub name that was downloaded before",
            fix="plan with the probe (leave `--no-probe` away), which downloads it, or name a folder",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TutelageError(
            f"{path}: can't be read ({error})",
            expected="the config of a model, in JSON",
            fix="copy it again from where the model was saved",
        ) from error
    if not isinstance(config, dict):
        raise TutelageError(
            f"{path}: not a JSON object",
            expected="the config of a model",
            fix="copy it again from where the model was saved",
        )
    return config


def _cached(name: str) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(name, "config.json")
    return Path(found) if isinstance(found, str) else None


def _number(said: Mapping[str, Any], names: tuple[str, ...], model: str) -> int:
    found = next((said[name] for name in names if isinstance(said.get(name), int)), None)
    if found is None or found < 1:
        raise TutelageError(
            f"{model}: its config names no `{names[0]}`",
            expected=f"a whole number under {' or '.join(f'`{name}`' for name in names)}",
            fix="plan with the probe (leave `--no-probe` away), which opens the model itself",
        )
    return int(found)
