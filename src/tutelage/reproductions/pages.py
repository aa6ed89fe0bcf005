"""Results as people read them: a section of ``docs/reproductions.md``, its figures, terminal lines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.citations import PAPERS
from tutelage.files import write_text
from tutelage.reproductions import TABLE
from tutelage.reproductions.parts import Column, Plane, Reproduction
from tutelage.reproductions.plane import draw, spots_of

PAGE = "reproductions.md"
BEGIN, END = "<!-- made from reproductions/*.json: begin -->", "<!-- made from reproductions/*.json: end -->"


def pages(docs: Path, results: Path) -> dict[Path, str]:
    """The page and its figures as the results have them; nothing is written.

    Args:
        docs: folder with the page, whose two marks stand around what is made.
        results: folder of the JSON files.
    """
    page = docs / PAGE
    written = page.read_text(encoding="utf-8")
    before, _, rest = written.partition(BEGIN)
    made: dict[Path, str] = {}
    parts = []
    for name in TABLE:
        path = results / f"{name}.json"
        if path.is_file():
            record = json.loads(path.read_text(encoding="utf-8"))
            parts.append(section(record))
            made |= {docs / PAGE.removesuffix(".md") / f: text for f, text in figures(record).items()}
    text = "\n\n".join(parts) or "Nothing was run yet."
    return {page: f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", **made}


def write_pages(docs: Path, results: Path) -> None:
    """Bring the page up to date with the results, where there is one with its marks."""
    page = docs / PAGE
    if page.is_file() and BEGIN in page.read_text(encoding="utf-8"):
        for path, text in pages(docs, results).items():
            write_text(path, text)


def section(record: Mapping[str, Any]) -> str:
    """A reproduction as Markdown: what was done, verdicts, tables, figures, notes."""
    of: Reproduction = TABLE.load(record["name"])()
    machine = record["machine"]
    seeds = ", ".join(map(str, record["seeds"]))
    libraries = ", ".join(
        f"{name} {record['versions'][name]}" for name in ("tutelage", "torch", "transformers")
    )
    parts = [
        f"## {of.name}",
        f"{PAPERS[of.paper]}.",
        *of.about,
        f"""`{record["command"]}` took {record["minutes"]:.1f} minutes on {machine["cpu"]} with two processes
of one thread; seeds {seeds}; {libraries}. Every number by arm and seed is in
[`reproductions/{of.name}.json`](../reproductions/{of.name}.json).""",
        _verdicts(record["claims"]),
        *(f"{claim['claim']}: {claim['note']}" for claim in record["claims"] if claim.get("note")),
    ]
    for set_up, told in of.set_ups.items():
        arms = [arm for arm in record["arms"] if arm["set_up"] == set_up]
        if arms:
            parts.append(f"### {of.name}: {set_up}")
            parts.append(f"{told[:1].upper()}{told[1:]}. Means over seeds (lowest to highest).")
            planes = [plane for plane in of.planes if plane.set_up == set_up]
            parts += [f"![{plane.title}. {plane.told}](reproductions/{_file(of, plane)})" for plane in planes]
            parts.append(_numbers(arms, of.columns))
    parts.append("\n".join(f"- {column.head}: {column.told}." for column in of.columns))
    parts.append("\n".join(f"- {note}" for note in record["notes"]))
    return "\n\n".join(parts)


def figures(record: Mapping[str, Any]) -> dict[str, str]:
    """The figures of a reproduction as SVG, by the names of their files."""
    of: Reproduction = TABLE.load(record["name"])()
    told = {column.number: f"{column.head}, {column.told}" for column in of.columns}
    made = {}
    for plane in of.planes:
        arms = [
            arm
            for arm in record["arms"]
            if arm["set_up"] == plane.set_up or f"{arm['set_up']}/{arm['name']}" == plane.beside
        ]
        spots = spots_of(arms, plane.across, plane.up)
        if spots:
            made[_file(of, plane)] = draw(
                spots, title=plane.title, told=plane.told, across=told[plane.across], up=told[plane.up]
            )
    return made


def as_text(record: Mapping[str, Any]) -> str:
    """Verdicts for a terminal."""
    lines = [
        f"{record['name']}: seeds {', '.join(map(str, record['seeds']))}, {record['minutes']:.1f} minutes"
    ]
    if "smoke" in record:
        lines.append(record["smoke"])
    width = max(len(claim["verdict"]) for claim in record["claims"])
    for claim in record["claims"]:
        verdict = "" if "smoke" in record else f"{claim['verdict']:<{width}}  "
        lines.append(f"  {verdict}{claim['claim']} ({_held(claim)})")
    return "\n".join(lines)


def _held(claim: Mapping[str, Any]) -> str:
    return f"holds on {sum(claim['holds'])} of {len(claim['holds'])} seeds"


def _verdicts(claims: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [claim["claim"], claim["criterion"], f"{sum(claim['holds'])} of {len(claim['holds'])}", _bold(claim)]
        for claim in claims
    ]
    return _table(["claim", "criterion", "seeds on which it holds", "verdict"], rows)


def _bold(claim: Mapping[str, Any]) -> str:
    return f"**{claim['verdict']}**"


def _numbers(arms: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    rows = [
        [
            arm["name"].replace("_", " "),
            arm["what"],
            *(_cell(arm["numbers"].get(column.number, []), column.digits) for column in columns),
        ]
        for arm in arms
    ]
    return _table(["arm", "what it is", *(column.head for column in columns)], rows)


def _cell(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ""
    mean = f"{sum(known) / len(known):.{digits}f}"
    low, high = f"{min(known):.{digits}f}", f"{max(known):.{digits}f}"
    return mean if low == high else f"{mean} ({low} to {high})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _file(of: Reproduction, plane: Plane) -> str:
    return f"{of.name}-{plane.set_up}.svg"
