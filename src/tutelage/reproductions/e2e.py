"""The E2E data set as a small world: meaning representations as prompts, a word-level vocabulary of 1,000.

A meaning representation is a list of attributes with values, such as ``name[The Eagle], food[French]``; what
is to be said is a sentence or two about the restaurant. Many references stand beside each of them.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tutelage.errors import TutelageError

HOME = Path(__file__).resolve().parents[3] / "data" / "e2e"
"""In a checkout of the project; the package alone does not carry the data."""

PADDING, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unknown>"
WORDS = 1000
"""Tokens of the vocabulary, marks of attributes and special tokens included."""

RAREST = 5
"""A word that occurs less often has no token of its own."""

MARKS = {
    "name": "<name>",
    "eatType": "<eat-type>",
    "food": "<food>",
    "priceRange": "<price-range>",
    "customer rating": "<customer-rating>",
    "area": "<area>",
    "familyFriendly": "<family-friendly>",
    "near": "<near>",
}
SLOTS = ("name", "near", "food", "area")
"""Attributes whose values a text has to repeat word by word; the others can be said in other words."""

_PART = re.compile(r"([^,\[\]][^\[\]]*)\[([^\]]*)\]")
_SEPARATE = re.compile(r"([£-])")


@dataclass(frozen=True)
class Pair:
    """A meaning representation with one text about it.

    Attributes:
        meaning: in the data set's notation.
        text: words and marks of punctuation in lower case, a space between any two.
    """

    meaning: str
    text: str

    @property
    def row(self) -> dict[str, str]:
        """One line of a data set for recipes."""
        return {"prompt": prompt_of(self.meaning), "completion": self.text}


def pairs(part: str) -> list[Pair]:
    """A part of the data set, ``train`` or ``dev``, in its order.

    Raises:
        TutelageError: the data are not there.
    """
    path = HOME / f"{part}.jsonl.gz"
    if not path.is_file():
        raise TutelageError(
            f"{path} is not there",
            expected="the E2E data set in `data/e2e` of a checkout of the project",
            fix="run this in a checkout, with `pip install -e .`",
        )
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Pair(row["mr"], row["ref_tok"].lower()) for row in rows]


def values_of(meaning: str) -> dict[str, str]:
    """Attributes with their values as a text has them: lower case, ``£`` and ``-`` as words of their own.

    >>> values_of("name[The Eagle], priceRange[£20-25]")
    {'name': 'the eagle', 'priceRange': '£ 20 - 25'}
    """
    found = {mark.strip(): value.lower() for mark, value in _PART.findall(meaning)}
    return {mark: " ".join(_SEPARATE.sub(r" \1 ", value).split()) for mark, value in found.items()}


def prompt_of(meaning: str) -> str:
    """A meaning representation as words: the mark of every attribute and its value.

    >>> prompt_of("name[The Eagle], customer rating[low]")
    '<name> the eagle <customer-rating> low'
    """
    return " ".join(f"{MARKS[mark]} {value}" for mark, value in values_of(meaning).items())


def tokenizer(texts: Iterable[str], words: int = WORDS) -> Any:
    """A word-level tokenizer of so many tokens: special ones, marks, and the most frequent words.

    Args:
        texts: in which words are counted; of two words that are equally frequent the first in alphabetical
            order comes first.
        words: tokens at most.
    """
    counts = Counter(word for text in texts for word in text.split())
    known = [word for word, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    known = [word for word in known if counts[word] >= RAREST]
    tokens = [*(PADDING, START, END, UNKNOWN), *MARKS.values(), *known][:words]
    made = Tokenizer(
        models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=UNKNOWN)
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=START, eos_token=END, pad_token=PADDING, unk_token=UNKNOWN
    )


def slots_found(meaning: str, said: str) -> tuple[int, int]:
    """How many slot values a text has, word by word in a row, and how many it should have.

    >>> slots_found("name[The Eagle], food[French], area[riverside]", "the eagle has french food .")
    (2, 3)
    """
    wanted = [value for mark, value in values_of(meaning).items() if mark in SLOTS]
    return sum(f" {value} " in f" {said} " for value in wanted), len(wanted)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """So many of the items, evenly spaced, the first among them; all of them where there are no more."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]
