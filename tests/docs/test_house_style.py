"""The laws of the house that a tool can read: length, docstrings, and nothing of the place it was made in."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT

SOURCE = ROOT / "src" / "tutelage"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# Spelt so that the patterns don't find themselves.
NOT_HERE = {
    "a path of the machine it was written on": r"(^|[^A-Za-z0-9_.~-])/(work|root)/[A-Za-z.]",
    "a package registry's host": r"(pypi|pythonhosted|npmjs|crates|anaconda)[.](org|io|com)",
    "a registry option of pip": r"--(extra-)?(index-url|find-links)\b",
}


def shared_files() -> list[Path]:
    """What git tracks, and what it would track if it were added."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def definitions(tree: ast.AST, public: bool = True) -> Iterator[tuple[Definition, bool]]:
    """Classes and functions with whether their names are public; what is inside functions is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            open_name = public and not node.name.startswith("_")
            yield node, open_name
            if isinstance(node, ast.ClassDef):
                yield from definitions(node, open_name)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_is_short_and_says_what_it_is(path: Path):
    """Files up to 400 lines, functions up to 60, a docstring on everything that has a public name."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= LONGEST_FILE
    assert not text or ast.get_docstring(tree), "the module has no docstring"
    for node, public in definitions(tree):
        if not isinstance(node, ast.ClassDef):
            assert length(node) <= LONGEST_FUNCTION, f"{node.name} has {length(node)} lines"
        if public and not _explained_elsewhere(node):
            assert ast.get_docstring(node), f"{path.name}:{node.lineno}: {node.name} has no docstring"


def text_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that read or write text: ``read_text()``, ``write_text(...)`` and ``open`` in a text mode."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        said = [*call.args, *(word.value for word in call.keywords)]
        modes = {value.value for value in said if isinstance(value, ast.Constant)}
        # With a name in its parentheses `read_text` is that of an installed package, and a plain
        # `write_text` is ours.
        method = isinstance(call.func, ast.Attribute)
        whole = method and (name == "write_text" or (name == "read_text" and not call.args))
        opened = name == "open" and modes & {"r", "w", "a", "x", "r+", "w+", "a+", "x+"}
        if whole or opened:
            yield call


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_text_is_never_read_or_written_in_the_encoding_of_the_locale(path: Path):
    """What is written on one machine is read on another, so every such call names its encoding."""
    for call in text_calls(ast.parse(path.read_text(encoding="utf-8"))):
        named = {word.arg for word in call.keywords}
        assert "encoding" in named, f"{path.name}:{call.lineno}: {ast.unparse(call)}"


def test_no_file_names_the_place_it_was_made_in():
    """Paths of one machine and hosts of registries mean nothing to whoever clones the project."""
    found = []
    for path in shared_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in NOT_HERE.items():
            for match in re.finditer(pattern, text, re.MULTILINE):
                line = text[: match.start()].count("\n") + 1
                found.append(f"{path.relative_to(ROOT)}:{line}: {what}: {match[0]!r}")
    assert not found, "\n".join(found)


def test_patterns_find_what_they_forbid():
    """A pattern that matches nothing would pass every file."""
    spoilt = ["see " + "/work" + "/main", '"' + "/root" + "/.cache", "https://" + "pypi" + ".org/simple"]
    spoilt.append("pip install --index" + "-url x")
    for text in spoilt:
        assert any(re.search(pattern, text, re.MULTILINE) for pattern in NOT_HERE.values()), text
    for text in ("framework/main", "at work/home", "the root/leaf", "~/work/x", "a --find"):
        assert not any(re.search(pattern, text, re.MULTILINE) for pattern in NOT_HERE.values()), text


def _explained_elsewhere(node: Definition) -> bool:
    # Setters and overloads where the name is; a protocol's bare members in the protocol's docstring.
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    bare = [ast.unparse(line) for line in node.body] == ["..."]
    return bare or any(mark.endswith(("overload", ".setter")) for mark in marks)
