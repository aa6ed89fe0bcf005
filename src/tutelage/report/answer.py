"""The answer of a run, in one honest sentence and a table: who is better than the control arm, and is it noise?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from tutelage.report.collect import Findings
from tutelage.report.schema import Arm, Difference, Results
from tutelage.report.strips import interval_strip, strip_limit
from tutelage.report.wording import EN_DASH, METRICS, Metric, Style, metric, style_for

UNTOUCHED = "untouched"
"""The arm that is the student before training; beating it is not news."""


@dataclass(frozen=True)
class Verdict:
    """What came out.

    Attributes:
        kind: ``better``, ``worse``, ``unresolved`` or ``open`` (nothing to compare with).
        headline: one sentence.
        remarks: what else an honest reader would want to know.
    """

    kind: str
    headline: str
    remarks: tuple[str, ...] = ()


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
    """All arms in one metric."""

    metric: Metric
    rows: tuple[ArmRow, ...]
    teacher: str | None


def verdict(found: Findings) -> Verdict:
    """The answer of a run or a study.

    An arm is called better or worse than the control only if the interval of the difference leaves
    out zero *and* the difference is larger than the noise floor.
    """
    results = found.results
    if results is None or not results.arms:
        return Verdict("open", "No result yet: this run has not been measured on held-out text.")
    compared = [d for d in results.differences if d.arm not in (UNTOUCHED, results.compared_with)]
    if not compared:
        return _alone(results)
    name = "student_nats" if any(d.metric == "student_nats" for d in compared) else compared[0].metric
    here = [d for d in compared if d.metric == name and d.mean is not None]
    if not here:
        return Verdict("open", "No difference can be told: the results hold numbers that are not finite.")
    said = _Said(results, name)
    better = [d for d in here if said.kind(d) == "better"]
    worse = [d for d in here if said.kind(d) == "worse"]
    better.sort(key=lambda d: said.sign * -(d.mean or 0))
    worse.sort(key=lambda d: said.sign * -(d.mean or 0))
    others = sorted(here, key=lambda d: said.sign * -(d.mean or 0))
    first = (better or worse or others)[0]
    kind = "better" if better else "worse" if worse and len(worse) == len(here) else "unresolved"
    if kind == "unresolved":
        first = next(d for d in others if said.kind(d) == "unresolved")
    rest = [said.sentence(d) for d in others if d is not first]
    return Verdict(kind, said.sentence(first), (*rest, *said.caveats(first, len(here))))


class _Said:
    """Differences from the control arm in one metric, in words."""

    def __init__(self, results: Results, name: str) -> None:
        self.results = results
        self.name = name
        self.metric = metric(name)
        self.sign = self.metric.better or -1
        self.floor = results.floor(name)
        self.control = results.compared_with or "the control arm"
        self.style = _style(results, name)

    def kind(self, d: Difference) -> str:
        """``better`` or ``worse`` where seeds resolve it, else ``unresolved``."""
        if d.mean is None or d.low is None or d.high is None or d.low <= 0 <= d.high:
            return "unresolved"
        if self.floor is not None and abs(d.mean) <= self.floor:
            return "unresolved"
        return "better" if d.mean * self.sign > 0 else "worse"

    def sentence(self, d: Difference) -> str:
        """One sentence with the difference, its interval and the number of seeds."""
        mean = d.mean or 0.0
        size = f"{self.style.size(abs(mean))}{self.style.points} {self.metric.unit}".rstrip()
        way = "less" if mean < 0 else "more"
        kind = self.kind(d)
        measure = f"{d.arm} needs {size} {way} than {self.control} on held-out text"
        if self.name != "student_nats":
            measure = (
                f"{d.arm} is {size} {'below' if mean < 0 else 'above'} {self.control} ({self.metric.title})"
            )
        if kind == "unresolved":
            gap = f"{d.arm} minus {self.control} is {self.style.signed(mean)}{self.style.points} {self.metric.unit}"
            return f"No difference that these seeds can resolve: {gap.rstrip()} ({self.evidence(d)})."
        word = "Better" if kind == "better" else "Worse"
        return f"{word} than the control arm: {measure} ({self.evidence(d)})."

    def evidence(self, d: Difference) -> str:
        """The interval, or why there is none, and what it rests on."""
        seeds = self.seeds(d.arm)
        if d.low is None or d.high is None:
            return "one seed, so no interval" if seeds < 2 else "no interval"
        ends = f"{self.style.signed(d.low)} to {self.style.signed(d.high)}"
        text = f"{100 * d.confidence:g} % interval {ends}, {seeds} seed{'s' * (seeds != 1)}"
        small = d.mean is not None and self.floor is not None and abs(d.mean) <= self.floor
        leaves_out = not d.low <= 0 <= d.high
        return (
            f"{text}; smaller than the noise floor {self.style.size(self.floor)}" * (small and leaves_out)
            or text
        )

    def seeds(self, arm: str) -> int:
        """How many seeds stand behind a comparison."""
        counts = [_count(a, self.name) for a in self.results.arms if a.name in (arm, self.control)]
        return min(counts, default=0)

    def caveats(self, first: Difference, compared: int) -> list[str]:
        """The share of the gap to the teacher, the untouched student, and what choosing the best costs."""
        means = {arm.name: _mean(arm, self.name) for arm in self.results.arms}
        control, mine, untouched = means.get(self.control), means.get(first.arm), means.get(UNTOUCHED)
        teacher = self.results.teacher.nats_per_token if self.results.teacher else None
        said = []
        if self.name == "student_nats" and None not in (control, mine, teacher):
            assert control is not None and mine is not None and teacher is not None  # noqa: PT018
            if control > teacher and self.kind(first) == "better":
                share = (control - mine) / (control - teacher)
                said.append(
                    f"That closes {100 * share:.0f} % of the gap between {self.control} "
                    f"({self.style.value(control)}) and the teacher ({self.style.value(teacher)})."
                )
        if untouched is not None and mine is not None:
            said.append(
                f"Before training the student was at {self.style.value(untouched)} {self.metric.unit}; "
                f"{first.arm} ends at {self.style.value(mine)}."
            )
        if compared > 1:
            said.append(
                f"{compared} arms were compared with {self.control}; each interval is for its own comparison, "
                "without a correction for having looked at several."
            )
        return said


def _alone(results: Results) -> Verdict:
    """The answer where nothing was compared: before and after, and the teacher."""
    trained = [arm for arm in results.arms if arm.name != UNTOUCHED]
    arm = (trained or list(results.arms))[0]
    style = _style(results, "student_nats")
    after = _mean(arm, "student_nats")
    if after is None:
        return Verdict("open", f"{arm.name} was not measured on held-out text.")
    before = next((_mean(a, "student_nats") for a in results.arms if a.name == UNTOUCHED), None)
    points = arm.curves[0].points("eval_student_nats") if arm.curves else ()
    if before is None and points and points[0][0] == 0:
        before = points[0][1]
    start = f"went from {style.value(before)} to" if before is not None else "ends at"
    headline = f"{arm.name} {start} {style.value(after)} nats per token on held-out text"
    teacher = results.teacher.nats_per_token if results.teacher else None
    tail = f"; the teacher is at {style.value(teacher)}." if teacher is not None else "."
    lonely = "There is no control arm, so nothing here says that distilling did better than plain training would have."
    return Verdict("open", headline[:1].upper() + headline[1:] + tail, (lonely,))


def tables(results: Results) -> tuple[MetricTable, ...]:
    """One table a metric, the known metrics first."""
    names = list(dict.fromkeys(name for arm in results.arms for name in arm.numbers))
    names.sort(key=lambda name: list(METRICS).index(name) if name in METRICS else len(METRICS))
    return tuple(_table(results, name) for name in names)


def _table(results: Results, name: str) -> MetricTable:
    style, said = _style(results, name), _Said(results, name)
    arms = [arm for arm in results.arms if name in arm.numbers]
    means = {arm.name: mean for arm in arms if (mean := _mean(arm, name)) is not None}
    trained = {arm: mean for arm, mean in means.items() if arm != UNTOUCHED}
    best = (
        max(trained, key=lambda arm: said.metric.better * trained[arm])
        if said.metric.better and len(trained) > 1
        else ""
    )
    differences = [d for arm in arms if (d := results.difference(arm.name, name))]
    limit = strip_limit(differences, said.floor)
    rows = tuple(_row(said, arm, style, best, limit) for arm in arms)
    teacher = results.teacher.nats_per_token if results.teacher and name == "student_nats" else None
    return MetricTable(said.metric, rows, style.value(teacher) if teacher is not None else None)


def _row(said: _Said, arm: Arm, style: Style, best: str, limit: float) -> ArmRow:
    values = [value for value in arm.numbers[said.name] if value is not None]
    lost = len(arm.numbers[said.name]) - len(values)
    d = said.results.difference(arm.name, said.name)
    control = arm.name == said.results.compared_with
    interval = (
        f"{style.signed(d.low)} to {style.signed(d.high)}"
        if d and d.low is not None and d.high is not None
        else ""
    )
    floor = said.floor
    return ArmRow(
        name=arm.name,
        what=arm.what,
        seeds=f"{len(values)}" + (f" ({lost} not finite)" if lost else ""),
        mean=style.value(_mean(arm, said.name)),
        spread=style.size(_spread(values)) if len(values) > 1 else "one seed" if values else "",
        extent=f"{style.value(min(values))} {EN_DASH} {style.value(max(values))}" if len(values) > 1 else "",
        difference="control" if control else style.signed(d.mean) + style.points if d else "not compared",
        interval="" if control else interval or ("no interval" if d else ""),
        floor=f"± {style.size(floor)}" if floor is not None else "not measured",
        badge=_badge(said, arm, d, best),
        strip=interval_strip(d, limit, floor, style) if d and not control else None,
    )


def _badge(said: _Said, arm: Arm, d: Difference | None, best: str) -> str:
    """What is to be said about an arm: its place, and whether seeds resolve it."""
    word = "lowest mean" if said.metric.better < 0 else "highest mean"
    place = [word] if arm.name == best else []
    if d is None or arm.name in (UNTOUCHED, said.results.compared_with) or not said.metric.better:
        return ", ".join(place)
    kind = said.kind(d)
    return ", ".join([*place, "not resolved" if kind == "unresolved" else f"{kind} than {said.control}"])


def _style(results: Results, name: str) -> Style:
    spreads = [_spread([v for v in arm.numbers.get(name, ()) if v is not None]) for arm in results.arms]
    halves = [
        (d.high - d.low) / 2
        for d in results.differences
        if d.metric == name and d.high is not None and d.low is not None
    ]
    return style_for([results.floor(name), *spreads, *halves], metric(name).share)


def _count(arm: Arm, name: str) -> int:
    return sum(value is not None for value in arm.numbers.get(name, ()))


def _mean(arm: Arm, name: str) -> float | None:
    """Mean over seeds; None if one of them is not finite, because a mean of the rest would flatter."""
    values = arm.numbers.get(name, ())
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _spread(values: list[float]) -> float | None:
    """Standard deviation over seeds (n - 1)."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
