"""A checkpoint from a folder or hub name: safetensors only, no code of others, every weight there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from tutelage.errors import Damaged, TutelageError
from tutelage.interfaces import Machine
from tutelage.models.heads import known_head
from tutelage.models.tokenizers import first_line, load_tokenizer, refuse_gguf
from tutelage.models.vocabulary import Vocabulary, vocabulary_of
from tutelage.text import could_be_on_a_hub


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model with the tokenizer it reads and writes in.

    Attributes:
        model: the network.
        tokenizer: always has an end token and a padding token.
        vocabulary: what the ids mean.
        name: folder or hub name, for reports.
        adapters: what `with_adapters` put into the network, or None.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary
    name: str
    adapters: Any = None

    @property
    def parameters(self) -> int:
        """How many numbers are learnt; a tied output layer counts once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def inner_parameters(self) -> int:
        """Parameters without embeddings, of tokens or positions, and without the output layer."""
        model: Any = self.model
        outside = [part.weight for part in model.modules() if isinstance(part, torch.nn.Embedding)]
        output = model.get_output_embeddings()
        outside += [] if output is None else list(output.parameters(recurse=False))
        named = {id(weight) for weight in outside}
        return sum(weight.numel() for weight in model.parameters() if id(weight) not in named)

    @property
    def pad_id(self) -> int:
        """Token id that fills short rows up."""
        tokenizer: Any = self.tokenizer
        return int(tokenizer.pad_token_id)

    @property
    def longest(self) -> int | None:
        """Positions that the architecture was made for, or None if its config does not say."""
        return getattr(self.model.config, "max_position_embeddings", None)


def load_model(where: str | Path, *, machine: Machine, tokenizer: str | Path | None = None) -> LanguageModel:
    """Load a checkpoint.

    Args:
        where: a folder as `save_pretrained` writes it, or a hub name.
        machine: device and floating-point type of the weights; what the file has is converted.
        tokenizer: folder or hub name of the tokenizer; None looks beside the checkpoint.

    Returns:
        The model in evaluation mode, with gradients on.

    Raises:
        TutelageError: nothing is there or can be reached, the weights are no safetensors, the config or
            tokenizer is broken, or the architecture is unknown.
        Damaged: weights are missing or have other shapes than the config says.
    """
    name = str(where)
    refuse_gguf(Path(where))
    if Path(where).is_dir():
        _check_folder(Path(where))
    elif Path(where).exists() or not could_be_on_a_hub(name):
        raise TutelageError(
            f"{name}: {'not a folder' if Path(where).exists() else 'there is no such folder'}",
            expected="a folder with config.json and model.safetensors, or a hub name such as owner/name",
            fix="check the path; name the folder, not a file in it",
        )
    with quiet():
        try:
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        except Exception as error:  # broken JSON, unknown types, wrong values, network: all look different
            raise _unusable(name, "config", error) from error
        known_head(config.model_type)
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                config=config,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=getattr(torch, machine.dtype),
                output_loading_info=True,
            )
        except Exception as error:
            raise _unusable(name, "weights", error) from error
    model, info = loaded
    missing = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if missing:
        raise Damaged(
            f"{name}: {len(missing)} weights are missing or of another shape, the first is {missing[0]}",
            expected="every weight that its config.json asks for",
            fix="copy the checkpoint again; weights and config.json must come from the same model",
        )
    words = load_tokenizer(name if tokenizer is None else tokenizer)
    rows = model.get_input_embeddings().weight.shape[0]
    model.to(machine.device).eval()
    return LanguageModel(model, words, vocabulary_of(words, rows, name), name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block transformers shows no progress bar and reports nothing below an error.

    What its report of a checkpoint says (missing weights) is an error of ours.
    """
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").exists():
        adapter = (folder / "adapter_config.json").exists()
        raise TutelageError(
            f"{folder}: no config.json" + (", only an adapter" if adapter else ""),
            expected="a folder as `save_pretrained` writes it",
            fix="merge the adapter into its base model first (peft: `merge_and_unload`) and save that"
            if adapter
            else "check the path",
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TutelageError(
            f"{folder / 'config.json'}: can't be read ({first_line(error)})",
            expected="the config of a model, in JSON",
            fix="copy it again from where the model was saved",
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise TutelageError(
            f"{folder / 'config.json'}: names no model_type",
            expected='a JSON object with a line such as "model_type": "llama"',
            fix="copy it again from where the model was saved",
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth"})
        raise TutelageError(
            f"{folder}: no weights in safetensors" + (f", only {pickles[0]}" if pickles else ""),
            expected="model.safetensors; a .bin file is a pickle, which can run code, and is never opened",
            fix="convert it where you trust it: load it with transformers and `save_pretrained` it again"
            if pickles
            else "copy the weights too",
        )


def _unusable(name: str, part: str, error: Exception) -> TutelageError:
    if Path(name).is_dir():
        return TutelageError(
            f"{name}: its {part} can't be loaded ({first_line(error)})",
            expected="a folder as `save_pretrained` writes it, with model.safetensors",
            fix="copy the checkpoint again; code that comes with a model is never run",
        )
    return TutelageError(
        f"{name}: neither a folder here nor a model that the hub gives out ({first_line(error)})",
        expected="a folder with config.json and model.safetensors, or a hub name that can be reached",
        fix="check the spelling and the network; download it once, or name a local folder",
    )
