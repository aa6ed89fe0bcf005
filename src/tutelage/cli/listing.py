"""What ``tutelage list`` and ``tutelage cite`` show; no torch, nothing but tables and docstrings."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tutelage.citations import PAPERS
from tutelage.errors import Damaged, TutelageError, UnknownName, listed, nearest
from tutelage.evaluation import TABLE as MEASURES
from tutelage.recipes import families
from tutelage.recipes.faults import printable


def tables(family: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """All tables of a recipe's words, or one table, as the contract has them; ``measures`` only by its name.

    Raises:
        UnknownName: there is no such family.
    """
    known = families() if family is None else families() | {MEASURES.family: MEASURES}
    if family is not None and family not in known:
        close = nearest(family, known)
        raise UnknownName(
            printable(f"unknown family '{family}'"),
            expected=listed(known),
            fix=f"write `tutelage list {close}` (the nearest name)" if close else "write `tutelage list`",
        )
    return {
        name: [
            {"name": key, "summary": entry.summary, "paper": entry.paper, "module": entry.module}
            for key, entry in table.items()
        ]
        for name, table in known.items()
        if family in (None, name)
    }


def as_text(found: dict[str, list[dict[str, Any]]], width: int = 100) -> str:
    """The tables for a terminal: names on the left, summaries on the right."""
    lines = []
    for family, entries in found.items():
        lines.append(family)
        column = max((len(entry["name"]) for entry in entries), default=0) + 4
        for entry in entries:
            told = entry["summary"].replace("``", "`") + (f" [{entry['paper']}]" if entry["paper"] else "")
            first, *more = textwrap.wrap(told, width - column) or [""]
            lines.append(f"  {entry['name']:<{column - 2}}{first}")
            lines += [" " * column + line for line in more]
        if not entries:
            lines.append("  none yet")
        lines.append("")
    return "\n".join(lines).rstrip()


def papers(name: str | None) -> tuple[str, ...]:
    """Keys of the papers behind a name: a paper's key, an entry of a table or a run's folder.

    Raises:
        TutelageError: nothing has that name, or the folder is no run's.
    """
    if name is None:
        return tuple(PAPERS)
    if name in PAPERS:
        return (name,)
    every = [*families().values(), MEASURES]
    entries = [table[name] for table in every if name in table]
    if entries:
        return tuple(dict.fromkeys(entry.paper for entry in entries if entry.paper))
    if os.path.exists(name):
        keys = run_folder(Path(name)).get("papers", [])
        return tuple(key for key in keys if key in PAPERS)
    names = [*PAPERS, *(key for table in every for key in table)]
    close = nearest(name, names)
    raise UnknownName(
        printable(f"nothing to cite is called '{name}'"),
        expected="a paper, a name that `tutelage list` shows, or a run's folder",
        fix=f"write `tutelage cite {close}` (the nearest name)" if close else "write `tutelage cite`",
    )


def papers_as_text(keys: tuple[str, ...], name: str | None) -> str:
    """BibTeX entries, or a line that says there is no paper behind a name."""
    if not keys:
        return f"% {name} has no paper of its own"
    return "\n".join(PAPERS[key].bibtex() for key in keys).rstrip()


def papers_as_json(keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The papers with their keys and BibTeX."""
    return [{"key": key, **asdict(PAPERS[key]), "bibtex": PAPERS[key].bibtex()} for key in keys]


def run_folder(folder: Path) -> dict[str, Any]:
    """What ``run.json`` of a run's folder says.

    Raises:
        TutelageError: the folder is no run's. Damaged: its ``run.json`` is not what was written.
    """
    path = folder / "run.json"
    if not path.is_file():
        what = "has no `run.json`" if folder.is_dir() else "is not a folder"
        raise TutelageError(
            f"{folder}: {what}",
            expected="the folder of a run or a study, as `out:` of its recipe names it",
            fix="check the path; a run that has not got to its first step has nothing to show",
        )
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(
            f"{path}: cannot be read as JSON ({error})",
            expected="the file as the run wrote it",
            fix="run the recipe again in the same folder; it writes the file anew",
        ) from None
    if not isinstance(said, dict):
        raise Damaged(
            f"{path}: not the record of a run",
            expected="the file as the run wrote it",
            fix="run the recipe again in the same folder; it writes the file anew",
        )
    return said
