"""A difference and its interval as a small picture beside the number, with zero and the noise floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tutelage.report.drawing import Axis, add, markup, path, picture
from tutelage.report.schema import Difference
from tutelage.report.wording import Style

WIDTH, HEIGHT, EDGE = 150.0, 26.0, 8.0


@dataclass(frozen=True)
class Strip:
    """The common scale of one table's pictures.

    Attributes:
        limit: the largest difference that is drawn to scale; beyond it stands an arrow.
        floor: half the width of the noise band, or None.
        style: how numbers are written.
    """

    limit: float
    floor: float | None
    style: Style

    @staticmethod
    def over(differences: Sequence[Difference], floor: float | None, style: Style) -> Strip:
        """A scale on which the small differences can be told apart.

        The untouched student is often a hundred times farther away than the arms that matter, so
        what is over ten times the smallest is left to the arrow.
        """
        reach = sorted(max(abs(end) for end in _ends(d)) for d in differences if d.mean is not None)
        smallest = next((size for size in reach if size > 0), floor or 1.0)
        near = [size for size in reach if size <= 10 * smallest]
        return Strip(1.1 * max([*near, floor or 0.0, smallest]), floor, style)

    def draw(self, d: Difference) -> Markup | None:
        """The picture of one difference; None if it is not finite."""
        if d.mean is None:
            return None
        along = Axis(-self.limit, self.limit, EDGE, WIDTH - EDGE)
        middle = HEIGHT / 2
        told = (
            "no interval" if d.low is None or d.high is None else f"interval {self.style.signed(d.low)} to "
        )
        told += self.style.signed(d.high) if told.startswith("interval") else ""
        title = f"{d.arm}: difference {self.style.signed(d.mean)}{self.style.points}, {told}"
        noise = (
            "" if self.floor is None else f" The band is the noise floor, ± {self.style.size(self.floor)}."
        )
        svg = picture(WIDTH, HEIGHT, title, f"The upright line is zero.{noise}", "strip")
        if self.floor is not None:
            left, right = along(-self.floor), along(self.floor)
            add(svg, "rect", class_="noise", x=left, y=2, width=round(right - left, 1), height=HEIGHT - 4)
        add(svg, "line", class_="zero", x1=along(0.0), y1=0, x2=along(0.0), y2=HEIGHT)
        if abs(d.mean) > self.limit:
            sign = 1.0 if d.mean > 0 else -1.0
            tip = WIDTH - 2 if sign > 0 else 2.0
            back = tip - 9 * sign
            add(svg, "path", class_="beyond", d=path([(back, middle - 5), (tip, middle), (back, middle + 5)]))
            return markup(svg)
        low, high = (max(-self.limit, min(self.limit, end)) for end in (min(_ends(d)), max(_ends(d))))
        add(svg, "line", class_="whisker", x1=along(low), y1=middle, x2=along(high), y2=middle)
        for end in (low, high) if low < high else ():
            add(svg, "line", class_="whisker", x1=along(end), y1=middle - 4, x2=along(end), y2=middle + 4)
        add(svg, "circle", class_="point", cx=along(d.mean), cy=middle, r=4)
        return markup(svg)


def _ends(d: Difference) -> list[float]:
    return [end for end in (d.low, d.mean, d.high) if end is not None]
