"""Where a recipe's paths are looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tutelage
from tutelage.errors import TutelageError
from tutelage.recipes import find, from_dict, load, written


def test_the_current_directory_comes_before_the_recipes_folder(place, tmp_path):
    """A relative path is taken from where one stands; only then from beside the recipe."""
    (place / "kept").mkdir()
    (place / "kept" / "only_here.txt").touch()
    (place / "kept" / "both.txt").touch()
    (place / "both.txt").touch()
    assert find("both.txt", Path("kept")) == "both.txt"
    assert find("only_here.txt", Path("kept")) == os.path.join("kept", "only_here.txt")


def test_a_recipe_elsewhere_finds_what_lies_beside_it(place, monkeypatch):
    """The recorded paths are those from the current directory, so the record can be read there again."""
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    recipe = load("../recipe.yaml")
    assert recipe.teacher is not None
    assert recipe.teacher.options["model"] == os.path.join("..", "models", "teacher")
    assert from_dict(recipe.resolved()) == recipe


def test_a_name_that_is_not_here_is_left_to_the_hub(place):
    """Unless its first part is a folder here: then it is a path with a slip in it."""
    assert find("someone/some-model") == "someone/some-model"
    with pytest.raises(TutelageError, match="no such file or folder 'models/missing'"):
        find("models/missing")


@pytest.mark.parametrize(
    "text", ["missing", "./a/b", "a/b/c", "someone/rows.jsonl.gz", "", " ", "a\0b", "x" * 9999]
)
def test_what_is_spelt_like_a_path_must_be_there(place, text):
    """A missing file is told in the first second, not by a hub after a minute."""
    with pytest.raises(TutelageError) as error:
        find(text)
    assert len(str(error.value).splitlines()) == 3


def test_what_the_package_brings_is_recorded_by_name(place):
    """The path differs on every machine; the record and the hash do not."""
    found = find("package:recipes/library/demo.yaml")
    assert Path(found).is_file()
    assert Path(found).is_relative_to(Path(tutelage.__file__).parent)
    assert found.written == "package:recipes/library/demo.yaml"
    assert written((found, "org/name")) == "package:recipes/library/demo.yaml, org/name"
    recipe = load("recipe.yaml", ["samples.data=package:recipes/library/demo.yaml"])
    assert recipe.resolved()["samples"]["data"] == "package:recipes/library/demo.yaml"
    assert from_dict(recipe.resolved()).hash == recipe.hash


@pytest.mark.parametrize("text", ["package:../setup.py", "package:/etc/passwd", "package:nothing/there"])
def test_nothing_outside_the_package_is_reached_through_it(place, text):
    """`package:` is no way around the file system."""
    with pytest.raises(TutelageError, match="the package has no file"):
        find(text)
