"""The answer of `tutelage plan fit` for a terminal: verdict, errors, what is determined, predictions."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tutelage.plans.units import told

if TYPE_CHECKING:
    from tutelage.plans.fitted import Banded, FittedPlan

WIDTH = 100


def fitted_text(plan: FittedPlan) -> str:
    """What `tutelage plan fit` prints."""
    study = plan.study
    runs = f"{len(study.supervised)} supervised and {len(study.distilled)} distilled runs"
    verdict = "a law to plan with" if plan.usable else "no law to plan with"
    lines = [verdict, f"  fitted to {runs}; error of prediction {plan.laws.error:.2%}"]
    for kind, one in plan.unseen.items():
        spread = f"error median {one.median:.2%}, p90 {one.p90:.2%}, largest {one.worst:.2%}"
        guesses = ", ".join(f"{name} {rms:.2%}" for name, rms in one.baselines.items())
        lines += ["", f"  {kind} runs not seen ({plan.unseen_how}): {spread}"]
        lines += [f"    rms {one.rms:.2%}; simpler guesses: {guesses}"]
    if plan.disorder is not None:
        lines += ["", f"  with the teachers shuffled the fit is {times_worse(plan.disorder)} times worse"]
    ranges = plan.laws.ranges
    lines += ["", "  the runs cover; outside, the law extrapolates and plans warn"]
    lines += [f"    parameters  {between(ranges.parameters)}", f"    tokens      {between(ranges.tokens)}"]
    if ranges.teacher_loss is not None:
        low, high = ranges.teacher_loss
        lines += [f"    teachers    {low:.3f} to {high:.3f} nats per token"]
    lines += ["", "  what they determine" + (" (90 % band)" if plan.laws.draws else "")]
    lines += _rows(plan.numbers)
    lines += ["", "  predictions, nats per token" + (" (90 % band)" if plan.laws.draws else "")]
    lines += _rows(plan.predictions)
    if plan.written:
        lines += [
            "",
            f"  written to {plan.written}; plan with it: tutelage plan student ... --law {plan.written}",
        ]
    if plan.warnings:
        lines += ["", "cautions"]
        for warning in plan.warnings:
            lines += textwrap.wrap(warning, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join(lines)


def _rows(numbers: tuple[Banded, ...]) -> Iterator[str]:
    column = max((len(one.name) for one in numbers), default=0)
    for one in numbers:
        band = "" if math.isnan(one.low) else f"  ({one.low:.4g} to {one.high:.4g})"
        says = f"  {one.says}" if one.says else ""
        yield f"    {one.name.ljust(column)}  {one.value:.4g}{band}{says}"


def times_worse(disorder: float) -> str:
    """How many times worse a fit to shuffled teachers is; beyond a thousand nobody counts."""
    return "over 1,000" if disorder > 1000 else f"{disorder:.3g}"


def between(pair: tuple[float, float]) -> str:
    """Two counts, lowest and highest."""
    return f"{told(pair[0])} to {told(pair[1])}"
