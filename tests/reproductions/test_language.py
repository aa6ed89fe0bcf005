"""The synthetic language: what it says is valid, what it cannot say is not, and a recipe reads it back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OutOfRange
from tutelage.reproductions.language import (
    END_ID,
    LONGEST,
    OWN_WORDS,
    PADDING_ID,
    SHORTEST,
    STARTS,
    SUCCESSORS,
    TOPICS,
    WORDS,
    Language,
    prompt,
    tokenizer,
)
from tutelage.text import Layout, examples_of, read_rows

SEEDS = st.integers(0, 2**31)


@given(seed=SEEDS, modes=st.integers(1, 6))
def test_a_language_is_what_its_definition_says(seed: int, modes: int) -> None:
    """14 words a mode, 3 distinct successors among them, 2 starts, probabilities that sum to one."""
    language = Language.of(seed, modes)
    assert len(language.topics) == len(TOPICS)
    for topic, weights in zip(language.topics, language.weights, strict=True):
        assert len(topic) == len(weights) == modes
        assert sum(weights) == pytest.approx(1)
        for mode in topic:
            own = set(mode.follows)
            assert len(own) == OWN_WORDS <= len(WORDS)
            assert set(mode.starts) <= own
            assert len(set(mode.starts)) == STARTS
            for after, likely in mode.follows.values():
                assert set(after) <= own
                assert len(set(after)) == SUCCESSORS
                assert sum(likely) == pytest.approx(1)


@given(seed=SEEDS, topic=st.integers(0, 7), modes=st.sampled_from([1, 6]), text=SEEDS)
def test_what_it_says_is_valid(seed: int, topic: int, modes: int, text: int) -> None:
    """Whatever is drawn, once it ends; not without its end, nor cut below 8 words."""
    language = Language.of(seed, modes)
    said = language.say(topic, np.random.default_rng(text))
    assert SHORTEST <= len(said) <= LONGEST
    assert language.valid(topic, [*said, END_ID])
    assert not language.valid(topic, said)
    assert not language.valid(topic, [*said[: SHORTEST - 1], END_ID])
    assert not language.valid(topic, [*said, PADDING_ID, END_ID])
    assert not language.valid(topic, [])


@given(seed=SEEDS, text=SEEDS, place=st.integers(0, SHORTEST - 1))
def test_a_word_of_no_mode_spoils_it(seed: int, text: int, place: int) -> None:
    """With one mode: a word that the mode does not have, wherever it stands."""
    language = Language.of(seed, 1)
    said = language.say(0, np.random.default_rng(text))
    foreign = next(word for word in range(len(WORDS)) if word not in language.topics[0][0].follows)
    assert not language.valid(0, [*said[:place], foreign, *said[place + 1 :], END_ID])


@given(seed=SEEDS)
def test_a_path_that_changes_its_mode_is_not_valid(seed: int) -> None:
    """Half a text of one mode and half of another is valid only if a single mode can say all of it."""
    language = Language.of(seed, 6)
    chance = np.random.default_rng(seed)
    halves = [language.say(0, chance)[:6] for _ in range(2)]
    joined = [word for half in halves for word in half]
    assert language.valid(0, [*joined, END_ID]) == any(mode.can_say(joined) for mode in language.topics[0])


def test_one_language_belongs_to_one_seed() -> None:
    """The same seed gives the same language and rows, another gives others."""
    assert Language.of(1, 6) == Language.of(1, 6)
    assert Language.of(1, 6) != Language.of(2, 6)
    rows = [list(Language.of(1, 6).rows(seed, 5)) for seed in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


def test_a_recipe_reads_it_back(tmp_path: Path) -> None:
    """Rows laid out by the toolkit are topic, words and end; all but the topic count."""
    language = Language.of(0, 6)
    lines = [json.dumps(row) for row in language.rows(0, 50)]
    (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n")
    found = examples_of(read_rows(str(tmp_path / "data.jsonl")), tokenizer(), Layout(max_length=32))
    assert len(found.examples) == 50
    for example in found.examples:
        topic, *said = example.tokens
        assert [topic] == prompt(topic - len(WORDS))
        assert example.counted == [False] + [True] * len(said)
        assert language.valid(topic - len(WORDS), said)


def test_a_language_needs_a_mode() -> None:
    """None is refused."""
    with pytest.raises(OutOfRange):
        Language.of(0, 0)
