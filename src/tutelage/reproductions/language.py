"""A language whose modes are known: topics, a few ways of speaking about each, sparse Markov chains.

A prompt is a topic. A response picks one of the topic's modes by its weight and follows that mode's chain
for 8 to 19 words. Whether a text is one that the language can say is a matter of fact, so what a student
makes of its teacher's modes can be counted: no judge is needed. One language belongs to one seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tutelage.errors import OutOfRange
from tutelage.seeds import stream_seed

WORDS = tuple(f"{first}{vowel}" for first in ("", *"kstnhmyrwgz") for vowel in "aiue")
"""48 words; their ids are their places."""

TOPICS = tuple(f"topic-{number}" for number in range(8))
END, PADDING = "<end>", "<pad>"
END_ID, PADDING_ID = len(WORDS) + len(TOPICS), len(WORDS) + len(TOPICS) + 1
SHORTEST, LONGEST = 8, 19
OWN_WORDS, SUCCESSORS, STARTS = 14, 3, 2
WEIGHTS, CHAINS = 3.0, 2.0
"""Concentrations of the Dirichlet distributions of mode weights and of a word's successors."""


@dataclass(frozen=True)
class Mode:
    """One way of speaking: a sparse Markov chain.

    Attributes:
        starts: the words with which a response may begin, equally likely.
        follows: of every word of the mode its successors with their probabilities.
    """

    starts: tuple[int, ...]
    follows: dict[int, tuple[tuple[int, ...], tuple[float, ...]]]

    def can_say(self, words: Sequence[int]) -> bool:
        """Whether the words begin as the mode begins, and each follows from the one before."""
        if not words or words[0] not in self.starts:
            return False
        return all(after in self.follows[before][0] for before, after in itertools.pairwise(words))


@dataclass(frozen=True)
class Language:
    """What can be said about every topic.

    Attributes:
        topics: of every topic its modes.
        weights: of every topic how likely each mode is.
    """

    topics: tuple[tuple[Mode, ...], ...]
    weights: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, seed: int, modes: int) -> Language:
        """The language of a seed with so many modes a topic.

        Raises:
            OutOfRange: ``modes`` is below 1.
        """
        if modes < 1:
            raise OutOfRange(f"{modes} modes a topic", expected="at least 1", fix="write 6")
        chance = _chance(seed, "language", modes)
        topics = tuple(tuple(_mode(chance) for _ in range(modes)) for _ in TOPICS)
        weights = tuple(tuple(chance.dirichlet([WEIGHTS] * modes).tolist()) for _ in TOPICS)
        return cls(topics, weights)

    def say(self, topic: int, chance: np.random.Generator) -> list[int]:
        """One response: words without the end token."""
        mode = self.topics[topic][chance.choice(len(self.weights[topic]), p=self.weights[topic])]
        said = [mode.starts[chance.integers(len(mode.starts))]]
        for _ in range(int(chance.integers(SHORTEST, LONGEST + 1)) - 1):
            after, likely = mode.follows[said[-1]]
            said.append(after[chance.choice(len(after), p=likely)])
        return said

    def rows(self, seed: int, count: int) -> Iterator[dict[str, str]]:
        """Prompts with completions, as recipes read them; topics are equally likely."""
        chance = _chance(seed, "rows of the language")
        for _ in range(count):
            topic = int(chance.integers(len(TOPICS)))
            yield row(topic, self.say(topic, chance))

    def valid(self, topic: int, said: Sequence[int]) -> bool:
        """Whether a response ends, has at least 8 words and is a path of a single mode of its topic."""
        if not said or said[-1] != END_ID:
            return False
        words = list(said[:-1])
        return len(words) >= SHORTEST and any(mode.can_say(words) for mode in self.topics[topic])


def row(topic: int, words: Sequence[int]) -> dict[str, str]:
    """One line of a data set."""
    return {"prompt": TOPICS[topic], "completion": " ".join(WORDS[word] for word in words)}


def prompt(topic: int) -> list[int]:
    """A topic as token ids."""
    return [len(WORDS) + topic]


def tokenizer() -> Any:
    """A tokenizer that has a token for each word and topic, the end and the padding; it knows no others."""
    ids = {token: number for number, token in enumerate([*WORDS, *TOPICS, END, PADDING])}
    # What it does not know becomes padding, which no row of the language holds.
    made = Tokenizer(models.WordLevel(ids, unk_token=PADDING))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=PADDING, unk_token=PADDING, bos_token=None
    )


def _mode(chance: np.random.Generator) -> Mode:
    words = chance.choice(len(WORDS), OWN_WORDS, replace=False).tolist()
    follows = {
        word: (
            tuple(chance.choice(words, SUCCESSORS, replace=False).tolist()),
            tuple(chance.dirichlet([CHAINS] * SUCCESSORS).tolist()),
        )
        for word in words
    }
    return Mode(tuple(chance.choice(words, STARTS, replace=False).tolist()), follows)


def _chance(seed: int, name: str, *counters: int) -> np.random.Generator:
    return np.random.default_rng(stream_seed(seed, name, *counters))
