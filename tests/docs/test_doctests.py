"""Examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
from pages import ROOT

SOURCE = ROOT / "src"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[str]:
    """Names of the modules with an example in them."""
    found = []
    for path in sorted((SOURCE / "tutelage").rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            found.append(".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_are_true(name: str):
    """Every example of the file is found and holds; one that no tool finds would go stale unseen."""
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=FLAGS, verbose=False)
    assert results.failed == 0
    written = Path(module.__file__ or "").read_text(encoding="utf-8").count(">>> ")
    assert results.attempted == written, f"{name} shows {written} examples, {results.attempted} were found"
