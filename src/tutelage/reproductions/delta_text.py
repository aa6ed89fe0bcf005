"""Text of the Delta-KD test bed: what all models are pretrained on, and the task that one of them learns.

Pretraining mixes short stories, sentences of film reviews, and E2E sentences without what they were made of.
The task is E2E: a meaning representation becomes one of its sentences. Meaning representations of the
sentences that are pretrained on do not occur in the task. One byte-level BPE is trained on all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tutelage.reproductions.e2e import HOME, Pair, pairs, prompt_of, spread
from tutelage.seeds import stream_seed
from tutelage.text import read_rows

STORIES, REVIEWS = HOME.parent / "tinystories", HOME.parent / "sentence_polarity"
PADDING, END, SEPARATOR = "<pad>", "<end>", "<says>"
IDS = 1023
"""Of the vocabulary, the three of control included."""

SHARES = {"stories": 0.55, "reviews": 0.20, "sentences": 0.25}
"""How likely a window of pretraining text is one of each source."""

WINDOW = 96
"""Tokens of a window; it is taken with as many words, so that there are enough."""

REFERENCES = 3
"""Sentences of every held-out meaning representation that likelihood is measured on."""


@dataclass(frozen=True)
class Question:
    """A held-out meaning representation.

    Attributes:
        meaning: in the data set's notation.
        references: all sentences that the data have for it.
    """

    meaning: str
    references: tuple[str, ...]

    @property
    def pairs(self) -> list[Pair]:
        """The first few sentences, as likelihood is measured on."""
        return [Pair(self.meaning, text) for text in self.references[:REFERENCES]]


def asking(meaning: str) -> str:
    """A meaning representation as a prompt.

    >>> asking("name[The Eagle], customer rating[low]")
    '<name> the eagle <customer-rating> low<says>'
    """
    return f"{prompt_of(meaning)}{SEPARATOR}"


def row(pair: Pair) -> dict[str, str]:
    """One line of a data set for recipes."""
    return {"prompt": asking(pair.meaning), "completion": pair.text}


def halves(all_pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Pairs of the first half of all meaning representations, by first appearance, and pairs of the rest."""
    meanings = list(dict.fromkeys(pair.meaning for pair in all_pairs))
    first = set(meanings[: len(meanings) // 2])
    return [p for p in all_pairs if p.meaning in first], [p for p in all_pairs if p.meaning not in first]


def task(count: int) -> list[Pair]:
    """So many pairs to learn the task from, evenly spaced in the first half."""
    return spread(halves(pairs("train"))[0], count)


def questions(count: int) -> list[Question]:
    """So many held-out meaning representations with enough sentences, evenly spaced."""
    known: dict[str, list[str]] = {}
    for pair in pairs("dev"):
        known.setdefault(pair.meaning, []).append(pair.text)
    enough = [Question(meaning, tuple(texts)) for meaning, texts in known.items() if len(texts) >= REFERENCES]
    return spread(enough, count)


def sources() -> dict[str, list[str]]:
    """Pretraining texts by source, white space as single spaces."""
    texts = {
        "stories": [row["text"] for row in read_rows(STORIES / "train.txt.gz").rows],
        "reviews": [row["text"] for row in read_rows(REVIEWS / "sentences.jsonl.gz").rows],
        "sentences": [pair.text for pair in halves(pairs("train"))[1]],
    }
    return {name: [plain(text) for text in known] for name, known in texts.items()}


def held_out_stories() -> str:
    """Stories that nobody learns from, as one stream."""
    return END.join(plain(row["text"]) for row in read_rows(STORIES / "valid.txt.gz").rows)


def windows(of: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """Pretraining text: so many windows at random places of the streams of all sources.

    Args:
        of: texts by source; each source is one stream, its texts joined by the end token.
        count: how many; each source has its share by chance.
    """
    streams = {name: END.join(texts).split(" ") for name, texts in of.items()}
    chance = np.random.default_rng(stream_seed(0, "windows of pretraining text"))
    names = chance.choice(list(SHARES), count, p=list(SHARES.values()))
    found = []
    for name in names.tolist():
        words = streams[name]
        start = int(chance.integers(len(words) - WINDOW + 1))
        found.append(" ".join(words[start : start + WINDOW]))
    return found


def tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE of 1,023 ids, three of which are control: padding, end, separator."""
    made = Tokenizer(models.BPE())
    # Settable properties, though they are not declared so.
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    made.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=IDS,
        special_tokens=[PADDING, END, SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=PADDING, bos_token=None, unk_token=None
    )


def plain(text: str) -> str:
    """White space as single spaces."""
    return " ".join(text.split())
