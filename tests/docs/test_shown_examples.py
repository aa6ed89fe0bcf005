"""Everything that README and docs show is run, read or looked up."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from pages import PAGES, ROOT, Block, Command, blocks, commands, named_recipes

from tutelage.cli import answered
from tutelage.recipes import Recipe, load, read

PYTHON, YAML = blocks("python"), blocks("yaml")
COMMANDS = [
    # Loading two models and measuring them takes some ten seconds on a busy machine.
    pytest.param(*found, marks=pytest.mark.slow if " check " in found[1].line and found[1].shown else ())
    for found in commands()
]
KNOWN = {"python", "yaml", "console", "sh", "text", "bibtex"}
RUN = ("--help", "--version", "list", "cite")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# What a fragment of a recipe is laid over, so that it can be read on its own.
AROUND = {
    "out": "runs/fragment",
    "student": "package:demo/student",
    "teacher": "package:demo/teacher",
    "samples": {"kind": "dataset", "data": "data/tinystories/train.txt.gz"},
    "divergence": "forward_kl",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the root of a clone, in which examples may write."""
    for name in ("data", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def place(one: object) -> str | None:
    """Name of a test: page and line, and the command."""
    return one.place if isinstance(one, Block) else getattr(one, "line", None)


@pytest.mark.parametrize("block", PYTHON, ids=place)
def test_an_example_in_python_runs_and_prints_what_it_says(block: Block, here: Path):
    """A comment behind ``print(...)`` is what is printed."""
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", block.text, re.MULTILINE)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(block.text, block.place, "exec"), {"__name__": "__example__"})
    printed = said.getvalue().splitlines()
    for line in expected:
        assert line in printed, f"{block.place} prints {printed}"


@pytest.mark.parametrize("block", YAML, ids=place)
def test_a_recipe_that_is_shown_can_be_read(block: Block, here: Path):
    """A whole recipe as it stands; a part of one laid over a small recipe."""
    if re.search(r"^out:", block.text, re.MULTILINE):
        (here / "shown.yaml").write_text(block.text)
        recipe = load("shown.yaml")
    else:
        recipe = read(AROUND, **yaml.safe_load(block.text))
    assert isinstance(recipe, Recipe)
    assert recipe.runs()


@pytest.mark.parametrize(("block", "command"), COMMANDS, ids=place)
def test_a_command_that_is_shown_is_one(block: Block, command: Command, here: Path):
    """Quick ones are run and their output compared; of the others, all that they name must exist."""
    for name, text in named_recipes(block.page).items():
        (here / name).write_text(text)
    program, *words = shlex.split(command.line)
    if program == "tutelage":
        tutelage(words, command)
    elif program == "torchrun":
        tutelage(words[words.index("tutelage") + 1 :], command)
    elif program == "make":
        subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True)
    elif program in ("python", "python3") and words[0] != "-m":
        assert (ROOT / words[0]).is_file(), f"{command.place}: {words[0]} is not there"
    elif program == "pip":
        for word in words:
            assert not word.endswith(".txt") or (ROOT / word).is_file(), f"{command.place}: {word}"
    else:
        assert program in ("python3", ".", "git", "cd", ".venv/bin/pre-commit"), (
            f"{command.place}: what is {program}?"
        )


def tutelage(words: list[str], command: Command) -> None:
    """Run a command line, or read what it would begin with."""
    verb, refused = words[0], "to fix" in command.shown
    if verb in RUN or refused or (verb in ("check", "plan") and command.shown):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = answered(words)
        # A plan that says "train without a teacher" is an answer, with a status of its own.
        right = {2} if refused else {0, 3} if verb == "plan" else {0}
        assert status in right, f"{command.place}: {said.getvalue()}"
        if command.shown:
            same = doctest.OutputChecker().check_output(command.shown, said.getvalue(), FLAGS)
            assert same, f"{command.place} says\n{said.getvalue()}"
        return
    if verb in ("run", "check"):
        load(words[1], [word for word in words[2:] if not word.startswith("--")])
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert answered([*words[: 2 if verb in ("cache", "plan") else 1], "--help"]) == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in said.getvalue(), f"{command.place}: {verb} has no {option}"


def test_every_block_says_what_it_is():
    """A block in an unknown language would be shown and never tried."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= KNOWN, set(fences[::2]) - KNOWN


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path):
    """Files exist, and so do the headings that a link points to."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
