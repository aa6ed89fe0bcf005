"""Format strings over columns, such as "{instruction}\\n{input}": plain names in braces and nothing else."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any

from tutelage.errors import TutelageError, listed, nearest
from tutelage.text.readers import TextRows


def string_of(row: Mapping[str, Any], column: str, place: str) -> str:
    """The text in a column of a row.

    Raises:
        TutelageError: the row lacks it, or it is no string.
    """
    if column not in row:
        raise TutelageError(
            f"{place}: no column '{column}'",
            expected=f"it in every row; this one has {listed(row, 'and') if row else 'none'}",
            fix="add it, or take the row out",
        )
    if not isinstance(row[column], str):
        raise TutelageError(
            f"{place}: {column} is {str(row[column])[:40]!r} of type {type(row[column]).__name__}",
            expected="a string",
            fix="put quotes around it" if column == "text" else "use the column `messages` for conversations",
        )
    return row[column]


def filler(pattern: str | None, column: str, rows: TextRows) -> Callable[[Mapping[str, Any], str], str]:
    """A function of a row and its place that fills a pattern in; None stands for the column itself.

    Args:
        pattern: text with names of columns in braces; ``{{`` and ``}}`` stand for braces.
        column: what the pattern is for, `prompt` or `completion`.
        rows: the rows, which have the columns that may be named.

    Raises:
        TutelageError: the pattern names no column of the rows.
    """
    if pattern is None:
        return lambda row, place: string_of(row, column, place)
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise TutelageError(
            f"{column} is {pattern!r}: {error}",
            expected="text with names of columns in braces",
            fix="write {{ and }} for braces that are meant as such",
        ) from error
    for _, name, spec, conversion in parts:
        if name is not None and (name not in rows.columns or spec or conversion):
            close = nearest(name, map(str, rows.columns))
            raise TutelageError(
                f"{column} asks for {{{name}}}, which is no column of {rows.path}",
                expected=f"names of columns in braces: {listed(map(str, rows.columns))}",
                fix=f"write {{{close}}}" if close else "write {{ and }} for braces that are meant as such",
            )

    def filled(row: Mapping[str, Any], place: str) -> str:
        return "".join(
            literal + ("" if name is None else _shown(row, name, place)) for literal, name, _, _ in parts
        )

    return filled


def _shown(row: Mapping[str, Any], column: str, place: str) -> str:
    value = row.get(column, "")
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise TutelageError(
            f"{place}: {column} is a {type(value).__name__}",
            expected="text or a number in a column that a format string names",
            fix="name another column",
        )
    return str(value)
