"""The answer of a run, in one honest sentence: is an arm better than the control, or is it noise?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.report.schema import Difference, Results
from tutelage.report.wording import METRICS, metric, style_of

UNTOUCHED = "untouched"
"""The arm that is the student before training; to beat it is not news."""

Kind = Literal["better", "worse", "small", "unresolved"]


@dataclass(frozen=True)
class Verdict:
    """What came out.

    Attributes:
        kind: ``better``, ``worse``, ``small`` (resolved, but below the noise floor), ``unresolved``,
            or ``open`` where there is nothing to compare with.
        headline: one sentence.
        remarks: what else an honest reader would want to know.
        arm: the arm that the headline is about, or None.
    """

    kind: Kind | Literal["open"]
    headline: str
    remarks: tuple[str, ...] = ()
    arm: str | None = None


def verdict(results: Results | None) -> Verdict:
    """The answer of a run or a study, in the first known metric in which arms were compared.

    The headline goes to the best arm that seeds resolve; without one, to the arm with the best mean.
    """
    if results is None or not results.arms:
        return Verdict("open", "No result yet: this run has not been measured on held-out text.")
    # To be better than no training at all is no answer, so the untouched student is no control arm.
    controlled = results.compared_with != UNTOUCHED
    compared = [
        d for d in results.differences if controlled and d.arm not in (UNTOUCHED, results.compared_with)
    ]
    name = next((name for name in METRICS if any(d.metric == name for d in compared)), None)
    if name is None:
        return _alone(results)
    here = [d for d in compared if d.metric == name and d.mean is not None]
    if not here:
        return Verdict("open", "No difference can be told: the results hold numbers that are not finite.")
    comparison = Comparison(results, name)
    here.sort(key=comparison.rank)
    first = here[0]
    rest = tuple(comparison.sentence(d) for d in here[1:])
    remarks = (*rest, *comparison.caveats(here))
    return Verdict(comparison.kind(first), comparison.sentence(first), remarks, first.arm)


class Comparison:
    """Differences from the control arm in one metric, in words.

    Args:
        results: of the study.
        name: of the metric.
    """

    def __init__(self, results: Results, name: str) -> None:
        self.results = results
        self.name = name
        self.metric = metric(name)
        self.style = style_of(results, name)
        self.floor = results.floor(name)
        self.control = results.compared_with or "the control arm"

    def kind(self, d: Difference) -> Kind:
        """What seeds say about a difference."""
        if d.mean is None or not d.leaves_out_zero:
            return "unresolved"
        if self.floor is not None and abs(d.mean) <= self.floor:
            return "small"
        return "better" if d.mean * self.metric.better > 0 else "worse"

    def rank(self, d: Difference) -> tuple[int, float]:
        """Better first, worse last, and within each the better mean first."""
        order: list[Kind] = ["better", "small", "unresolved", "worse"]
        return order.index(self.kind(d)), -(d.mean or 0.0) * self.metric.better

    def sentence(self, d: Difference) -> str:
        """One sentence with the difference, its interval and the number of seeds."""
        kind, mean = self.kind(d), d.mean or 0.0
        unit = f"{self.style.points} {self.metric.unit}".rstrip()
        if kind in ("better", "worse"):
            way = "less" if mean < 0 else "more"
            size = f"{self.style.size(abs(mean))}{unit} {way} than {self.control}"
            told = {
                "student_nats": f"{d.arm} needs {size} on held-out text",
                "forward_kl_nats": f"{d.arm} is {size} away from the teacher",
            }.get(self.name, f"{d.arm} is at {size} ({self.metric.title[:1].lower()}{self.metric.title[1:]})")
            return f"{kind.title()} than the control arm: {told} ({self.evidence(d)})."
        lead = {
            "small": f"Smaller than the noise floor ({self.style.size(self.floor)})",
            "unresolved": "No difference that these seeds can resolve",
        }[kind]
        return (
            f"{lead}: {d.arm} minus {self.control} is {self.style.signed(mean)}{unit} ({self.evidence(d)})."
        )

    def evidence(self, d: Difference) -> str:
        """The interval, or why there is none, and what it rests on."""
        pair = [arm for arm in self.results.arms if arm.name in (d.arm, self.control)]
        seeds = d.seeds or min((len(arm.finite(self.name)) for arm in pair), default=0)
        if d.low is None or d.high is None:
            return "one seed, so no interval" if seeds < 2 else "no interval"
        ends = f"{self.style.signed(d.low)} to {self.style.signed(d.high)}"
        return f"{100 * d.confidence:g} % interval {ends}, {seeds} seed{'s' * (seeds != 1)}"

    def caveats(self, ranked: list[Difference]) -> list[str]:
        """The share of the gap to the teacher, the untouched student, and what choosing the best costs."""
        arms = {arm.name: arm.mean(self.name) for arm in self.results.arms}
        first = ranked[0]
        control, mine, untouched = arms.get(self.control), arms.get(first.arm), arms.get(UNTOUCHED)
        value = self.style.value
        said = []
        if self.kind(first) == "better" and control is not None and mine is not None:
            teacher = self.results.teacher_nats if self.name == "student_nats" else None
            if teacher is not None and control > teacher:
                share = 100 * (control - mine) / (control - teacher)
                said.append(
                    f"{first.arm} closes {share:.0f} % of the gap between {self.control} ({value(control)}) "
                    f"and the teacher ({value(teacher)})."
                )
        if untouched is not None and mine is not None:
            said.append(
                f"Before training the student was at {value(untouched)} {self.metric.unit}; "
                f"{first.arm} ends at {value(mine)}."
            )
        if len(ranked) > 1:
            said.append(
                f"{len(ranked)} arms were compared with {self.control}. Each interval is for its own "
                "comparison; nothing corrects for having looked at several."
            )
        return said


def _alone(results: Results) -> Verdict:
    """The answer where nothing was compared: before, after, and the teacher."""
    name = "student_nats"
    trained = [arm for arm in results.arms if arm.name != UNTOUCHED] or list(results.arms)
    arm, value = trained[0], style_of(results, name).value
    after = arm.mean(name)
    if after is None:
        return Verdict("open", f"{arm.name} has no finite number on held-out text.", arm=arm.name)
    before = next((a.mean(name) for a in results.arms if a.name == UNTOUCHED), None)
    start = next((y for curve in arm.curves for x, y in curve.points("eval_student_nats") if x == 0), before)
    subject = "The student" if arm.name == "student" else arm.name
    told = f"{subject} went from {value(start)} to" if start is not None else f"{subject} ends at"
    told += f" {value(after)} nats per token on held-out text"
    teacher = results.teacher_nats
    told += f"; the teacher is at {value(teacher)}." if teacher is not None else "."
    lonely = "No control arm was run: nothing here says that plain training would have done worse."
    return Verdict("open", told, (lonely,), arm.name)
