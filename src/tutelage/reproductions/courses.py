"""A figure of a reproduction: a number of some arms over the steps of their runs, a line for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tutelage.report.drawing import add, axis, markup, path, picture
from tutelage.reproductions.plane import BOTTOM, HEIGHT, LEFT, RIGHT, STYLE, TOP, WIDTH, axes

COLOURS = ("#1c5aa6", "#b83d12", "#3f7d3a", "#7a4fa3", "#8a6d00", "#4d4d4d")
DASHES = (None, "9 4", "2 4", "9 4 2 4", "14 4", "14 4 2 4 2 4")
"""Of the first arm, the second, ...: a line that lies on another one stays visible in the gaps."""


@dataclass(frozen=True)
class Line:
    """One arm in a figure.

    Attributes:
        name: of the arm.
        seeds: points ``(step, number)`` by seed.
    """

    name: str
    seeds: tuple[tuple[tuple[float, float], ...], ...]


def draw_courses(
    lines: Sequence[Line],
    *,
    title: str,
    told: str,
    across: str,
    up: str,
    dots: Sequence[str] = (),
) -> str:
    """The figure as the text of an SVG file.

    Args:
        lines: the arms, at least one and at most six; a later one lies on top.
        title: above the figure.
        told: its text alternative, which says what to look for.
        across, up: names of the axes with their units.
        dots: of the arms, those that are dots.
    """
    points = [point for line in lines for seed in line.seeds for point in seed]
    along = axis([x for x, _ in points], LEFT, WIDTH - RIGHT, room=0.02)
    high = axis([y for _, y in points], HEIGHT - BOTTOM, TOP, room=0.05)
    svg = picture(WIDTH, HEIGHT, title, told, "courses")
    svg.set("xmlns", "http://www.w3.org/2000/svg")
    svg.set("width", f"{WIDTH:g}")
    svg.set("height", f"{HEIGHT:g}")
    add(svg, "style", STYLE)
    add(svg, "rect", class_="paper", x=0, y=0, width=WIDTH, height=HEIGHT)
    axes(svg, along, high, title, across, up)
    for number, line in enumerate(lines):
        looks = {"fill": "none", "stroke": COLOURS[number], "stroke_dasharray": DASHES[number]}
        width = 2.0 if number else 4.0  # the first lies below the others
        dotted = line.name in dots
        for seed in line.seeds:
            places = [(along(x), high(y)) for x, y in seed]
            if dotted:
                _dots(svg, places, COLOURS[number])
            else:
                add(svg, "path", d=path(places), stroke_width=width, **looks)
        y, left = TOP + 8 + number * 22, WIDTH - RIGHT + 18
        if dotted:
            _dots(svg, [(left + 13, y)], COLOURS[number])
        else:
            add(svg, "path", d=path([(left, y), (left + 26, y)]), stroke_width=width, **looks)
        add(svg, "text", line.name.replace("_", " "), x=left + 34, y=y + 4)
    return f"{markup(svg)}\n"


def lines_of(arms: Sequence[Mapping[str, object]], number: str, names: Sequence[str]) -> list[Line]:
    """Arms of a record as lines, in the order of ``names``; those without such a course are left out."""
    found = {}
    for arm in arms:
        courses = arm.get("courses", {})
        assert isinstance(courses, Mapping)
        if number in courses:
            name = str(arm["name"])
            seeds = courses[number]
            found[name] = Line(name, tuple(tuple((float(x), float(y)) for x, y in seed) for seed in seeds))
    return [found[name] for name in names if name in found]


def _dots(svg: Element, places: Sequence[tuple[float, float]], colour: str) -> None:
    for x, y in places:
        add(svg, "circle", cx=x, cy=y, r=4, fill=colour, fill_opacity=0.7)
