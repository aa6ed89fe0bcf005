"""Numbers and names as a reader wants them: minus signs, digits that mean something, plain words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tutelage.report.schema import Results

ABSENT = "\N{EM DASH}"
MINUS = "\N{MINUS SIGN}"
EN_DASH = "\N{EN DASH}"
NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"

# C0 controls (but newline and tab), DEL and lone surrogates cannot stand in HTML; pictures of them can.
_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_VISIBLE |= {127: 0x2421} | dict.fromkeys((*range(55296, 57344), 65534, 65535), 65533)


@dataclass(frozen=True)
class Metric:
    """How a metric of the results is shown.

    Attributes:
        title: what a heading calls it.
        unit: after a number, in running text.
        better: -1 where lower is better, +1 where higher is, 0 where nobody can say.
        hint: the direction, in words.
        share: whether it is a fraction that people read as a percentage.
    """

    title: str
    unit: str = "nats"
    better: int = 0
    hint: str = ""
    share: bool = False


METRICS = {
    "student_nats": Metric(
        "Nats per token on held-out text",
        "nats per token",
        -1,
        "lower is better; it is what the student is for",
    ),
    "forward_kl_nats": Metric(
        "Divergence from the teacher (forward KL)", "nats per token", -1, "lower is closer to the teacher"
    ),
    "agreement": Metric(
        "Agreement with the teacher\N{RIGHT SINGLE QUOTATION MARK}s first choice",
        "of the tokens",
        +1,
        "higher is closer to the teacher",
        share=True,
    ),
}


def metric(name: str) -> Metric:
    """How ``name`` is shown; a metric we do not know is shown by its key, without a direction."""
    plain = name.removesuffix("_nats").replace("_", " ")
    return METRICS.get(name) or Metric(
        plain[:1].upper() + plain[1:], "nats" if name.endswith("_nats") else ""
    )


@dataclass(frozen=True)
class Style:
    """How many digits the numbers of one metric have, and whether they are percentages.

    A difference between percentages is in points.
    """

    digits: int
    share: bool = False

    def value(self, number: float | None) -> str:
        """A value, such as ``2.481`` or ``51.2 %``."""
        if number is None:
            return ABSENT
        if self.share:
            return f"{plain(100 * number, max(self.digits - 2, 1))}{NARROW_SPACE}%"
        return plain(number, self.digits)

    def signed(self, number: float | None) -> str:
        """A difference with its sign; zero has none."""
        if number is None:
            return ABSENT
        text = self.size(abs(number))
        nothing = not any(digit in "123456789" for digit in text)
        return text if nothing else ("+" if number > 0 else MINUS) + text

    def size(self, number: float | None) -> str:
        """The size of a difference, a spread or a floor, without its unit."""
        if number is None:
            return ABSENT
        return plain(100 * number, max(self.digits - 2, 1)) if self.share else plain(number, self.digits)

    @property
    def points(self) -> str:
        """The unit of a difference, where it isn't that of the value."""
        return " points" if self.share else ""


def style_for(sizes: Iterable[float | None], share: bool = False) -> Style:
    """Digits enough to show two figures of the smallest of some sizes; three to five."""
    known = [abs(size) for size in sizes if size]
    wanted = 1 - math.floor(math.log10(min(known))) if known else 3
    return Style(min(max(wanted, 3), 4 if share else 5), share)


def style_of(results: Results, name: str) -> Style:
    """The style of one metric: two figures of its floor, its spreads and its intervals' half widths."""
    halves = [
        (d.high - d.low) / 2
        for d in results.differences
        if d.metric == name and d.high is not None and d.low is not None
    ]
    spreads = [arm.spread(name) for arm in results.arms]
    return style_for([results.floor(name), *spreads, *halves], metric(name).share)


def plain(number: float, digits: int) -> str:
    """A number with a fixed count of decimals and a true minus sign."""
    text = f"{abs(number):,.{digits}f}"
    nothing = not any(digit in "123456789" for digit in text)
    return text if number >= 0 or nothing else MINUS + text


def short(number: float) -> str:
    """At most four figures, for the axis of a chart or a list."""
    return f"{number:.4g}".replace("-", MINUS)


def percent(share: float) -> str:
    """A probability, such as ``31 %``; small ones keep a figure."""
    return (
        f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1 if share >= 0.001 else 2}f}{NARROW_SPACE}%"
    )


def amount(number: float) -> str:
    """A count that need not be exact, such as ``5.2 million``."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e4, "thousand")):
        if number >= size:
            return f"{number / (1e3 if word == 'thousand' else size):.3g} {word}"
    return f"{number:,.0f}"


def clean(text: str) -> str:
    """Text that can stand in HTML: characters that cannot are replaced by pictures of them."""
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def token_text(token: str) -> str:
    """A token on its own, its blanks made visible."""
    shown = token.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}").replace(
        "\t", "\N{RIGHTWARDS ARROW}"
    )
    return clean(shown.replace(" ", "\N{OPEN BOX}")) or "\N{EMPTY SET}"
