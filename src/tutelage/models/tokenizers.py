"""A tokenizer from a folder or hub name, with an end token and a token to pad with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerBase

from tutelage.errors import TutelageError
from tutelage.text import could_be_on_a_hub

FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)


def load_tokenizer(where: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder (tokenizer.json, or GPT-2's vocab.json with merges.txt) or hub name.

    One that names no padding token pads with its end token; masks are made from lengths, so nothing
    is lost by that.

    Raises:
        TutelageError: there is none, it can't be read, it is empty or it names no end token.
    """
    folder = Path(where)
    there = folder.is_dir()
    refuse_gguf(folder)
    if not there and (folder.exists() or not could_be_on_a_hub(str(where))):
        raise TutelageError(
            f"{where}: {'not a folder' if folder.exists() else 'there is no such folder'}",
            expected="a folder with a tokenizer, or a hub name such as owner/name",
            fix="check the path; name the folder, not a file in it",
        )
    if there and not any((folder / name).exists() for name in FILES):
        raise TutelageError(
            f"{where}: no tokenizer in this folder",
            expected="tokenizer.json with tokenizer_config.json, or vocab.json with merges.txt",
            fix="name the folder of the tokenizer with `tokenizer:`",
        )
    try:
        if there and _only_gpt2_files(folder):
            # AutoTokenizer can't tell whose files these are, and the constructor's old keywords
            # (vocab_file, merges_file) are accepted and ignored.
            tokenizer: Any = GPT2Tokenizer.from_pretrained(str(where))
        else:
            tokenizer = AutoTokenizer.from_pretrained(str(where), trust_remote_code=False)
    except Exception as error:  # what is wrong with a folder shows in whatever its parser raises
        raise TutelageError(
            f"{where}: no tokenizer can be loaded ({first_line(error)})",
            expected="an existing folder with a tokenizer, or a hub name that can be reached",
            fix="check the path; copy tokenizer.json and tokenizer_config.json from where they were saved",
        ) from error
    _check(tokenizer, where)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def refuse_gguf(where: Path) -> None:
    """Refuse a GGUF file, or a folder that holds nothing else of a model, and say how it is imported.

    Opening one takes a minute each time and says nothing about what it leaves out; importing it once does.

    Raises:
        TutelageError: it is one.
    """
    file = where if where.suffix.lower() == ".gguf" and where.is_file() else None
    if where.is_dir() and not (where / "config.json").exists() and not (where / "tokenizer.json").exists():
        file = next(iter(sorted(where.glob("*.gguf"))), None)
    if file is not None:
        raise TutelageError(
            f"{where}: {'a GGUF file' if file == where else f'only a GGUF file ({file.name})'}",
            expected="a plain folder with config.json, model.safetensors and tokenizer.json",
            fix=f"tutelage import {file} FOLDER, once, and name that folder instead",
        )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _only_gpt2_files(folder: Path) -> bool:
    has = {name: (folder / name).exists() for name in ("vocab.json", "merges.txt", "tokenizer.json")}
    if not (has["vocab.json"] and has["merges.txt"]) or has["tokenizer.json"]:
        return False
    config = folder / "tokenizer_config.json"
    return not config.exists() or "tokenizer_class" not in json.loads(config.read_text(encoding="utf-8"))


def _check(tokenizer: Any, where: str | Path) -> None:
    if len(tokenizer) < 2:
        raise TutelageError(
            f"{where}: the tokenizer has {len(tokenizer)} tokens",
            expected="the vocabulary of a language model",
            fix="copy the tokenizer's files again",
        )
    if tokenizer.eos_token_id is None:
        example = next(
            (t for t in ("<|endoftext|>", "</s>", "<|im_end|>") if t in tokenizer.get_vocab()), None
        )
        raise TutelageError(
            f"{where}: the tokenizer names no end token",
            expected="`eos_token` in a tokenizer_config.json beside tokenizer.json",
            fix=f'write {{"eos_token": "{example or "</s>"}"}} into that file, with one of its own tokens',
        )
