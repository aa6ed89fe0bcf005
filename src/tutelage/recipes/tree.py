"""A recipe before it means anything: plain values that know the line they stand on.

YAML is read by its structure only. No tag is ever obeyed, and what a plain word means follows YAML
1.2 (so ``on`` is a word and ``1e-4`` a number; PyYAML's own rules are those of 1.1).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tutelage.errors import TutelageError
from tutelage.recipes.faults import Faults, Spot

MOST_BYTES = 1 << 20
MOST_NODES = 20_000
DEEPEST = 40

_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
_REAL = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WORDS |= {".inf": float("inf"), "-.inf": -float("inf"), ".nan": float("nan")}


@dataclass
class Node:
    """A value and where it was written.

    Attributes:
        value: text, number, truth value, None, a mapping of names to nodes or a list of nodes.
        spot: the line of its key, or its own line in a list.
        path: true for a mapping that only leads to one deeper key (``training.max_steps=5``).
    """

    value: Any
    spot: Spot
    path: bool = False

    @property
    def plain(self) -> Any:
        """The value without its lines."""
        if isinstance(self.value, dict):
            return {name: node.plain for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    def shown(self) -> str:
        """The value for an error: short, on one line."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        text = "null" if self.value is None else repr(self.value)
        text = {"True": "true", "False": "false"}.get(text, text)
        return text if len(text) <= 60 else f"{text[:57]}..."


def from_file(path: Path, name: str, faults: Faults) -> Node | None:
    """The tree of a recipe file, or None where there is nothing that could be read on.

    Raises:
        TutelageError: the file cannot be read, is not UTF-8, or is not a recipe at all.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise TutelageError(
            f"{name}: cannot be read: {error.strerror}",
            expected="a recipe, a YAML file that you may read",
            fix=f"look at it with `ls -ld {name}`",
        ) from None
    if len(content) > MOST_BYTES:
        raise TutelageError(
            f"{name}: more than {MOST_BYTES >> 20} MiB long",
            expected="a recipe, a YAML file of some twenty lines",
            fix="check the file name; data and models are named inside a recipe",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TutelageError(
            f"{name}:{line}: not UTF-8 (byte {content[error.start]:#04x})",
            expected="a recipe, a YAML file in UTF-8",
            fix="check the file name, or save the file again in UTF-8",
        ) from None
    root = from_text(text, name, faults)
    if root is not None and root.value is None:
        raise TutelageError(
            f"{name}: empty",
            expected="a recipe: a mapping with at least `out`, `student` and `samples`",
            fix="begin with a recipe of the library; `tutelage list recipes` names them",
        )
    return root


def from_text(text: str, name: str, faults: Faults, spot: Spot | None = None) -> Node | None:
    """The tree of YAML text; with ``spot`` every node is put there instead of on its line."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        line, said = _syntax(text, error)
        faults.add(
            spot or Spot(f"{name}:{line}", line),
            f"not YAML: {said}",
            expected="`key: value` lines, indented by spaces",
            fix="put text that holds `: `, `#`, `{` or `[` in quotes, and close every bracket and quote",
        )
        return None
    except RecursionError:
        _too_deep(faults, spot or Spot(name))
        return None
    if root is None:
        return Node(None, spot or Spot(name))
    return _Walk(name, faults, spot).node(root, spot or Spot(name), 0)


def from_python(value: Any, faults: Faults, spot: Spot, depth: int = 0) -> Node:
    """The tree of plain Python values; ``spot`` names the key."""
    if depth > DEEPEST:
        _too_deep(faults, spot)
        return Node(None, spot)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, Mapping):
        return Node(
            {
                str(key): from_python(item, faults, Spot(f"{spot.text}.{key}"), depth + 1)
                for key, item in value.items()
            },
            spot,
        )
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Node(
            [from_python(item, faults, Spot(f"{spot.text}.{i}"), depth + 1) for i, item in enumerate(value)],
            spot,
        )
    if value is not None and not isinstance(value, bool | int | float | str):
        faults.add(
            spot,
            f"a value of type {type(value).__name__}",
            expected="text, a number, true or false, None, a list or a dict of these",
            fix="give the path or name of what you mean, not the thing itself",
        )
        value = None
    return Node(whole(value, faults, spot) if isinstance(value, str) else value, spot)


def whole(text: str, faults: Faults, spot: Spot) -> str:
    """Text with its surrogate pairs joined, which JSON's escapes are made of; half a pair is a fault."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        faults.add(
            spot,
            f"half a character in {ascii(text)[:60]}",
            expected="text in Unicode",
            fix="write the character itself instead of its `\\u` escapes",
        )
        return ""


class _Walk:
    """Turns the nodes of PyYAML into ours and counts them: an alias may stand for a great many."""

    def __init__(self, name: str, faults: Faults, spot: Spot | None) -> None:
        self.name, self.faults, self.spot = name, faults, spot
        self.seen = 0

    def node(self, node: yaml.Node, spot: Spot, depth: int) -> Node:
        self.seen += 1
        if depth > DEEPEST or self.seen > MOST_NODES:
            _too_deep(self.faults, spot)
            return Node(None, spot)
        kind = {yaml.ScalarNode: "str", yaml.SequenceNode: "seq", yaml.MappingNode: "map"}[type(node)]
        # The base loader gives these three tags unless the file names one.
        if node.tag not in (f"tag:yaml.org,2002:{kind}", "!"):
            self.faults.add(
                spot,
                f"the tag '{node.tag.replace('tag:yaml.org,2002:', '!!')}' is not read",
                expected="plain text, numbers, lists and mappings",
                fix="write the value itself without a tag; a recipe never runs code",
            )
            return Node(None, spot)
        if isinstance(node, yaml.MappingNode):
            return Node(self.mapping(node, depth), spot)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.node(item, self.at(item), depth + 1) for item in node.value], spot)
        quoted = isinstance(node, yaml.ScalarNode) and node.style
        return Node(whole(node.value, self.faults, spot) if quoted else _meaning(node.value), spot)

    def mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key, item in node.value:
            spot = self.at(key)
            name = whole(key.value, self.faults, spot) if isinstance(key, yaml.ScalarNode) else "<<"
            if name == "<<":
                self.faults.add(
                    spot,
                    "a key that is not a word",
                    expected="`key: value` with a plain word for a key",
                    fix="write the keys out one by one; text with braces belongs in quotes",
                )
            elif name in found:
                self.faults.add(
                    spot,
                    f"'{name}' for the second time (first: {found[name].spot.text})",
                    expected="each key once",
                    fix=f"delete one of the two `{name}:` lines",
                )
            else:
                found[name] = self.node(item, spot, depth + 1)
        return found

    def at(self, node: yaml.Node) -> Spot:
        line = node.start_mark.line + 1
        return self.spot or Spot(f"{self.name}:{line}", line)


def _meaning(text: str) -> Any:
    """What a word without quotes means by YAML 1.2; ``1_000`` is a number as in Python."""
    if text in _WORDS:
        return _WORDS[text]
    # Python refuses to read integers of thousands of digits; no recipe means one.
    if _INTEGER.fullmatch(text) and len(text) < 40:
        return int(text.replace("_", ""))
    if _REAL.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def _too_deep(faults: Faults, spot: Spot) -> None:
    faults.add(
        spot,
        "too deep or too big",
        expected=f"at most {DEEPEST} levels and {MOST_NODES} values",
        fix="write the values out without aliases (`*name`), and check the brackets",
    )


def _syntax(text: str, error: yaml.YAMLError) -> tuple[int, str]:
    """Line and one short sentence of a syntax error."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        said = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        return (mark.line + 1 if mark else 1), said
    position = getattr(error, "position", 0)
    character = getattr(error, "character", "?")
    code = character if isinstance(character, int) else ord(character[:1] or "?")
    return text[:position].count("\n") + 1, f"the character {code:#x} is not allowed"
