"""A figure of a reproduction: every arm as a numbered point between two measures, its seeds as small dots.

The SVG stands alone: its few styles are inside, on paper of its own, so that any page can show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tutelage.report.drawing import Axis, add, axis, markup, picture, ticks

WIDTH, HEIGHT = 640.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 230.0, 34.0, 50.0
STYLE = """
.paper { fill: #fbfaf7 } .hair { stroke: #e9e6dd } .rule { stroke: #595f69 }
text { font: 12px system-ui, "Segoe UI", "Liberation Sans", Arial, sans-serif; fill: #1f2328 }
.quiet { fill: #595f69 } .seed { fill: #1c5aa6; fill-opacity: 0.35 }
.mean { fill: #1c5aa6; stroke: #fbfaf7 } .start { fill: #595f69; stroke: #fbfaf7 } .number { fill: #ffffff }
.key { fill: #1c5aa6 } .key-start { fill: #595f69 } .teacher { stroke: #b83d12; stroke-width: 2 }
"""


@dataclass(frozen=True)
class Spot:
    """One arm in a figure.

    Attributes:
        name: of the arm.
        seeds: across and up, by seed.
        kind: ``arm``, ``start`` (before any arm) or ``teacher``.
    """

    name: str
    seeds: tuple[tuple[float, float], ...]
    kind: str = "arm"

    @property
    def mean(self) -> tuple[float, float]:
        """Over the seeds."""
        count = len(self.seeds)
        return sum(x for x, _ in self.seeds) / count, sum(y for _, y in self.seeds) / count


def draw(spots: Sequence[Spot], *, title: str, told: str, across: str, up: str) -> str:
    """The figure as the text of an SVG file.

    Args:
        spots: the arms, at least one.
        title: above the figure.
        told: its text alternative, which says what to look for.
        across, up: names of the two measures with their units.
    """
    points = [point for spot in spots for point in spot.seeds]
    along = axis([x for x, _ in points], LEFT, WIDTH - RIGHT, room=0.08)
    high = axis([y for _, y in points], HEIGHT - BOTTOM, TOP, room=0.08)
    svg = picture(WIDTH, HEIGHT, title, told, "plane")
    svg.set("xmlns", "http://www.w3.org/2000/svg")
    svg.set("width", f"{WIDTH:g}")
    svg.set("height", f"{HEIGHT:g}")
    add(svg, "style", STYLE)
    add(svg, "rect", class_="paper", x=0, y=0, width=WIDTH, height=HEIGHT)
    axes(svg, along, high, title, across, up)
    for spot in spots:
        for x, y in spot.seeds if len(spot.seeds) > 1 else ():
            add(svg, "circle", class_="seed", cx=along(x), cy=high(y), r=3)
    for number, spot in enumerate(spots, 1):
        _mark(svg, spot, number, along(spot.mean[0]), high(spot.mean[1]))
        y = TOP + 8 + (number - 1) * 22
        _mark(svg, spot, number, WIDTH - RIGHT + 26, y)
        add(svg, "text", spot.name.replace("_", " "), x=WIDTH - RIGHT + 42, y=y + 4)
    return f"{markup(svg)}\n"


def spots_of(arms: Sequence[Mapping[str, object]], across: str, up: str) -> list[Spot]:
    """Arms of a record as spots; those without both numbers are left out."""
    found = []
    for arm in arms:
        numbers = arm["numbers"]
        assert isinstance(numbers, Mapping)
        pairs = zip(numbers.get(across, ()), numbers.get(up, ()), strict=True)
        seeds = tuple((x, y) for x, y in pairs if x is not None and y is not None)
        name = str(arm["name"])
        kind = (
            "teacher"
            if name.startswith("teacher")
            else "start"
            if name in ("warm_start", "warm start", "untouched")
            else "arm"
        )
        if seeds:
            found.append(Spot(name, seeds, kind))
    return found


def _mark(svg: Element, spot: Spot, number: int, x: float, y: float) -> None:
    if spot.kind == "teacher":
        for turn in (1, -1):
            add(svg, "line", class_="teacher", x1=x - 5, y1=y - 5 * turn, x2=x + 5, y2=y + 5 * turn)
        return
    add(svg, "circle", class_="start" if spot.kind == "start" else "mean", cx=x, cy=y, r=8.5)
    add(svg, "text", str(number), class_="number", x=x, y=y + 4, text_anchor="middle")


def axes(svg: Element, along: Axis, high: Axis, title: str, across: str, up: str) -> None:
    """Title, ticks and names of both axes."""
    floor, edge = HEIGHT - BOTTOM, WIDTH - RIGHT
    add(svg, "text", title, x=LEFT, y=18, font_weight=600)
    for value, label in ticks(high.low, high.high, 5):
        y = high(value)
        add(svg, "line", class_="hair", x1=LEFT, y1=y, x2=edge, y2=y)
        add(svg, "text", label, class_="quiet", x=LEFT - 7, y=y + 4, text_anchor="end")
    for value, label in ticks(along.low, along.high, 5):
        x = along(value)
        add(svg, "line", class_="hair", x1=x, y1=TOP, x2=x, y2=floor)
        add(svg, "text", label, class_="quiet", x=x, y=floor + 17, text_anchor="middle")
    add(svg, "line", class_="rule", x1=LEFT, y1=floor, x2=edge, y2=floor)
    add(svg, "line", class_="rule", x1=LEFT, y1=TOP, x2=LEFT, y2=floor)
    add(svg, "text", across, class_="quiet", x=(LEFT + edge) / 2, y=HEIGHT - 12, text_anchor="middle")
    middle = (TOP + floor) / 2
    add(
        svg,
        "text",
        up,
        class_="quiet",
        x=14,
        y=middle,
        text_anchor="middle",
        transform=f"rotate(-90 14 {middle:g})",
    )
