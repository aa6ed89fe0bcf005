"""Reliability diagrams as SVG: how often a student was right, against how sure it was."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from tutelage.report.charts import SMALL, Frame
from tutelage.report.drawing import DASHES, Axis, add, markup, path, picture, ticks
from tutelage.report.schema import Calibration
from tutelage.report.wording import ABSENT, EN_DASH, plain

SQUARE = Frame(240.0, 240.0, SMALL.left, SMALL.right)
LARGEST_DOT, SMALLEST_DOT = 7.0, 1.5


def calibration_told(found: Calibration) -> str:
    """One line under a diagram: the expected calibration error, and over how many tokens."""
    error = ABSENT if found.error is None else plain(found.error, 3)
    return f"expected calibration error {error} over {sum(n for *_, n in found.filled):,.0f} tokens"


def calibration_rows(found: Sequence[Calibration]) -> tuple[tuple[str, ...], ...]:
    """The numbers behind diagrams: a row a bin, a column each."""
    most = max((len(one.bins) for one in found), default=0)

    def cell(one: Calibration, place: int) -> str:
        n, _, right = one.bins[place] if place < len(one.bins) else (None, None, None)
        return f"{plain(right / n, 3)} ({n:,.0f})" if n and right is not None else ABSENT

    return tuple(
        (
            f"{plain(place / most, 2)}{EN_DASH}{plain((place + 1) / most, 2)}",
            *(cell(one, place) for one in found),
        )
        for place in range(most)
    )


def reliability_chart(found: Calibration, style: str, *, title: str, frame: Frame = SQUARE) -> Markup:
    """Accuracy against confidence, a dot for every bin, its area by how many tokens are in it.

    Args:
        found: the bins; at least one has a token.
        style: class of the arm in the style sheet.
        title: the text alternative, with `calibration_told`.
        frame: its size.
    """
    floor, right = frame.height - frame.bottom, frame.width - frame.right
    along, up = Axis(0.0, 1.0, frame.left, right), Axis(0.0, 1.0, floor, frame.top)
    svg = picture(frame.width, frame.height, title, calibration_told(found), "chart")
    group = add(svg, "g", class_="axes", aria_hidden="true")
    for value, label in ticks(0.0, 1.0, 4):
        y, x = up(value), along(value)
        add(group, "line", class_="grid", x1=frame.left, y1=y, x2=right, y2=y)
        add(group, "text", label, x=frame.left - 7, y=y + 4, text_anchor="end")
        add(group, "line", class_="tick", x1=x, y1=floor, x2=x, y2=floor + 4)
        add(group, "text", label, x=x, y=floor + 18, text_anchor="middle")
    add(group, "line", class_="base", x1=frame.left, y1=floor, x2=right, y2=floor)
    add(group, "text", "share that was right", class_="unit", x=2, y=14)
    middle, below = (frame.left + right) / 2, frame.height - 5
    add(group, "text", "confidence", class_="unit", x=middle, y=below, text_anchor="middle")
    look = "level untouched"
    add(svg, "line", class_=look, x1=along(0.0), y1=up(0.0), x2=along(1.0), y2=up(1.0))
    arm = add(svg, "g", class_=f"arm {style}")
    places = [(along(sure), up(share)) for sure, share, _ in found.filled]
    add(arm, "path", class_="mean", d=path(places), stroke_dasharray=DASHES.get(style))
    most = max(n for *_, n in found.filled)
    for (x, y), (*_, n) in zip(places, found.filled, strict=True):
        radius = max(SMALLEST_DOT, LARGEST_DOT * math.sqrt(n / most))
        add(arm, "circle", class_="end", cx=x, cy=y, r=round(radius, 1))
    return markup(svg)
