"""Charts of a plan as SVG: curves over orders of magnitude, a band, crossings, points that were chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from markupsafe import Markup

from tutelage.report.charts import WIDE, Frame, end_names
from tutelage.report.drawing import DASHES, Axis, Point, add, axis, markup, path, picture, ticks
from tutelage.report.wording import plain, short

NARROW = 1.7
"""Orders of magnitude below which an axis is labelled between its powers of ten too."""

RADIUS = {"chosen": 6, "run": 3}

Stretch = tuple[float, float, float]
"""Place, lowest and highest."""


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        name: what stands at its end.
        style: its class in the style sheet, and its dash.
        points: places and heights, in the order of the places.
        band: how far it may be wrong, in the same order; empty if nobody knows.
    """

    name: str
    style: str
    points: tuple[Point, ...]
    band: tuple[Stretch, ...] = ()


@dataclass(frozen=True)
class Mark:
    """One point.

    Attributes:
        x, y: where.
        kind: ``chosen`` for what the plan takes, ``crossing`` where two curves meet, ``teacher`` for one that
            exists, ``run`` for a measurement that a law was fitted to, ``unseen`` for one that it was not.
        says: its name, for whoever points at it or listens.
        style: of the curve that it belongs to, if it belongs to one.
    """

    x: float
    y: float
    kind: str
    says: str
    style: str = ""


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
        powers = range(math.floor(low), math.floor(high + 1e-9) + 1)
        if high - low < NARROW:
            fine = ((power + math.log10(step), f"{step}e{power}") for power in powers for step in (1, 2, 5))
            found = [(place, label) for place, label in fine if low - 1e-9 <= place <= high + 1e-9]
            # Between neighbours of these the axis is as good as straight.
            straight = ticks(10**low, 10**high, count) if len(found) < 2 else []
            return found if len(found) > 1 else [(math.log10(at), short(at)) for at, _ in straight if at > 0]
        every = max(1, math.ceil((high - low) / (count + 1)))
        return [
            (float(power), f"1e{power}") for power in powers if power >= low - 1e-9 and power % every == 0
        ]


def plan_chart(
    curves: Sequence[Curve],
    *,
    along: Scale,
    up: Scale,
    title: str,
    description: str,
    band: Sequence[Stretch] = (),
    between: tuple[float, float] | None = None,
    marks: Sequence[Mark] = (),
    holds: Sequence[Mark] = (),
    frame: Frame = WIDE,
    digits: int | None = 3,
) -> Markup:
    """A chart of some curves.

    Args:
        curves: at least one has two points.
        along, up: the axes.
        title, description: the text alternative.
        band: a stretch that cannot be resolved.
        between: two places along, all between which is as good.
        marks: points; those outside the frame are left out.
        holds: points that the frame is made to hold.
        frame: its size.
        digits: of the heights that a pointer reads off; heights by orders of magnitude have four figures.
            None if nothing is read off.
    """
    places = [x for curve in curves for x, _ in curve.points] + [mark.x for mark in holds]
    heights = [y for curve in curves for _, y in curve.points] + [mark.y for mark in holds]
    heights += [
        edge for stretch in (band, *(c.band for c in curves)) for _, *ends in stretch for edge in ends
    ]
    across = axis([along.place(x) for x in places], frame.left, frame.width - frame.right, room=0.0)
    above = axis([up.place(y) for y in heights], frame.height - frame.bottom, frame.top, room=0.06)
    svg = picture(frame.width, frame.height, title, description, "chart")
    if between is not None:
        _shade(svg, [along.place(x) for x in between], across, frame)
    _grid(svg, across, above, along, up, frame)

    def place(x: float, y: float) -> Point:
        return across(along.place(x)), above(up.place(y))

    if band:
        add(svg, "path", class_="band", d=_outline(band, place))
    labels: list[tuple[str, str, float, float]] = []
    for curve in curves:
        group = add(svg, "g", class_=f"arm {curve.style}")
        if curve.band:
            add(group, "path", class_="around", d=_outline(curve.band, place))
        line = [place(x, y) for x, y in curve.points]
        add(group, "path", class_="mean", d=path(line), stroke_dasharray=DASHES.get(curve.style))
        labels.append((curve.name, curve.style, *line[-1]))
    end_names(svg, labels, frame)
    for mark in (*holds, *marks):
        if along.place(mark.x) in across and up.place(mark.y) in above:
            _mark(svg, mark, *place(mark.x, mark.y))
    if digits is not None:
        svg.set("data-readout", _readout(curves, across, along, up, frame, digits))
    return markup(svg)


def lengths(rows: Sequence[tuple[str, str, float, str]], *, title: str, description: str) -> Markup:
    """Bars one below another, each with its number behind it.

    Args:
        rows: name, style, size, and the size in words.
        title, description: the text alternative.
    """
    left, right, width, height = 184.0, 72.0, 480.0, 20.0
    svg = picture(width, len(rows) * 32.0 + 6, title, description, "chart")
    longest = max(size for _, _, size, _ in rows) or 1.0
    for number, (name, style, size, said) in enumerate(rows):
        top, wide = number * 32.0 + 4, round(size / longest * (width - left - right), 1)
        add(svg, "text", name, x=left - 8, y=top + height / 2 + 4, text_anchor="end")
        add(svg, "rect", class_=f"part {style}", x=left, y=top, width=max(wide, 1.0), height=height)
        add(svg, "text", said, x=left + wide + 7, y=top + height / 2 + 4)
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


def _shade(svg: Element, between: Sequence[float], across: Axis, frame: Frame) -> None:
    low, high = (across(min(max(place, across.low), across.high)) for place in between)
    tall = frame.height - frame.bottom - frame.top
    add(svg, "rect", class_="band", x=low, y=frame.top, width=high - low, height=tall)


def _outline(band: Sequence[Stretch], place: Callable[[float, float], Point]) -> str:
    lower = [place(x, low) for x, low, _ in band]
    upper = [place(x, high) for x, _, high in reversed(band)]
    return path([*lower, *upper]) + "Z"


def _mark(svg: Element, mark: Mark, x: float, y: float) -> None:
    look = f"mark {mark.kind} {mark.style}".strip()
    if mark.kind == "crossing":
        place = path([(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)]) + "Z"
        drawn = add(svg, "path", class_=look, d=place)
    elif mark.kind == "unseen":
        drawn = add(svg, "rect", class_=look, x=x - 3.5, y=y - 3.5, width=7, height=7)
    else:
        drawn = add(svg, "circle", class_=look, cx=x, cy=y, r=RADIUS.get(mark.kind, 4))
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
