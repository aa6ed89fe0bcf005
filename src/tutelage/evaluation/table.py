"""A comparison as a table for people: a measure after the other, below it each student."""

from __future__ import annotations

import math
import string
from typing import TYPE_CHECKING

from tutelage.evaluation.intervals import Interval

if TYPE_CHECKING:
    from tutelage.evaluation.comparing import Comparison

HEAD = ("measure", "", "mean", "minus A", "noise floor")


def as_table(found: Comparison) -> str:
    """The students with a letter each, then every measure: mean, difference from the first, noise floor."""
    letters = dict(zip(found.students, _letters(len(found.students)), strict=True))
    lines = [f"{found.source}: {found.rows} rows, {found.tokens} tokens"] if found.rows else []
    lines += ["", *(f"{letter}  {name}" for name, letter in letters.items()), ""]
    rows: list[tuple[str, ...]] = [HEAD]
    several = len(letters) > 1
    for label in dict.fromkeys(label for measures in found.students.values() for label in measures):
        unit = found.units.get(label, "")
        named = f"{label}, {unit}" if unit and not label.endswith("_nats") else label
        for name, letter in letters.items():
            if label not in found.students[name]:
                continue
            difference = found.paired.get(name, {}).get(label)
            noise = found.noise.get(name, {}).get(label)
            rows.append(
                (
                    named,
                    letter,
                    shown(found.students[name][label]),
                    "" if difference is None else shown(difference, signed=True),
                    "" if noise is None or math.isnan(noise.floor) else f"± {noise.floor:.4f}",
                )
            )
            named = ""
    kept = [i for i, head in enumerate(HEAD) if (several or head not in ("", "minus A"))]
    kept = [i for i in kept if i < 4 or any(row[4] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    lines += ["  ".join(row[i].ljust(widths[i]) for i in kept).rstrip() for row in rows]
    lines += [
        "",
        "in brackets: 95 % intervals over rows" + ("; differences are paired by row" if several else ""),
    ]
    if 4 in kept:
        lines.append(
            "noise floor: what two groups of as many seeds of a student differ by in 95 of 100 cases"
        )
    return "\n".join([*lines, *found.notes]).lstrip("\n")


def shown(interval: Interval, *, signed: bool = False) -> str:
    """A mean with its interval; NaN as a word."""
    if math.isnan(interval.mean):
        return "undefined"
    sign = "+" if signed else ""
    if math.isnan(interval.low):
        return f"{interval.mean:{sign}.4f} (no interval)"
    return f"{interval.mean:{sign}.4f} [{interval.low:{sign}.4f}, {interval.high:{sign}.4f}]"


def _letters(count: int) -> list[str]:
    alphabet = string.ascii_uppercase
    return [alphabet[i % 26] + (str(i // 26) if i >= 26 else "") for i in range(count)]
