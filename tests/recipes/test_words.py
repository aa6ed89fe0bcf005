"""The keys of a recipe, their reference, and the words of TrainingArguments."""

from __future__ import annotations

import dataclasses

import pytest
from transformers import TrainingArguments

from tutelage.errors import TutelageError
from tutelage.recipes import Evaluation, StudentWord, Training, load, reference
from tutelage.recipes.arms import KEYS
from tutelage.recipes.foreign import instead
from tutelage.recipes.shelf import library

OURS = {field.name for field in dataclasses.fields(Training)}
THEIRS = sorted(field.name for field in dataclasses.fields(TrainingArguments))


@pytest.mark.parametrize("word", THEIRS)
def test_no_word_of_training_arguments_is_accepted_and_ignored(place, word):
    """Each is implemented, or refused with what to write instead."""
    if word in OURS:
        assert instead(word) is None
        return
    with pytest.raises(TutelageError) as error:
        load("recipe.yaml", [f"training.{word}=1"])
    assert f"unknown key '{word}' in `training`" in str(error.value)
    assert error.value.fix == (instead(word) or "write it under `evaluation:`")


def test_our_words_of_training_are_theirs():
    """Nobody has to learn a new word for the same thing (`warmup_ratio` was theirs until version 5)."""
    assert OURS - set(THEIRS) <= {"warmup_ratio"}


def test_the_reference_explains_every_key():
    """It is made from what checks a recipe, so it cannot fall behind."""
    text = reference()
    keys = {*KEYS, *OURS}
    keys |= {field.name for one in (Evaluation, StudentWord) for field in dataclasses.fields(one)}
    assert not [key for key in keys if f"| `{key}` |" not in text]
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert all(cell.strip(" |") for line in cells for cell in line)


@pytest.mark.parametrize("name", library())
def test_a_recipe_of_the_library_says_what_it_is(name):
    """The first line of the file is its summary in `tutelage list`."""
    assert library()[name].summary
