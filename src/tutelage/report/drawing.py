"""SVG by hand: elements that escape what they are given, round ticks, numbers turned into places."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from tutelage.report.wording import clean, plain

Point = tuple[float, float]

DASHES = {
    "control": "9 4",
    "untouched": "1 3",
    "s1": "2.5 3",
    "s2": "13 3 2.5 3",
    "s3": "5 2",
    "s4": "8 3 2.5 3 2.5 3",
    "s5": "1 4",
}
"""The dash pattern of a style, so that a grey print tells lines apart; a style that is not named is solid."""

COLOURS = 6
"""How many arms get a colour and a dash of their own before they repeat: ``s0`` to ``s5``."""


def add(parent: Element, tag: str, text: str | None = None, **attributes: object) -> Element:
    """Append an element. ``class_`` stands for ``class``, other underscores for hyphens; None is left out."""
    named = {
        key.rstrip("_").replace("_", "-"): f"{value:.6g}" if isinstance(value, float) else clean(str(value))
        for key, value in attributes.items()
        if value is not None
    }
    element = SubElement(parent, tag, named)
    element.text = None if text is None else clean(text)
    return element


def picture(width: float, height: float, title: str, description: str, kind: str) -> Element:
    """An empty ``<svg role="img">`` with its text alternative."""
    box = f"0 0 {width:g} {height:g}"
    svg = Element("svg", {"viewBox": box, "role": "img", "class": kind, "aria-label": clean(title)})
    add(svg, "title", title)
    add(svg, "desc", description)
    return svg


def markup(svg: Element) -> Markup:
    """The element as text that a template may insert as it is."""
    return Markup(tostring(svg, encoding="unicode"))


def swatch(style: str) -> Markup:
    """A short piece of an arm's line, for a legend or a table; it has nothing to say by itself."""
    svg = Element("svg", {"viewBox": "0 0 26 8", "class": f"swatch {style}", "aria-hidden": "true"})
    add(svg, "line", x1=1, y1=4, x2=25, y2=4, class_="mean", stroke_dasharray=DASHES.get(style))
    return markup(svg)


@dataclass(frozen=True)
class Axis:
    """A straight way from numbers to places.

    Attributes:
        low, high: the numbers at the ends.
        start, end: their places.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a number, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def axis(values: Sequence[float], start: float, end: float, *, room: float = 0.05) -> Axis:
    """An axis that holds all values with some room at both ends; a single value gets room too."""
    low, high = min(values), max(values)
    spare = (high - low) * room or (0.0 if room == 0 and high > low else max(abs(high) * 0.05, 1e-6))
    return Axis(low - spare, high + spare, start, end)


def ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """About ``count`` round numbers between two numbers, with their labels."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda size: abs(math.log(size * power / rough)))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(number * step, plain(number * step, digits)) for number in range(first, last + 1)]


def path(points: Iterable[Point]) -> str:
    """Straight lines through places, for the ``d`` of a path."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved apart so that neighbours are ``gap`` away, in the same order, inside the bounds."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [0.0] * len(places)
    at = low - gap
    for i in order:
        at = moved[i] = max(places[i], at + gap)
    limit = high
    for i in reversed(order):
        limit = moved[i] = min(moved[i], limit)
        limit -= gap
    return moved


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most about ``most`` points that keep the first, the last and every stretch's lowest and highest."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(2 * len(points) / most)
    kept = {points[0], points[-1]}
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        kept |= {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
    return sorted(kept)
