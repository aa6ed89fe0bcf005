"""Does a value fit the type that the source declares? Read from annotations without importing anything.

What an annotation may be made of: ``int``, ``float``, ``str``, ``bool``, ``None``, ``Path``, ``Any``,
``X | Y``, ``Literal[...]``, lists and tuples, mappings, ``Teacher`` (a nested teacher word) and a range as in
``Annotated[float, "[0, 1)"]``, in the notation of intervals: a square bracket includes its end.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Callable
from typing import Any

from tutelage.errors import nearest
from tutelage.recipes.tree import Node

NONE = (None, "none")
"""What says "nothing" where a type allows None or an empty list."""

Nested = Callable[[Node], Any]
"""Reads a teacher inside a teacher."""


class Mismatch(Exception):
    """A value does not fit; ``spot`` of the part at fault, and a remedy if one is plain to see."""

    def __init__(self, node: Node, expected: str, fix: str | None = None) -> None:
        super().__init__(expected)
        self.node, self.expected, self.fix = node, expected, fix


def fitted(annotation: str, node: Node, nested: Nested) -> Any:
    """The value of ``node`` as the annotation has it: an int becomes a float, a list a tuple.

    Raises:
        Mismatch: it does not fit.
    """
    return _fit(_parsed(annotation), node, nested)


def wanted(annotation: str) -> str:
    """What an annotation accepts, for a person: ``a number above 0``."""
    return _says(_parsed(annotation))


@functools.cache
def _parsed(annotation: str) -> ast.expr:
    type_ = ast.parse(annotation, mode="eval").body
    # `from __future__ import annotations` leaves some types quoted twice.
    return _parsed(type_.value) if isinstance(type_, ast.Constant) and type_.value else type_


def _fit(type_: ast.expr, node: Node, nested: Nested) -> Any:
    head, inside = _head(type_), _inside(type_)
    if head == "|":
        return _fit_any_of(type_, inside, node, nested)
    if head == "Annotated":
        try:
            value = _fit(inside[0], node, nested)
        except Mismatch as mismatch:
            raise Mismatch(mismatch.node, _says(type_), mismatch.fix) from None
        if not _within(inside, value):
            raise Mismatch(node, _says(type_))
        return value
    if head == "Literal":
        choices = [ast.literal_eval(choice) for choice in inside]
        if not any(node.value == choice and type(node.value) is type(choice) for choice in choices):
            raise Mismatch(node, _says(type_), _nearest_of(node.value, choices))
        return node.value
    if head in ("list", "tuple", "Sequence", "Iterable"):
        return _fit_items(type_, inside, node, nested)
    if head in ("dict", "Mapping"):
        if not isinstance(node.value, dict):
            raise Mismatch(node, _says(type_))
        return {name: _fit(inside[1], item, nested) for name, item in node.value.items()}
    if head == "Teacher":
        return nested(node)
    return _fit_scalar(type_, head, node)


def _fit_any_of(type_: ast.expr, inside: list[ast.expr], node: Node, nested: Nested) -> Any:
    if node.value in NONE and any(_head(one) == "None" for one in inside):
        return None
    deeper: Mismatch | None = None
    fix: str | None = None
    for one in inside:
        try:
            return _fit(one, node, nested)
        except Mismatch as mismatch:
            # A fault deeper inside tells more than "neither of the two".
            deeper = mismatch if mismatch.node is not node else deeper
            fix = fix or mismatch.fix
    raise deeper or Mismatch(node, _says(type_), fix)


def _fit_items(type_: ast.expr, inside: list[ast.expr], node: Node, nested: Nested) -> tuple[Any, ...]:
    if node.value in NONE:
        return ()
    # One value stands for a list of one.
    items = node.value if isinstance(node.value, list) else [node]
    if items == [node] and isinstance(node.value, dict) and _head(inside[0]) != "Teacher":
        raise Mismatch(node, _says(type_))
    return tuple(_fit(inside[0], item, nested) for item in items)


def _fit_scalar(type_: ast.expr, head: str, node: Node) -> Any:
    value, says = node.value, _says(type_)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if head == "None":
        if value in NONE:
            return None
    elif head == "bool":
        if isinstance(value, bool):
            return value
        raise Mismatch(node, says, "write `true` or `false` without quotes")
    elif head == "int":
        if number and float(value).is_integer() and abs(value) < 2**63:
            return int(value)
        raise Mismatch(node, says, _without_quotes(value))
    elif head == "float":
        if number and abs(value) < 2**1023 and math.isfinite(value):
            return float(value)
        raise Mismatch(node, says, _without_quotes(value))
    elif head in ("str", "Path"):
        if isinstance(value, str):
            return value
        raise Mismatch(node, says, f'put it in quotes: "{value}"' if number else None)
    elif value is not None:
        return node.plain
    raise Mismatch(node, says)


def _without_quotes(value: Any) -> str | None:
    try:
        return f"write {float(value):g} without quotes" if isinstance(value, str) else None
    except ValueError:
        return None


def _nearest_of(value: Any, choices: list[Any]) -> str | None:
    close = nearest(value, [str(choice) for choice in choices]) if isinstance(value, str) else None
    return f"write '{close}' (the nearest name)" if close else None


def _says(type_: ast.expr) -> str:
    *most, last = dict.fromkeys(_ways(type_))
    return f"{', '.join(most)} or {last}" if most else last


def _ways(type_: ast.expr) -> list[str]:
    """Each way of fitting a type; those of a union and of a Literal stand side by side."""
    head, inside = _head(type_), _inside(type_)
    if head == "|":
        return [way for one in inside for way in _ways(one)]
    if head == "Literal":
        return [str(ast.literal_eval(choice)) for choice in inside]
    return [_says_one(head, inside)]


def _says_one(head: str, inside: list[ast.expr]) -> str:
    if head == "Annotated":
        return f"{_says(inside[0])} {_range_says(inside[1])}".strip()
    if head in ("list", "tuple", "Sequence", "Iterable"):
        return f"a list, each {_says(inside[0])}"
    if head in ("dict", "Mapping"):
        return "a mapping"
    plain = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}
    plain |= {"None": "none", "Path": "a path", "Teacher": "a teacher"}
    return plain.get(head, "a value")


def _head(type_: ast.expr) -> str:
    if isinstance(type_, ast.BinOp):
        return "|"
    if isinstance(type_, ast.Constant):
        return str(type_.value)
    name = ast.unparse(type_.value if isinstance(type_, ast.Subscript) else type_).split(".")[-1]
    return "|" if name in ("Optional", "Union") else name


def _inside(type_: ast.expr) -> list[ast.expr]:
    if isinstance(type_, ast.BinOp):
        return [*_flat(type_.left), *_flat(type_.right)]
    if not isinstance(type_, ast.Subscript):
        return [ast.Name("Any"), ast.Name("Any")]
    parts = type_.slice.elts if isinstance(type_.slice, ast.Tuple) else [type_.slice]
    optional = ast.unparse(type_.value).split(".")[-1] == "Optional"
    return [*parts, ast.Constant(None)] if optional else list(parts)


def _flat(type_: ast.expr) -> list[ast.expr]:
    return _inside(type_) if _head(type_) == "|" else [type_]


def _interval(range_: ast.expr) -> tuple[bool, float, float, bool] | None:
    text = range_.value if isinstance(range_, ast.Constant) else ""
    parts = re.fullmatch(r"([\[(])\s*(\S+),\s*(\S+?)\s*([\])])", str(text))
    return parts and (parts[1] == "[", float(parts[2]), float(parts[3]), parts[4] == "]")


def _within(inside: list[ast.expr], value: Any) -> bool:
    interval = _interval(inside[1])
    if interval is None:
        return True
    includes_low, low, high, includes_high = interval
    above = value >= low if includes_low else value > low
    return above and (value <= high if includes_high else value < high)


def _range_says(range_: ast.expr) -> str:
    interval = _interval(range_)
    if interval is None:
        return ""
    includes_low, low, high, includes_high = interval
    if math.isinf(high):
        return f"of at least {low:g}" if includes_low else f"above {low:g}"
    if includes_low and includes_high:
        return f"from {low:g} to {high:g}"
    if not includes_low and not includes_high:
        return f"strictly between {low:g} and {high:g}"
    without = high if includes_low else low
    return f"from {low:g} to {high:g} without {without:g} itself"
