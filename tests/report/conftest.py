"""Folders of finished runs, and a real browser to look at what is made of them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from report_folders import write_plain, write_study

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of three trained arms and the untouched student."""
    return write_study(tmp_path / "study")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A run of one arm and one seed."""
    return write_plain(tmp_path / "plain")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine. Without one: a failure where one was promised, else a skip."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        why = f"none of {', '.join(BROWSERS)} is on this machine"
        if os.environ.get("TUTELAGE_NEEDS_BROWSER") == "1":
            pytest.fail(f"TUTELAGE_NEEDS_BROWSER is 1, but {why}")
        pytest.skip(why)
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()
