"""The table of arms: mean, spread, difference from the control, its interval and the noise floor."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from tutelage.report.schema import Arm, Results
from tutelage.report.strips import Strip
from tutelage.report.verdict import UNTOUCHED, Comparison
from tutelage.report.wording import ABSENT, EN_DASH, METRICS, Metric, metric


@dataclass(frozen=True)
class ArmRow:
    """One arm in one metric, as it is printed; ``badge`` says in words what bold type would only hint at."""

    name: str
    what: str
    seeds: str
    mean: str
    spread: str
    extent: str
    difference: str
    interval: str
    floor: str
    badge: str
    strip: Markup | None


@dataclass(frozen=True)
class MetricTable:
    """All arms in one metric; ``confidence`` is that of its intervals, in per cent."""

    metric: Metric
    rows: tuple[ArmRow, ...]
    teacher: str | None
    confidence: str


def tables(results: Results) -> tuple[MetricTable, ...]:
    """One table a metric, the known metrics first. The teacher's own nats are a row, not a table."""
    names = list(dict.fromkeys(name for arm in results.arms for name in arm.numbers))
    names = [name for name in names if name != "teacher_nats"]
    names.sort(key=lambda name: list(METRICS).index(name) if name in METRICS else len(METRICS))
    return tuple(_table(results, name) for name in names)


def _table(results: Results, name: str) -> MetricTable:
    comparison = Comparison(results, name)
    arms = [arm for arm in results.arms if name in arm.numbers]
    differences = [d for arm in arms if (d := results.difference(arm.name, name))]
    strip = Strip.over(differences, comparison.floor, comparison.style)
    best = _best(arms, name)
    teacher = results.teacher_nats if name == "student_nats" else None
    return MetricTable(
        metric=comparison.metric,
        rows=tuple(_row(comparison, arm, strip, arm.name == best) for arm in arms),
        teacher=None if teacher is None else comparison.style.value(teacher),
        confidence=f"{100 * (differences[0].confidence if differences else 0.95):g}",
    )


def _best(arms: list[Arm], name: str) -> str | None:
    """The trained arm with the best mean; None if only one was trained or no direction is better."""
    means = {arm.name: mean for arm in arms if arm.name != UNTOUCHED and (mean := arm.mean(name)) is not None}
    better = metric(name).better
    return max(means, key=lambda arm: better * means[arm]) if better and len(means) > 1 else None


def _row(comparison: Comparison, arm: Arm, strip: Strip, best: bool) -> ArmRow:
    name, style = comparison.name, comparison.style
    values = arm.finite(name)
    lost = len(arm.numbers[name]) - len(values)
    d = comparison.results.difference(arm.name, name)
    control = arm.name == comparison.results.compared_with
    interval = ""
    if d and not control:
        told = d.low is not None and d.high is not None
        interval = f"{style.signed(d.low)} to {style.signed(d.high)}" if told else "no interval"
    return ArmRow(
        name=arm.name,
        what=arm.what,
        seeds=f"{len(values)} seed{'s' * (len(values) != 1)}" + (f", {lost} not finite" if lost else ""),
        mean=style.value(arm.mean(name)),
        spread=style.size(arm.spread(name)) if len(values) > 1 else ABSENT,
        extent=f"{style.value(min(values))} {EN_DASH} {style.value(max(values))}" if len(values) > 1 else "",
        difference="control arm" if control else style.signed(d.mean) + style.points if d else "not compared",
        interval=interval,
        floor="not measured"
        if comparison.floor is None
        else f"± {style.size(comparison.floor)}{style.points}",
        badge=_badge(comparison, arm, best),
        strip=strip.draw(d) if d and not control else None,
    )


def _badge(comparison: Comparison, arm: Arm, best: bool) -> str:
    """An arm's place, and whether seeds resolve it from the control arm."""
    better = comparison.metric.better
    words = ["lowest mean" if better < 0 else "highest mean"] if best else []
    d = comparison.results.difference(arm.name, comparison.name)
    if d is not None and better and arm.name not in (UNTOUCHED, comparison.results.compared_with):
        resolved = f"than {comparison.control}"
        words.append(
            "no interval"
            if d.low is None or d.high is None
            else {
                "better": f"better {resolved}",
                "worse": f"worse {resolved}",
                "small": "below the noise floor",
                "unresolved": "not resolved",
            }[comparison.kind(d)]
        )
    return ", ".join(words)
