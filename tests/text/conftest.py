"""The tokenizers that the tests of text run over, and the data of the project."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import pytest
from small_tokenizers import DATA, MADE, built


@pytest.fixture(scope="session", params=MADE)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """Each of the tokenizers in turn."""
    return built(request.param)


@pytest.fixture(scope="session")
def gpt2() -> Any:
    """GPT-2's tokenizer, from the data of the project."""
    return built("GPT-2")


@pytest.fixture(scope="session")
def one_special() -> Any:
    """The tokenizer whose start, end and padding token are one."""
    return built("one token for start, end and padding")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the project's data."""
    return DATA
