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
from tutelage.reproductions.courses import draw_courses, lines_of
from tutelage.reproductions.parts import Column, Course, Plane
from tutelage.reproductions.plane import draw, spots_of
from tutelage.reproductions.work import FULL, version

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
    for path in (results / f"{name}{end}.json" for name in TABLE for end in ("", FULL)):
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
    of, name = version(record["name"], _full(record)), _named(record)
    machine = record["machine"]
    seeds = ", ".join(map(str, record["seeds"]))
    libraries = ", ".join(
        f"{name} {record['versions'][name]}" for name in ("tutelage", "torch", "transformers")
    )
    parts = [
        f"## {of.name}{', the longer version' if _full(record) else ''}",
        f"{PAPERS[of.paper]}.",
        *of.about,
        f"""`{record["command"]}` took {record["minutes"]:.1f} minutes on {machine["cpu"]} with two processes
of one thread; seeds {seeds}; {libraries}. Every number by arm and seed is in
[`reproductions/{name}.json`](../reproductions/{name}.json).""",
        _verdicts(record["claims"]),
        *_untold(record["claims"]),
        *(f"{claim['claim']}: {claim['note']}" for claim in record["claims"] if claim.get("note")),
    ]
    for set_up, told in of.set_ups.items():
        arms = [arm for arm in record["arms"] if arm["set_up"] == set_up]
        if arms:
            parts.append(f"### {name}: {set_up}")
            parts.append(f"{told[:1].upper()}{told[1:]}. Means over seeds (lowest to highest).")
            shown = [one for one in (*of.planes, *of.courses) if one.set_up == set_up]
            parts += [f"![{one.title}. {one.told}](reproductions/{_file(record, one)})" for one in shown]
            parts.append(_numbers([arm for arm in arms if arm["numbers"]], of.columns))
    parts.append("\n".join(f"- {column.head}: {column.told}." for column in of.columns))
    parts.append("\n".join(f"- {note}" for note in record["notes"]))
    return "\n\n".join(parts)


def figures(record: Mapping[str, Any]) -> dict[str, str]:
    """The figures of a reproduction as SVG, by the names of their files."""
    of = version(record["name"], _full(record))
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
            made[_file(record, plane)] = draw(
                spots, title=plane.title, told=plane.told, across=told[plane.across], up=told[plane.up]
            )
    for course in of.courses:
        arms = [arm for arm in record["arms"] if arm["set_up"] == course.set_up]
        lines = lines_of(arms, course.number, course.arms)
        if lines:
            made[_file(record, course)] = draw_courses(
                lines,
                title=course.title,
                told=course.told,
                across=course.across,
                up=course.up,
                dots=course.dots,
            )
    return made


def as_text(record: Mapping[str, Any]) -> str:
    """Verdicts for a terminal."""
    lines = [
        f"{_named(record)}: seeds {', '.join(map(str, record['seeds']))}, {record['minutes']:.1f} minutes"
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
    sized = any("intervals" in claim for claim in claims)
    rows = [
        [
            claim["claim"],
            claim["criterion"],
            f"{sum(claim['holds'])} of {len(claim['holds'])}",
            *([_sizes(claim)] if sized else []),
            _bold(claim),
        ]
        for claim in claims
    ]
    head = ["claim", "criterion", "seeds on which it holds"]
    return _table([*head, *(["by how much, mean (95 %)"] if sized else []), "verdict"], rows)


def _sizes(claim: Mapping[str, Any]) -> str:
    """Mean margins with their intervals; above 0 an inequality holds."""
    told = (
        (what, *(f"{one[end]:+.3g}" for end in ("mean", "low", "high")))
        for what, one in claim.get("intervals", {}).items()
    )
    return "; ".join(f"{what}: {mean} ({low} to {high})" for what, mean, low, high in told)


def _untold(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why claims have no verdict whatever their numbers are."""
    lines = []
    for claim in claims:
        failed = {
            what: [value for value in values if value is None or value <= 0]
            for what, values in claim.get("provided", {}).items()
        }
        told = [f"{what}{_short(values)}" for what, values in failed.items() if values]
        if told:
            lines.append(f"{claim['claim']}: nothing can be told, for this fails: {'; '.join(told)}.")
    return lines


def _short(margins: Sequence[float | None]) -> str:
    known = [-margin for margin in margins if margin is not None]
    return f" (short by {max(known):.3g})" if known else ""


def _bold(claim: Mapping[str, Any]) -> str:
    return f"**{claim['verdict']}**"


def _numbers(arms: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    # What nothing in this table has, another may have.
    columns = [one for one in columns if any(arm["numbers"].get(one.number) for arm in arms)]
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
    mean = _fixed(sum(known) / len(known), digits)
    low, high = _fixed(min(known), digits), _fixed(max(known), digits)
    return mean if low == high else f"{mean} ({low} to {high})"


def _fixed(value: float, digits: int) -> str:
    """With so many digits behind the point; what is rounded to 0 has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _full(record: Mapping[str, Any]) -> bool:
    return bool(record.get("full"))


def _named(record: Mapping[str, Any]) -> str:
    return f"{record['name']}{FULL if _full(record) else ''}"


def _file(record: Mapping[str, Any], shown: Plane | Course) -> str:
    number = f"-{shown.number}" if isinstance(shown, Course) else ""
    return f"{_named(record)}-{shown.set_up}{number}.svg"
