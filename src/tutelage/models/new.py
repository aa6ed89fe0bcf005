"""A new model from a config, with weights drawn from the run's stream "student weights"."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerBase

from tutelage.errors import TutelageError, listed, nearest
from tutelage.interfaces import Machine
from tutelage.models.heads import HEADS, known_head, prove_head
from tutelage.models.load import LanguageModel
from tutelage.models.tokenizers import first_line, load_tokenizer
from tutelage.models.vocabulary import vocabulary_of
from tutelage.seeds import drawing_from

# What a saved config.json holds beside the architecture's own keys.
BOOKKEEPING = {"model_type", "transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path"}

# Keys of earlier config files, which transformers still moves into `rope_parameters`.
EARLIER_ROPE = {"rope_theta", "rope_scaling"}


def new_model(
    config: Mapping[str, Any] | str | Path, tokenizer: str | Path, *, seed: int, machine: Machine
) -> LanguageModel:
    """Make a model with random weights, a function of config and seed.

    Args:
        config: keys of a transformers config with `model_type` among them, or the path of a JSON file
            that holds them. `vocab_size` and the ids of start, end and padding token are filled in
            from the tokenizer where they are absent.
        tokenizer: folder or hub name.
        seed: of the run.
        machine: the device; weights are float32, as training wants them.

    Returns:
        The model in evaluation mode, with gradients on.

    Raises:
        TutelageError: a key is unknown (transformers would keep it and do nothing), a value does not fit,
            or the parts do not fit together.
    """
    given = _read(config) if isinstance(config, str | Path) else dict(config)
    words: PreTrainedTokenizerBase = load_tokenizer(tokenizer)
    model_type = given.get("model_type")
    if not isinstance(model_type, str):
        raise TutelageError(
            "the config of the new model names no model_type",
            expected=listed(HEADS),
            fix="write for instance `model_type: gpt2`",
        )
    known_head(model_type)
    _check_keys(given, model_type)
    filled = _filled(given, words)
    try:
        made = CONFIG_MAPPING[model_type](**{k: v for k, v in filled.items() if k not in BOOKKEEPING})
        with drawing_from(seed, "student weights"):
            model = AutoModelForCausalLM.from_config(made, trust_remote_code=False, dtype=torch.float32)
        prove_head(model, torch.tensor([[0, 1, 0]]))
    except TutelageError:
        raise
    except Exception as error:  # values of a wrong type or size, parts that do not fit together
        raise TutelageError(
            f"no {model_type} can be made of this config ({_reason(error)})",
            expected="sizes that fit together, such as a width that the number of heads divides",
            fix="compare the values with a config.json of that architecture; set `num_key_value_heads` "
            "where the architecture has it",
        ) from error
    model.to(torch.device(machine.device)).eval()
    name = f"a new {model_type}"
    return LanguageModel(model, words, vocabulary_of(words, made.vocab_size, name), name)


def _read(path: str | Path) -> dict[str, Any]:
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TutelageError(
            f"{path}: no config can be read from it ({first_line(error)})",
            expected="a JSON file with the config of a model",
            fix="check the path",
        ) from error
    if not isinstance(given, dict):
        raise TutelageError(
            f"{path}: not a JSON object", expected='{"model_type": "gpt2", ...}', fix="name another file"
        )
    return given


def _check_keys(given: Mapping[str, Any], model_type: str) -> None:
    kind: Any = CONFIG_MAPPING[model_type]
    own = {field.name for field in dataclasses.fields(kind)} | set(kind.attribute_map)
    if "rope_parameters" in own:
        own |= EARLIER_ROPE
    unknown = sorted(str(key) for key in given if key not in own | BOOKKEEPING)
    if unknown:
        close = nearest(unknown[0], own)
        raise TutelageError(
            f"unknown key '{unknown[0]}' in the config of a {model_type}",
            expected=listed(own),
            fix=f"write '{close}' (the nearest name)" if close else "leave it out",
        )


def _filled(given: Mapping[str, Any], words: Any) -> dict[str, Any]:
    filled = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "vocab_size": len(words),
        **given,
    }
    size = filled["vocab_size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < len(words):
        raise TutelageError(
            f"vocab_size is {size!r} and the tokenizer has {len(words):,} tokens",
            expected=f"at least {len(words):,}; more rows are padding and never get probability",
            fix="leave `vocab_size` out",
        )
    return filled


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] if lines else type(error).__name__
