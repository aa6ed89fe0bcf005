"""The small tokenizer of the tests of models, as it is and in a folder."""

import os
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from tiny_models import bytes_tokenizer


@pytest.fixture(scope="session")
def words() -> Any:
    """The small tokenizer."""
    return bytes_tokenizer()


@pytest.fixture(scope="session")
def words_folder(words: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder in which the small tokenizer is saved."""
    folder = tmp_path_factory.mktemp("words")
    words.save_pretrained(folder)
    return str(folder)
