"""What is broken is answered with three lines a fault, and nothing that exists is touched.

The recipes and data files are drawn from a seed, so that they are the same everywhere.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mutations import PLAIN, broken_data, broken_recipes

from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.recipes import load

RECIPES = dict(broken_recipes(240))
DATA = {f"{name}: {done}": (name, content) for done, name, content in broken_data()}
TOKENIZER = Path(__file__).parents[2] / "recipes" / "demo" / "tokenizer"


@pytest.fixture
def kept(place) -> Path:
    """The place with a folder of an earlier run in it, which nobody may touch."""
    (place / "runs" / "first" / "student").mkdir(parents=True)
    (place / "runs" / "first" / "student" / "model.safetensors").write_bytes(b"precious")
    (place / "runs" / "first" / "notes.txt").write_text("precious too")
    return place


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_the_lines(said: str) -> None:
    """Three lines a fault: what is wrong, what was expected, how to mend it."""
    lines = said.splitlines()
    assert lines
    assert len(lines) % 3 == 0, said
    for problem, expected, fix in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        assert problem
        assert not problem.startswith(" ")
        assert expected.startswith("  expected  ")
        assert len(expected) > 12
        assert fix.startswith("  to fix    ")
        assert len(fix) > 12
    assert "Traceback" not in said


def test_the_recipe_that_is_broken_below_is_right(place):
    """Else every mutation would be answered for the wrong reason."""
    (place / "recipe.yaml").write_text(yaml.safe_dump(PLAIN))
    assert len(load("recipe.yaml").runs()) == 2


@pytest.mark.parametrize("done", RECIPES)
def test_a_broken_recipe_gets_status_2_and_three_lines(kept, capsys, done):
    """Whatever the verb, before anything heavy is loaded and with nothing written."""
    (kept / "recipe.yaml").write_bytes(RECIPES[done])
    before = content(kept)
    assert answered(["run" if len(done) % 2 else "check", "recipe.yaml"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    check_the_lines(told.err)
    assert told.err.startswith("recipe.yaml")
    assert content(kept) == before


@pytest.mark.parametrize("done", list(RECIPES)[::60])
def test_the_command_itself_does_the_same(kept, done):
    """The same in a process of its own, as a user meets it."""
    (kept / "recipe.yaml").write_bytes(RECIPES[done])
    before = content(kept)
    told = subprocess.run(
        [sys.executable, "-m", "tutelage", "run", "recipe.yaml"], capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 2
    assert told.stdout == ""
    check_the_lines(told.stderr)
    assert content(kept) == before


@pytest.mark.parametrize("part", range(8))
def test_no_noise_in_a_recipe_is_a_bug_of_ours(place, part):
    """Random slips anywhere in the text: it is read, or it is answered; nothing else ever comes out."""
    text = (place / "recipe.yaml").read_bytes()
    for number in range(40):
        draw = random.Random(f"{part}:{number}")
        noisy = bytearray(text)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(noisy))
            what = draw.choice(
                [b"", b"\x00", b"\xff", b"[", b"}", b": ", b"\n", b'"', b"*a", b"&a ", b"!!x ", b"9"]
            )
            noisy[at : at + draw.randint(0, 3)] = what
        (place / "recipe.yaml").write_bytes(noisy)
        try:
            load("recipe.yaml")
        except TutelageError as error:
            check_the_lines(str(error))


def test_an_error_cannot_carry_a_line_of_its_own(place):
    """What was typed is shown on one line and cannot steer the terminal."""
    text = (place / "recipe.yaml").read_text()
    for sly in (
        '"a\\nb": 1',
        'seed: "a\\nb"',
        'teacher: "\\e[2Ja\\u2028b"',
        'estimator: "x\\ny"',
        '"\\ud800": 1',
    ):
        (place / "recipe.yaml").write_text(
            text.replace("seed: 3", sly).replace("teacher: models/teacher\n", "")
        )
        with pytest.raises(TutelageError) as error:
            load("recipe.yaml")
        check_the_lines(str(error.value))
        assert "\x1b" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("done", DATA)
def test_a_broken_data_file_gets_status_2_and_three_lines(kept, capsys, done):
    """The file is named; what lies beside it stays as it is."""
    name, rows = DATA[done]
    (kept / name).write_bytes(rows)
    sizes = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    words = {
        "out": "runs/new",
        "student": {"config": sizes, "tokenizer": str(TOKENIZER)},
        "divergence": "cross_entropy",
        "samples": {"kind": "dataset", "data": name, "max_length": 64},
        "training": {"max_steps": 1},
    }
    (kept / "recipe.yaml").write_text(yaml.safe_dump(words))
    before = content(kept)
    assert answered(["run", "recipe.yaml"]) == 2
    told = capsys.readouterr().err
    check_the_lines("\n".join(told.splitlines()[-3:]))
    assert name in told
    after = content(kept)
    assert {path: after[path] for path in before} == before
