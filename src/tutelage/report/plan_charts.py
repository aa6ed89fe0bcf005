"""Charts of a plan as SVG: curves over orders of magnitude, a band, crossings, points that were chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from markupsafe import Markup

from tutelage.report.charts import WIDE, Frame, end_names
from tutelage.report.drawing import DASHES, Axis, Point, add, axis, markup, path, picture, ticks
from tutelage.report.wording import plain, short


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        name: what stands at its end.
        style: its class in the style sheet, and its dash.
        points: places and heights, in the order of the places.
    """

    name: str
    style: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Mark:
    """One point.

    Attributes:
        x, y: where.
        kind: ``chosen`` for what the plan takes, ``crossing`` where two curves meet, ``teacher`` for one that
            exists.
        says: its name, for whoever points at it or listens.
    """

    x: float
    y: float
    kind: str
    says: str


@dataclass(frozen=True)
class Scale:
    """An axis: its unit, and whether its numbers go by orders of magnitude."""

    unit: str
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """The number that a straight axis shows for a value."""
        return math.log10(value) if self.logarithmic else value

    def ticks(self, low: float, high: float, count: int) -> list[tuple[float, str]]:
        """Round numbers with their labels, in the numbers of the straight axis."""
        if not self.logarithmic:
            return ticks(low, high, count)
        every = max(1, math.ceil((high - low) / (count + 1)))
        return [
            (float(power), f"1e{power}")
            for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
            if power % every == 0
        ]


def plan_chart(
    curves: Sequence[Curve],
    *,
    along: Scale,
    up: Scale,
    title: str,
    description: str,
    band: Sequence[tuple[float, float, float]] = (),
    marks: Sequence[Mark] = (),
    frame: Frame = WIDE,
    digits: int = 3,
) -> Markup:
    """A chart of some curves.

    Args:
        curves: at least one has two points.
        along, up: the axes.
        title, description: the text alternative.
        band: place, lowest and highest of a stretch that cannot be resolved.
        marks: points; those outside the frame are left out.
        frame: its size.
        digits: of the heights that a pointer reads off; heights by orders of magnitude have four figures.
    """
    points = [(along.place(x), up.place(y)) for curve in curves for x, y in curve.points]
    heights = [y for _, y in points] + [up.place(edge) for _, *edges in band for edge in edges]
    across = axis([x for x, _ in points], frame.left, frame.width - frame.right, room=0.0)
    above = axis(heights, frame.height - frame.bottom, frame.top, room=0.06)
    svg = picture(frame.width, frame.height, title, description, "chart")
    _grid(svg, across, above, along, up, frame)
    if band:
        lower = [(across(along.place(x)), above(up.place(low))) for x, low, _ in band]
        upper = [(across(along.place(x)), above(up.place(high))) for x, _, high in reversed(band)]
        add(svg, "path", class_="band", d=path([*lower, *upper]) + "Z")
    labels: list[tuple[str, str, float, float]] = []
    for curve in curves:
        places = [(across(along.place(x)), above(up.place(y))) for x, y in curve.points]
        group = add(svg, "g", class_=f"arm {curve.style}")
        add(group, "path", class_="mean", d=path(places), stroke_dasharray=DASHES.get(curve.style))
        labels.append((curve.name, curve.style, *places[-1]))
    end_names(svg, labels, frame)
    for mark in marks:
        if along.place(mark.x) in across and up.place(mark.y) in above:
            _mark(svg, mark, across(along.place(mark.x)), above(up.place(mark.y)))
    svg.set("data-readout", _readout(curves, across, along, up, frame, digits))
    return markup(svg)


def bars(
    rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]], *, title: str, description: str
) -> Markup:
    """Bars of parts laid end to end: what a whole is made of.

    Args:
        rows: name, and the parts with their style and size.
        title, description: the text alternative.
    """
    left, width, height = 110.0, 480.0, 26.0
    names = list(dict.fromkeys((part, style) for _, parts in rows for part, style, _ in parts))
    svg = picture(width, len(rows) * 44.0 + 30, title, description, "chart")
    for number, (part, style) in enumerate(names):
        x, y = left + number * 100.0, len(rows) * 44.0 + 8
        add(svg, "rect", class_=f"part {style}", x=x, y=y, width=12, height=12)
        add(svg, "text", part, x=x + 18, y=y + 10)
    longest = max(math.fsum(size for *_, size in parts) for _, parts in rows) or 1.0
    for number, (name, parts) in enumerate(rows):
        top, x = number * 44.0 + 6, left
        add(svg, "text", name, x=left - 8, y=top + height / 2 + 4, text_anchor="end")
        for part, style, size in parts:
            wide = round(size / longest * (width - left), 1)
            if wide <= 0:
                continue
            bar = add(svg, "rect", class_=f"part {style}", x=x, y=top, width=wide, height=height)
            add(bar, "title", f"{part}: {short(size)}")
            x += wide
    return markup(svg)


def _grid(svg: Element, across: Axis, above: Axis, along: Scale, up: Scale, frame: Frame) -> None:
    group = add(svg, "g", class_="axes", aria_hidden="true")
    right, floor = frame.width - frame.right, frame.height - frame.bottom
    for value, label in up.ticks(above.low, above.high, 4):
        y = above(value)
        add(group, "line", class_="grid", x1=frame.left, y1=y, x2=right, y2=y)
        add(group, "text", label, x=frame.left - 7, y=y + 4, text_anchor="end")
    for value, label in along.ticks(across.low, across.high, frame.x_ticks):
        x = across(value)
        add(group, "line", class_="tick", x1=x, y1=floor, x2=x, y2=floor + 4)
        add(group, "text", label, x=x, y=floor + 18, text_anchor="middle")
    add(group, "line", class_="base", x1=frame.left, y1=floor, x2=right, y2=floor)
    add(group, "text", up.unit, class_="unit", x=2, y=14)
    middle = (frame.left + right) / 2
    add(group, "text", along.unit, class_="unit", x=middle, y=frame.height - 5, text_anchor="middle")


def _mark(svg: Element, mark: Mark, x: float, y: float) -> None:
    if mark.kind == "crossing":
        place = path([(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)]) + "Z"
        drawn = add(svg, "path", class_="mark crossing", d=place)
    else:
        drawn = add(
            svg, "circle", class_=f"mark {mark.kind}", cx=x, cy=y, r=6 if mark.kind == "chosen" else 4
        )
    add(drawn, "title", mark.says)


def _readout(
    curves: Sequence[Curve], across: Axis, along: Scale, up: Scale, frame: Frame, digits: int
) -> str:
    places = sorted({x for curve in curves for x, _ in curve.points})
    arms = []
    for curve in curves:
        at = dict(curve.points)
        say = short if up.logarithmic else lambda value: plain(value, digits)
        arms.append([curve.name, [say(at[x]) if x in at else "" for x in places]])
    told = {
        "x": [across(along.place(x)) for x in places],
        "step": [short(x) for x in places],
        "along": along.unit,
        "arms": arms,
        "top": frame.top,
        "floor": frame.height - frame.bottom,
    }
    return json.dumps(told, separators=(",", ":"))
