"""The reference pages are what the source says, and `docs/make.py --check` notices when they are not."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from pages import ROOT

from tutelage.recipes import families


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "docs" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_pages_are_not_stale(make: ModuleType, capsys: pytest.CaptureFixture[str]):
    """Whoever changes a docstring or a table runs `make docs`."""
    assert make.main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_page_is_named_and_left_alone_and_made_anew(
    make: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """`--check` writes nothing and says which page; without it the page is mended, and only that one."""
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    page = docs / "reference" / "divergences.md"
    right = page.read_text(encoding="utf-8")
    wrong = right.replace("forward_kl", "backward_kl")
    page.write_text(wrong, encoding="utf-8")
    assert make.main(["--check", "--docs", str(docs)]) == 1
    assert "docs/reference/divergences.md: stale" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == wrong
    assert make.main(["--docs", str(docs)]) == 0
    assert capsys.readouterr().out.strip() == "docs/reference/divergences.md: written"
    assert page.read_text(encoding="utf-8") == right


def test_every_entry_of_a_table_is_on_its_page():
    """A new line of a table shows up in the reference by itself."""
    for family, table in families().items():
        if family in ("plans", "recipes"):
            continue
        page = (ROOT / "docs" / "reference" / f"{family}.md").read_text(encoding="utf-8")
        for name in table:
            assert f"\n## {name}\n" in page
