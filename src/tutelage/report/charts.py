"""Line charts as SVG: a thin line a seed, a thick one for their mean, names at the ends of the lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from markupsafe import Markup

from tutelage.report.drawing import (
    DASHES,
    Axis,
    Point,
    add,
    axis,
    markup,
    path,
    picture,
    spread_out,
    thinned,
    ticks,
)
from tutelage.report.wording import plain

LABEL_GAP = 15.0
MOST_POINTS = 400


@dataclass(frozen=True)
class Line:
    """One arm over the steps of training; y is in nats per token.

    Attributes:
        name: of the arm.
        style: its class in the style sheet, and its dash.
        seeds: one line a seed.
        mean: over the seeds, at the steps that all of them have.
    """

    name: str
    style: str
    seeds: tuple[tuple[Point, ...], ...]
    mean: tuple[Point, ...]


@dataclass(frozen=True)
class Level:
    """A number that does not move with the steps, such as the teacher's; drawn across."""

    name: str
    style: str
    value: float


@dataclass(frozen=True)
class Frame:
    """The size of a chart and the room around its plot, in units of its own."""

    width: float
    height: float
    left: float
    right: float
    top: float = 30.0
    bottom: float = 40.0
    x_ticks: int = 5


WIDE = Frame(480.0, 300.0, 46.0, 138.0)
SMALL = Frame(300.0, 190.0, 44.0, 12.0, x_ticks=3)


def line_chart(
    lines: Sequence[Line],
    levels: Sequence[Level],
    *,
    title: str,
    description: str,
    frame: Frame = WIDE,
    unit: str = "nats per token",
    digits: int = 3,
) -> Markup:
    """A chart of some arms.

    Args:
        lines: the arms; at least one has a point.
        levels: numbers to draw across; one outside the plot is left out.
        title, description: the text alternative.
        frame: its size; a small one has no names at the ends.
        unit: of y, written above the axis.
        digits: of the numbers that a pointer reads off.
    """
    points = [point for line in lines for seed in (*line.seeds, line.mean) for point in seed]
    heights = [y for _, y in points] + [level.value for level in levels]
    along = axis([x for x, _ in points], frame.left, frame.width - frame.right, room=0.0)
    up = axis(heights, frame.height - frame.bottom, frame.top, room=0.06)
    svg = picture(frame.width, frame.height, title, description, "chart")
    _grid(svg, along, up, frame, unit)
    labels: list[tuple[str, str, float, float]] = []
    for level in levels:
        y, edge, dash = up(level.value), frame.width - frame.right, DASHES.get(level.style)
        look = f"level {level.style}"
        add(svg, "line", class_=look, stroke_dasharray=dash, x1=frame.left, x2=edge, y1=y, y2=y)
        labels.append((level.name, level.style, edge, y))
    for line in lines:
        group = add(svg, "g", class_=f"arm {line.style}")
        places = [[(along(x), up(y)) for x, y in thinned(seed, MOST_POINTS)] for seed in line.seeds]
        for seed in places if len(places) > 1 else ():
            add(group, "path", class_="seed", d=path(seed)) if seed else None
        mean = [(along(x), up(y)) for x, y in thinned(line.mean, MOST_POINTS)]
        if mean:
            add(group, "path", class_="mean", d=path(mean), stroke_dasharray=DASHES.get(line.style))
            add(group, "circle", class_="end", cx=mean[-1][0], cy=mean[-1][1], r=3)
            labels.append((line.name, line.style, *mean[-1]))
    if frame.right > 40:
        end_names(svg, labels, frame)
        svg.set("data-readout", _readout(lines, along, frame, digits))
    return markup(svg)


def _grid(svg: Element, along: Axis, up: Axis, frame: Frame, unit: str) -> None:
    group = add(svg, "g", class_="axes", aria_hidden="true")
    right, floor = frame.width - frame.right, frame.height - frame.bottom
    for value, label in ticks(up.low, up.high, 4):
        y = up(value)
        add(group, "line", class_="grid", x1=frame.left, y1=y, x2=right, y2=y)
        add(group, "text", label, x=frame.left - 7, y=y + 4, text_anchor="end")
    for value, label in ticks(along.low, along.high, frame.x_ticks):
        x = along(value)
        add(group, "line", class_="tick", x1=x, y1=floor, x2=x, y2=floor + 4)
        add(group, "text", label, x=x, y=floor + 18, text_anchor="middle")
    add(group, "line", class_="base", x1=frame.left, y1=floor, x2=right, y2=floor)
    add(group, "text", unit, class_="unit", x=2, y=14)
    middle = (frame.left + right) / 2
    add(group, "text", "step", class_="unit", x=middle, y=frame.height - 5, text_anchor="middle")


def end_names(svg: Element, labels: list[tuple[str, str, float, float]], frame: Frame) -> None:
    """Names beside the ends of their lines, moved apart, each led to by a thin line."""
    group = add(svg, "g", class_="names", aria_hidden="true")
    wanted = [y for *_, y in labels]
    moved = spread_out(wanted, LABEL_GAP, frame.top, frame.height - frame.bottom + 6)
    edge = frame.width - frame.right
    for (name, style, x, y), place in zip(labels, moved, strict=True):
        lead = path([(x + 4, y), (edge + 5, y), (edge + 11, place)])
        add(group, "path", class_=f"lead {style}", d=lead)
        shown = name if len(name) <= 14 else f"{name[:13]}\N{HORIZONTAL ELLIPSIS}"
        add(group, "text", shown, class_=f"name {style}", x=edge + 14, y=round(place + 4, 1))


def _readout(lines: Sequence[Line], along: Axis, frame: Frame, digits: int) -> str:
    """What a pointer over the chart reads off: places and steps, and each arm's mean there."""
    steps = sorted({x for line in lines for x, _ in thinned(line.mean, MOST_POINTS)})
    arms = []
    for line in lines:
        at = dict(line.mean)
        arms.append([line.name, [plain(at[x], digits) if x in at else "" for x in steps]])
    places = {"x": [along(x) for x in steps], "step": [f"{x:,.0f}" for x in steps], "arms": arms}
    return json.dumps(
        {**places, "top": frame.top, "floor": frame.height - frame.bottom}, separators=(",", ":")
    )
