"""Small real tokenizers of several makes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast

DATA = Path(__file__).parents[2] / "data"
SAMPLE = ["Once upon a time there was a little girl. She said: What is it? It is 12 o'clock!\n\n"] * 5
END, START, PAD = "<|end|>", "<|start|>", "<|pad|>"


def bytes_tokenizer(**special: str) -> Any:
    """Byte-level BPE of 300 tokens; every text goes through unchanged."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=[END, START, PAD], show_progress=False
    )
    backend.train_from_iterator(SAMPLE, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def space_tokenizer(**special: str) -> Any:
    """BPE that writes a space in front of every text, as SentencePiece does."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
        ]
    )
    specials = [END, START, PAD, "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=specials, show_progress=False)
    backend.train_from_iterator(SAMPLE, trainer)
    # The bytes come after training: given to the trainer they would be special tokens.
    trained = json.loads(backend.to_str())["model"]
    ids = trained["vocab"] | {f"<0x{i:02X}>": len(trained["vocab"]) + i for i in range(256)}
    merges = [tuple(pair) for pair in trained["merges"]]
    backend.model = models.BPE(vocab=ids, merges=merges, byte_fallback=True, unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


MADE: dict[str, Callable[[], Any]] = {
    "one token for start, end and padding": lambda: bytes_tokenizer(
        eos_token=END, bos_token=END, pad_token=END
    ),
    "padding is the end token": lambda: bytes_tokenizer(eos_token=END, bos_token=START, pad_token=END),
    "three special tokens": lambda: bytes_tokenizer(eos_token=END, bos_token=START, pad_token=PAD),
    "no start token": lambda: bytes_tokenizer(eos_token=END, pad_token=END),
    "a space in front": lambda: space_tokenizer(eos_token=END, bos_token=START, pad_token=PAD),
    "GPT-2": lambda: GPT2Tokenizer.from_pretrained(str(DATA / "tokenizers" / "gpt2")),
}
BUILT: dict[str, Any] = {}


def built(name: str) -> Any:
    """The tokenizer of that name, made once."""
    return BUILT.setdefault(name, BUILT.get(name) or MADE[name]())
