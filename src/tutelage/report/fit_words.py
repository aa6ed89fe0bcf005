"""What stands on the page of `tutelage plan fit` beside its figures: usable or not, errors, bands."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tutelage.plans.fit import Fit
from tutelage.plans.fitted import Banded, FittedPlan
from tutelage.plans.fitted_text import between, times_worse
from tutelage.plans.held_out import CLEARLY
from tutelage.plans.law import CutOffLaw
from tutelage.report.fit_curves import fit_figures, share
from tutelage.report.plan_words import Table, Words, sentence
from tutelage.report.wording import ABSENT

FOOTER = "Predictions of a law, not measurements; only the runs, drawn as points, were measured."


def fit_words(plan: FittedPlan) -> Words:
    """The page of `tutelage plan fit`."""
    runs = _runs(plan)
    return Words(
        name=f"Laws fitted to {len(plan.study.supervised) + len(plan.study.distilled)} runs",
        facts=[runs, plan.laws.source, f"law: {plan.laws.name}"],
        tone="better" if plan.usable else "worse",
        headline="Usable: a law to plan with." if plan.usable else "Not usable: no law to plan with.",
        remarks=list(_reasons(plan)),
        numbers=list(fit_facts(plan)),
        tables=list(_tables(plan)),
        figures=fit_figures(plan),
        cautions=[warning.replace("`", "") for warning in plan.warnings],
        footer=FOOTER,
    )


def _runs(plan: FittedPlan) -> str:
    held = f", {len(plan.held)} more held out" if plan.held else ""
    return f"{len(plan.study.supervised)} supervised and {len(plan.study.distilled)} distilled runs{held}"


def _reasons(plan: FittedPlan) -> Iterator[str]:
    """What `FittedPlan.usable` was decided by."""
    for kind, one in plan.unseen.items():
        mean = one.baselines["training mean"]
        said = "less" if one.rms < mean else "no less"
        yield sentence(
            f"{kind} runs that it has not seen: the law is off by {share(one.rms)} (rms), {said} than the "
            f"{share(mean)} of guessing the mean of the other runs"
        )
    if plan.disorder is not None:
        known = "tell" if plan.disorder >= CLEARLY else "hardly tell" if plan.disorder > 1 else "do not tell"
        yield (
            f"With the teachers shuffled among the runs the fit is {times_worse(plan.disorder)} times worse: "
            f"these runs {known} one teacher from another."
        )


def fit_facts(plan: FittedPlan) -> Iterator[tuple[str, str]]:
    """Name and value of what is said of both laws as wholes."""
    study, laws = plan.study, plan.laws
    yield "runs", _runs(plan)
    yield "supervised law", "E + (A / N^alpha + B / D^beta)^gamma" + _holding(study.supervised_fit, "")
    taught = study.distillation_fit
    if taught is not None:
        form = "reduced form, one coefficient fewer" if isinstance(taught.law, CutOffLaw) else "full form"
        yield "law with a teacher", form + _holding(taught, "'")
    yield "error of prediction", f"{share(laws.error)}, which plans take for their margin without bands"
    yield "not seen", plan.unseen_how
    own = f"supervised {share(study.supervised_fit.rms)}"
    yield "rms on its own runs", own + (f", distilled {share(taught.rms)}" if taught is not None else "")
    if plan.disorder is not None:
        yield "teachers shuffled", f"the fit is {times_worse(plan.disorder)} times worse"
    yield "parameters", f"{between(laws.ranges.parameters)}; outside, the law extrapolates"
    yield "tokens", f"{between(laws.ranges.tokens)}; outside, the law extrapolates"
    if laws.ranges.teacher_loss is not None:
        low, high = laws.ranges.teacher_loss
        yield "teachers", f"{low:.3f} to {high:.3f} nats per token"
    fits = f"90 % of {len(laws.draws)} fits to resampled runs lie inside"
    yield "bands", fits if laws.draws else "none: no runs were resampled"
    if plan.tokenizer:
        yield "tokenizer", plan.tokenizer
    if plan.written:
        yield "written to", plan.written


def _holding(fit: Fit, prime: str) -> str:
    """Which coefficients were not fitted; those that both laws have are primed in the second."""
    shared = ("A", "B", "alpha", "beta", "gamma")
    held = (f"{name}{prime if name in shared else ''} held at {value:g}" for name, value in fit.fixed.items())
    return "".join(f", {one}" for one in held)


def _tables(plan: FittedPlan) -> Iterator[Table]:
    errors = tuple(
        (kind, str(one.runs), *(share(value) for value in (one.median, one.p90, one.worst, one.rms)))
        for kind, one in plan.unseen.items()
    )
    if errors:
        header = ("runs", "how many", "median", "p90", "largest", "rms")
        yield Table("Errors on runs not seen", plan.unseen_how, header, errors)
    hint = "90 % band" if plan.laws.draws else "no bands: no runs were resampled"
    determined = tuple((*_banded(one), one.says) for one in plan.numbers)
    yield Table("What the runs determine", hint, ("number", "value", "band", "what it is"), determined, 1)
    predicted = tuple(_banded(one) for one in plan.predictions)
    unit = f"nats per token; {hint}"
    yield Table("Predictions", unit, ("student", "loss", "band"), predicted)


def _banded(one: Banded) -> tuple[str, str, str]:
    band = ABSENT if math.isnan(one.low) else f"{one.low:.4g} to {one.high:.4g}"
    return one.name, f"{one.value:.4g}", band
