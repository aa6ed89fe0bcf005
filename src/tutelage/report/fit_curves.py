"""The figures of `tutelage plan fit`: laws as curves with their bands, the user's own runs as points on them.

Source of the laws: Busbridge et al. 2025, arXiv:2502.08606.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tutelage.plans.fitted import FittedPlan
from tutelage.plans.fitting import teacher_losses
from tutelage.plans.law import ArrayLike, Laws, Numbers
from tutelage.plans.runs import Trained
from tutelage.plans.units import told
from tutelage.report.curves import Figure, Panel
from tutelage.report.drawing import COLOURS
from tutelage.report.plan_charts import Curve, Mark, Scale, lengths, plan_chart
from tutelage.report.wording import EN_DASH, NARROW_SPACE, plain, short

NATS = Scale("nats per token")
PLACES = 31
ROOM = 1.1
SAME = 0.98
"""Share of the most tokens from which on a run is taken to have seen as many."""

Runs = Sequence[tuple[Trained, str]]
HOW = {"run": "fitted", "unseen": "held out"}
"""What was done with a run, by its mark."""

POINTS = "Points are runs, which were measured"
SQUARES = " A dot is a run that was fitted, a square one that no fit saw."


def share(value: float) -> str:
    """A relative error, such as ``1.23 %``."""
    return f"{100 * value:.2f}{NARROW_SPACE}%"


def fit_figures(plan: FittedPlan) -> tuple[Figure, ...]:
    """The figures of a fit, those with nothing to show left out."""
    found = [_agreement(plan), _by_tokens(plan), _by_teacher(plan), _errors(plan)]
    return tuple(figure for figure in found if figure is not None)


def _agreement(plan: FittedPlan) -> Figure:
    """Every run: what the laws say of it, and what it reached."""
    panels: list[Panel] = []
    rows: list[tuple[str, ...]] = []
    for kind, style in (("supervised", "s0"), ("distilled", "s1")):
        runs = _runs(plan, distilled=kind == "distilled")
        if not runs:
            continue
        marks = []
        predicted = plan.study.predicted([run for run, _ in runs]).tolist()
        for (run, seen), said in zip(runs, predicted, strict=True):
            off = f"{plain(100 * (said / run.loss - 1), 2)}{NARROW_SPACE}%"
            rows.append((run.name, kind, HOW[seen], f"{run.loss:.4f}", f"{said:.4f}", off))
            name = f"{run.name}: measured {run.loss:.4f}, predicted {said:.4f} nats"
            marks.append(Mark(run.loss, said, seen, name, style))
        count = {how: sum(seen == how for _, seen in runs) for how in HOW}
        ends = [end for mark in marks for end in (mark.x, mark.y)]
        low, high = min(ends), max(ends)
        room = 0.04 * (high - low) or 0.01
        line = Curve("equal", "control", ((low - room, low - room), (high + room, high + room)))
        chart = plan_chart(
            [line],
            along=Scale("measured, nats per token"),
            up=Scale("predicted, nats per token"),
            title=f"Predicted against measured, {kind} runs",
            description=f"{count['run']} runs that were fitted, {count['unseen']} that were held out",
            holds=marks,
            digits=None,
        )
        held = f", {count['unseen']} held out" if count["unseen"] else ""
        panels.append(Panel(f"{kind.capitalize()}: {count['run']} fitted{held}.", chart))
    note = f"{POINTS}, at the height that the laws give them: on the line they agree."
    if plan.held:
        note += SQUARES
    header = ("run", "kind", "used", "measured", "predicted", "error")
    return Figure("Predicted against measured", note, tuple(panels), header, tuple(rows))


def _by_tokens(plan: FittedPlan) -> Figure:
    """The supervised law against tokens, one curve a size."""
    runs, laws = _runs(plan, distilled=False), plan.laws
    sizes, seen = _drawn(runs), [run.tokens for run, _ in runs]
    tokens = np.geomspace(min(seen) / ROOM, max(seen) * ROOM, PLACES)
    curves, marks = [], []
    for number, size in enumerate(sizes):
        style = f"s{number}"
        curves.append(
            _curve(told(size), style, laws, tokens, lambda one, n=size: one.supervised.loss(n, tokens))
        )
        marks += [_mark(run, kind, run.tokens, style) for run, kind in runs if run.parameters == size]
    chart = plan_chart(
        curves,
        along=Scale("tokens that the model sees", logarithmic=True),
        up=NATS,
        title="Loss against tokens without a teacher",
        description=_described(curves),
        holds=marks,
    )
    note = (
        f"Curves are the law of training alone, one for each number of parameters{_band_told(laws)}. "
        f"{POINTS}.{_left_out(sizes, runs)}"
    )
    return Figure("Loss against tokens", note, (Panel("", chart),), *_numbers("tokens", curves))


def _by_teacher(plan: FittedPlan) -> Figure | None:
    """The law with a teacher against the teacher's loss, one curve a student, each at its most tokens."""
    runs, laws = _runs(plan, distilled=True), plan.laws
    if laws.distillation is None or not runs:
        return None
    teachers = teacher_losses([run for run, _ in runs], laws.supervised)
    room = 0.05 * float(np.ptp(teachers)) or 0.01
    # No teacher is better than the text allows.
    lowest = max(float(teachers.min()) - room, laws.supervised.E * 1.001)
    along = np.linspace(lowest, float(teachers.max()) + room, PLACES)
    sizes = _drawn(runs)
    curves, marks, said = [], [], []
    for number, size in enumerate(sizes):
        style, most = f"s{number}", max(run.tokens for run, _ in runs if run.parameters == size)
        curves.append(
            _curve(told(size), style, laws, along, lambda one, n=size, d=most: one.student_loss(n, d, along))
        )
        marks += [
            _mark(run, kind, teacher, style)
            for (run, kind), teacher in zip(runs, teachers.tolist(), strict=True)
            if run.parameters == size and run.tokens >= SAME * most
        ]
        said.append(f"{told(size)} on {told(most)}")
    chart = plan_chart(
        curves,
        along=Scale("nats per token of the teacher"),
        up=NATS,
        title="Students' loss against their teacher's loss",
        description=_described(curves),
        holds=marks,
    )
    note = (
        f"Curves are the law with a teacher, one for each size of a student at its most tokens"
        f"{_band_told(laws)}. {POINTS}, those of these tokens ({len(marks)} of {len(runs)})."
        f"{_left_out(sizes, runs)}"
    )
    if any(run.teacher_loss is None for run, _ in runs):
        note += " Where nobody measured a teacher, its loss is that of the law."
    caption = f"Parameters and tokens: {', '.join(said)}."
    title = (
        "Students\N{RIGHT SINGLE QUOTATION MARK} loss against their teacher\N{RIGHT SINGLE QUOTATION MARK}s"
    )
    return Figure(title, note, (Panel(caption, chart),), *_numbers("teacher", curves))


def _errors(plan: FittedPlan) -> Figure | None:
    """Errors on runs not seen beside those of simpler guesses."""
    panels, rows = [], []
    for kind, one in plan.unseen.items():
        each = {"this law": one.rms, **one.baselines}
        told_of = {name: share(rms) for name, rms in each.items()}
        chart = lengths(
            [
                (name, "control" if name in one.baselines else "s0", rms, told_of[name])
                for name, rms in each.items()
            ],
            title=f"Errors on {kind} runs not seen",
            description="; ".join(f"{name} {said}" for name, said in told_of.items()),
        )
        panels.append(Panel(f"{kind.capitalize()}: {one.runs} runs.", chart))
        rows += [(name, kind, said) for name, said in told_of.items()]
    if not panels:
        return None
    note = (
        f"Root mean square of the relative errors ({plan.unseen_how}). A law that is no better than a guess "
        "need not have been fitted."
    )
    return Figure("Errors beside simpler guesses", note, tuple(panels), ("guess", "runs", "rms"), tuple(rows))


def _runs(plan: FittedPlan, *, distilled: bool) -> list[tuple[Trained, str]]:
    """The runs of a kind with their marks: first those that were fitted, then those that were held out."""
    fitted = plan.study.distilled if distilled else plan.study.supervised
    held = [run for run in plan.held if run.distilled == distilled]
    return [*((run, "run") for run in fitted), *((run, "unseen") for run in held)]


def _drawn(runs: Runs) -> list[float]:
    """As many sizes as there are styles: the smallest, the largest and some between."""
    every = sorted({run.parameters for run, _ in runs})
    places = np.linspace(0, len(every) - 1, min(len(every), COLOURS)).round().astype(int)
    return [every[place] for place in places.tolist()]


def _left_out(sizes: Sequence[float], runs: Runs) -> str:
    every = {run.parameters for run, _ in runs}
    if len(every) == len(sizes):
        return ""
    return f" Of {len(every)} sizes {len(sizes)} are drawn: the smallest, the largest and some between."


def _curve(name: str, style: str, laws: Laws, places: Numbers, of: Callable[[Laws], ArrayLike]) -> Curve:
    """Anything that laws say at some places, with the band over their draws."""
    heights, at = np.asarray(of(laws), dtype=float).tolist(), places.tolist()
    found = laws.band(of)
    band = () if found is None else tuple(zip(at, found[0].tolist(), found[1].tolist(), strict=True))
    return Curve(name, style, tuple(zip(at, heights, strict=True)), band)


def _mark(run: Trained, kind: str, x: float, style: str) -> Mark:
    taught = f", teacher {run.teacher}" if run.teacher else ""
    return Mark(x, run.loss, kind, f"{run.name}: {run.loss:.4f} nats{taught}", style)


def _band_told(laws: Laws) -> str:
    return f", with the band of {len(laws.draws)} resampled fits (90 %)" if laws.draws else ""


def _described(curves: Sequence[Curve]) -> str:
    return "; ".join(
        f"{curve.name} parameters from {curve.points[0][1]:.3f} to {curve.points[-1][1]:.3f} nats"
        for curve in curves
    )


def _numbers(first: str, curves: Sequence[Curve]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The curves as a table, with their bands."""

    def cell(curve: Curve, row: int) -> str:
        ends = f" ({EN_DASH.join(plain(end, 4) for end in curve.band[row][1:])})" if curve.band else ""
        return plain(curve.points[row][1], 4) + ends

    rows = tuple(
        (short(x), *(cell(curve, row) for curve in curves)) for row, (x, _) in enumerate(curves[0].points)
    )
    return (first, *(curve.name for curve in curves)), rows
