"""How training went: which curves there are, how they are framed, and the numbers behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tutelage.report.charts import SMALL, Level, Line, line_chart
from tutelage.report.collect import Findings
from tutelage.report.drawing import COLOURS, Point
from tutelage.report.reliability import calibration_rows, calibration_told, reliability_chart
from tutelage.report.schema import Arm
from tutelage.report.verdict import UNTOUCHED
from tutelage.report.wording import EN_DASH, Style, metric, style_of

MEASURED = {"eval_student_nats": "student_nats", "eval_forward_kl_nats": "forward_kl_nats"}
"""The curves on held-out text, and the metric of the results that each ends in."""

MOST_ROWS = 40


@dataclass(frozen=True)
class Panel:
    """One chart with its caption."""

    caption: str
    chart: Markup


@dataclass(frozen=True)
class Figure:
    """Charts that belong together.

    Attributes:
        title: its heading.
        note: how to read it.
        panels: the charts.
        header, rows: the numbers behind it; empty where the captions say all.
        small: whether the panels are small ones, side by side.
        cells: what stands in the cells of the numbers; "" for a mean over seeds.
    """

    title: str
    note: str
    panels: tuple[Panel, ...]
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    small: bool = False
    cells: str = ""


def styles(found: Findings) -> dict[str, str]:
    """The style of every arm: the control's own, the untouched student's own, a colour for each other."""
    control = found.results.compared_with if found.results else None
    own = {control: "control", UNTOUCHED: "untouched"}
    others = [arm.name for arm in found.arms if arm.name not in own]
    coloured = {name: f"s{number % COLOURS}" for number, name in enumerate(others)}
    return {arm.name: own.get(arm.name) or coloured[arm.name] for arm in found.arms}


def figures(found: Findings) -> tuple[Figure, ...]:
    """The figures for which there are numbers."""
    named = styles(found)
    drawn = [_measured(found, curve, name, named) for curve, name in MEASURED.items()]
    drawn += [
        _losses(found.arms, named),
        _ways(found.arms, named),
        _calibrations(found.arms, named),
    ]
    return tuple(figure for figure in drawn if figure)


def _measured(found: Findings, curve: str, name: str, named: Mapping[str, str]) -> Figure | None:
    """A metric on held-out text: the whole run, and its second half on a scale of its own."""
    lines = _lines(found.arms, curve, named)
    if not lines:
        return None
    title, results = metric(name).title, found.results
    digits = style_of(results, name).digits if results else 3
    levels = []
    if results and results.teacher_nats is not None and name == "student_nats":
        levels.append(Level("teacher", "teacher", results.teacher_nats))
    for arm in found.arms:
        if arm.name == UNTOUCHED and (mean := arm.mean(name)) is not None:
            levels.append(Level(UNTOUCHED, "untouched", mean))
    told = _told(lines, digits)
    panels = [
        Panel("The whole run.", line_chart(lines, levels, title=title, description=told, digits=digits))
    ]
    late = _second_half(lines)
    near, left_out = _near(late or lines, levels)
    if late or left_out:
        caption = f"{'The second half' if late else 'The same, closer'}, on a scale of its own."
        if left_out:
            names = [f"{level.name} {Style(digits).value(level.value)}" for level in left_out]
            caption += f" Outside the frame: {', '.join(names)}."
        chart = line_chart(late or lines, near, title=f"{title}, closer", description=told, digits=digits)
        panels.append(Panel(caption, chart))
    header, rows = _numbers(lines, digits)
    return Figure(title, metric(name).hint, tuple(panels), header, rows)


def _losses(arms: Sequence[Arm], named: Mapping[str, str]) -> Figure | None:
    """The training loss, each arm apart: divergences of different kinds have different heights."""
    lines = _lines(arms, "loss_nats", named)
    panels = tuple(
        Panel(
            f"{line.name}: {_told([line], 3)}",
            line_chart(
                [line], [], title=f"Training loss of {line.name}", description=_told([line], 3), frame=SMALL
            ),
        )
        for line in lines
    )
    apart = "Each arm minimises its own divergence, on a scale of its own: do not compare heights."
    note = apart if len(panels) > 1 else "What the optimiser saw, on training text."
    return Figure("Training loss", note, panels, small=True) if panels else None


def _ways(arms: Sequence[Arm], named: Mapping[str, str]) -> Figure | None:
    """Of teachers on their way from the student: their share in the target, step by step."""
    lines = _lines(arms, "teacher_t", named)
    if not lines:
        return None
    told = _told(lines, 3)
    title = "Share of the teacher in its target"
    chart = line_chart(lines, [], title=title, description=told, digits=3)
    ramps = _lines(arms, "teacher_ramp", named)
    ahead = {
        line.name: max(t - r for (_, t), (_, r) in zip(line.mean, ramp.mean, strict=True))
        for line in lines
        for ramp in ramps
        if ramp.name == line.name and len(ramp.mean) == len(line.mean)
    }
    led = "; ".join(f"{name}: at most {lead:.3f} ahead of its linear ramp" for name, lead in ahead.items())
    note = (
        "0 is the student itself, 1 the teacher. A run that ends below 1 never asked for the teacher itself."
    )
    header, rows = _numbers(lines, 3)
    return Figure(title, note, (Panel(f"The whole run. {led}".strip(), chart),), header, rows)


def _calibrations(arms: Sequence[Arm], named: Mapping[str, str]) -> Figure | None:
    """A reliability diagram of every arm, over all its seeds."""
    known = {arm.name: arm.calibration for arm in arms if arm.calibration and arm.calibration.filled}
    panels = [
        Panel(
            f"{name}: {calibration_told(found)}",
            reliability_chart(found, named[name], title=f"Calibration of {name}"),
        )
        for name, found in known.items()
    ]
    note = (
        "How sure the student was of its likeliest token, and how often that was the one in the text. On the "
        "straight line it is as right as it is sure; below it, too sure. A larger dot stands for more tokens."
    )
    header, cells = ("confidence", *known), "share that was right (tokens)"
    rows = calibration_rows(list(known.values()))
    return Figure("Calibration", note, tuple(panels), header, rows, True, cells) if panels else None


def _lines(arms: Sequence[Arm], curve: str, named: Mapping[str, str]) -> list[Line]:
    """The arms that were measured at two steps or more."""
    lines = []
    for arm in arms:
        seeds = tuple(points for c in arm.curves if (points := c.points(curve)))
        mean = _mean(seeds)
        if len(mean) > 1:
            lines.append(Line(arm.name, named[arm.name], seeds, mean))
    return lines


def _mean(seeds: Sequence[Sequence[Point]]) -> tuple[Point, ...]:
    """The mean over seeds at the steps that all of them have."""
    tables = [dict(seed) for seed in seeds]
    shared = set.intersection(*(set(table) for table in tables)) if tables else set()
    return tuple((x, math.fsum(table[x] for table in tables) / len(tables)) for x in sorted(shared))


def _second_half(lines: Sequence[Line]) -> list[Line]:
    """The lines from half of the last step on; empty if that would show too little."""
    last = max(x for line in lines for x, _ in line.mean)

    def cut(points: Sequence[Point]) -> tuple[Point, ...]:
        return tuple(point for point in points if point[0] >= last / 2)

    late = [Line(line.name, line.style, tuple(map(cut, line.seeds)), cut(line.mean)) for line in lines]
    late = [line for line in late if len(line.mean) > 1]
    return late if late and max(len(line.mean) for line in lines) > 4 else []


def _near(lines: Sequence[Line], levels: Sequence[Level]) -> tuple[list[Level], list[Level]]:
    """The levels that would not squash the lines, and the others."""
    heights = [y for line in lines for seed in (*line.seeds, line.mean) for _, y in seed]
    low, high = min(heights), max(heights)
    near = [level for level in levels if low - (high - low) <= level.value <= high + (high - low)]
    return near, [level for level in levels if level not in near]


def _told(lines: Sequence[Line], digits: int) -> str:
    """Where each line begins and ends, in words."""
    style = Style(digits)
    several = len(lines) > 1
    return "; ".join(
        f"{f'{line.name} ' * several}from {style.value(line.mean[0][1])} at step {line.mean[0][0]:,.0f} "
        f"to {style.value(line.mean[-1][1])} at step {line.mean[-1][0]:,.0f}"
        for line in lines
    )


def _numbers(lines: Sequence[Line], digits: int) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Mean and extent over seeds by step; of many steps, every so many and the last."""
    style = Style(digits)
    steps = sorted({x for line in lines for x, _ in line.mean})
    every = math.ceil(len(steps) / MOST_ROWS)
    kept = [x for i, x in enumerate(steps) if i % every == 0 or i == len(steps) - 1]
    means = [dict(line.mean) for line in lines]
    seeds = [[dict(seed) for seed in line.seeds] for line in lines]

    def cell(mean: Mapping[float, float], tables: Sequence[Mapping[float, float]], x: float) -> str:
        if x not in mean:
            return ""
        values = [table[x] for table in tables if x in table]
        extent = (
            f" ({style.value(min(values))}{EN_DASH}{style.value(max(values))})" if len(values) > 1 else ""
        )
        return style.value(mean[x]) + extent

    rows = tuple(
        (f"{x:,.0f}", *(cell(mean, tables, x) for mean, tables in zip(means, seeds, strict=True)))
        for x in kept
    )
    return ("step", *(line.name for line in lines)), rows
