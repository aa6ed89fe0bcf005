"""The tokenizer inside a GGUF file, cutting text by the rules that the file names.

A byte-level vocabulary names its rules by one word, `tokenizer.ggml.pre`. transformers takes GPT-2's rules
for every word that it does not know, without a warning: the model then reads tokens it was not trained on
wherever the rules differ (SmolLM2's `smollm` takes digits one by one before anything else is cut). So a word
that is not in `RULES` is refused. What each word means was read from llama.cpp, which writes them.

It also adds GPT-2's `<|endoftext|>` to byte-level vocabularies that lack it, for which the model has no row.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tutelage.errors import TutelageError, listed
from tutelage.models.shared import PROBES
from tutelage.models.tokenizers import first_line, load_tokenizer

BYTE_LEVEL = "gpt2"
MARKS = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class Rules:
    """What transformers leaves out when it makes a byte-level tokenizer of a GGUF file.

    Attributes:
        digits: every digit is a piece of its own before anything else is cut.
        whole_words: a word that is in the vocabulary is one token, whatever the merges say.
        composed: text is brought into Unicode's composed form (NFC) first.
    """

    digits: bool = False
    whole_words: bool = False
    composed: bool = False


PLAIN, DIGITS, WHOLE_WORDS, COMPOSED = (
    Rules(),
    Rules(digits=True),
    Rules(whole_words=True),
    Rules(composed=True),
)
RULES = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais"), PLAIN),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), DIGITS),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "tekken"), WHOLE_WORDS),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), COMPOSED),
}


def gguf_rules(said: dict[str, Any], path: Path) -> Rules | None:
    """The rules that a file's metadata name; None where its vocabulary is not a byte-level one.

    Raises:
        TutelageError: it names no rules, or some that are not known here.
    """
    if said.get("tokenizer.ggml.model") != BYTE_LEVEL:
        return None
    word = said.get("tokenizer.ggml.pre")
    if word not in RULES:
        raise TutelageError(
            f"{path}: its tokenizer cuts text by the rules "
            + (f"'{word}', which are not known here" if word else "of nothing that the file names"),
            expected=f"`tokenizer.ggml.pre` is {listed(RULES)}",
            fix="take the original checkpoint, with its tokenizer.json, instead of the GGUF file",
        )
    return RULES[word]


def gguf_tokenizer(
    folder: Path, name: str, rules: Rules | None, *, tokens: int, config: Any, path: Path
) -> Any:
    """The tokenizer of the GGUF file ``folder / name``, as it is after it was saved and loaded again.

    Args:
        folder: holds nothing but that file; whatever else lay there would be read as well.
        name: the file in it.
        rules: what `gguf_rules` said.
        tokens: how many the file lists; others are taken out.
        config: of the model; beside some of them transformers opens a saved tokenizer as another class.
        path: the file's own name, for errors.

    Raises:
        TutelageError: transformers can make no tokenizer of the file, it names no end token, or what was
            saved cuts text differently.
    """
    try:
        made: Any = PreTrainedTokenizerFast.from_pretrained(str(folder), gguf_file=name)
    except Exception as error:  # missing keys, ids out of range, unknown kinds: all look different
        raise TutelageError(
            f"{path}: transformers can make no tokenizer of it ({first_line(error)})",
            expected="a GGUF file with the vocabulary of its model",
            fix="take the original checkpoint, with its tokenizer.json, instead of the GGUF file",
        ) from error
    made = _mended(made, rules or PLAIN, tokens)
    with tempfile.TemporaryDirectory() as saved:
        made.save_pretrained(saved)
        config.save_pretrained(saved)
        tokenizer: Any = load_tokenizer(saved)
    # The template as a whole string too: half of it would render and mean something else.
    same = made.get_vocab() == tokenizer.get_vocab() and made.chat_template == tokenizer.chat_template
    if not same or any(_cut(made, text) != _cut(tokenizer, text) for text in PROBES):
        raise TutelageError(
            f"{path}: its tokenizer is another one after it was saved and loaded again",
            expected="the same tokens and chat template beside the config of a "
            f"{config.model_type}, of which transformers may choose the tokenizer",
            fix="take the original checkpoint, with its tokenizer.json, instead of the GGUF file",
        )
    return tokenizer


def _mended(made: Any, rules: Rules, tokens: int) -> Any:
    """The tokenizer without tokens that are not in the file, and with all of the rules."""
    parts = json.loads(made.backend_tokenizer.to_str())
    parts["added_tokens"] = [added for added in parts["added_tokens"] if added["id"] < tokens]
    backend: Any = Tokenizer.from_str(json.dumps(parts))
    if rules.digits:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
    if rules.whole_words:
        backend.model.ignore_merges = True
    if rules.composed:
        backend.normalizer = normalizers.NFC()
    known = {mark: getattr(made, mark) for mark in MARKS}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=made.chat_template,
        **{
            mark: token for mark, token in known.items() if token is not None and token in backend.get_vocab()
        },
    )


def _cut(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
