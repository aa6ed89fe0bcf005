"""Fitting a law to runs: many starts, a sharpening Huber loss, and what the fit could not tell.

    objective(theta, delta) = sum over runs of huber(log L(theta) - log L, delta) / delta

Summed and never averaged: a mean makes L-BFGS-B stop early. The loss is sharpened from 1e-2 to 1e-4, because
at 1e-4 it is nearly the sum of absolute errors, on which starts far away stall. L-BFGS-B is helped by damped
Gauss-Newton steps, which all starts take at once and which move along the flat directions of these laws where
it does not: before it, to choose the starts that are worth its time, and after it, to end.

Source: Busbridge et al. 2025, arXiv:2502.08606, appendix F; the flaw of means: Besiroglu et al. 2024,
arXiv:2404.10102. Annealing, screening and polish are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import MissingExtra, OutOfRange
from tutelage.plans.forms import Form, Points
from tutelage.plans.law import Numbers

DELTAS = (1e-2, 1e-3, 1e-4)
_NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Effort:
    """How hard a fit looks.

    Attributes:
        screened: starts whose objective is evaluated once.
        kept: of those, how many are followed at all.
        finalists: how many are followed by L-BFGS-B, to the sharpest loss.
        deltas: where the Huber loss turns from a square into a straight line, in log loss, one after another.
        seed: of the starts.
        descend: whether L-BFGS-B takes part; for a yardstick or a control the Gauss-Newton steps will do.
    """

    screened: int = 4000
    kept: int = 40
    finalists: int = 8
    deltas: tuple[float, ...] = DELTAS
    seed: int = 0
    descend: bool = True


@dataclass(frozen=True)
class Fit:
    """A law that was fitted, with what it was fitted by.

    Attributes:
        form: of the law.
        law: the best.
        objective: of the best, at the sharpest loss.
        candidates: the finalists, best first, ``[finalists, coefficients]``, as logarithms.
        objectives: theirs.
        residuals: log loss predicted minus log loss measured, a run.
        scatter: of the logarithms of the coefficients: times standard normal numbers it gives errors that the
            runs would allow, ``[coefficients, coefficients]``.
        fixed: coefficients that were held, and at what.
        at_bounds: coefficients that a bound stopped.
        delta: of the sharpest loss.
        warnings: what a reader must know, one sentence each.
    """

    form: Form
    law: Any
    objective: float
    candidates: Numbers = field(repr=False)
    objectives: Numbers = field(repr=False)
    residuals: Numbers = field(repr=False)
    scatter: Numbers = field(repr=False)
    fixed: dict[str, float]
    at_bounds: tuple[str, ...]
    delta: float
    warnings: tuple[str, ...] = ()

    @property
    def spread(self) -> dict[str, float]:
        """Standard errors of the logarithms of the coefficients; 0 where one was held or stopped."""
        return dict(zip(self.form.names, np.sqrt((self.scatter**2).sum(1)).tolist(), strict=True))

    @property
    def rms(self) -> float:
        """Root mean square of the residuals: the relative error on the runs themselves."""
        return float(np.sqrt(np.mean(self.residuals**2)))


def fit_law(
    form: Form,
    points: Points,
    losses: Numbers,
    *,
    fixed: Mapping[str, float] = _NONE,
    effort: Effort = Effort(),
    also: Sequence[Numbers] = (),
) -> Fit:
    """Fit one form of a law to losses in nats per token.

    Args:
        form: which law.
        points: of the runs.
        losses: what the runs reached, nats per token, ``[runs]``.
        fixed: coefficients that are held at a value.
        effort: how many starts.
        also: further starts, such as the optimum of a fit to nearly the same runs.

    Raises:
        OutOfRange: a loss is not a positive number.
        MissingExtra: scipy is not installed.
    """
    if not (np.isfinite(losses).all() and (losses > 0).all()):
        raise OutOfRange(
            f"a loss to fit is {losses[~(np.isfinite(losses) & (losses > 0))][0]}",
            expected="finite nats per token above 0",
            fix="leave out runs that diverged",
        )
    measured, limits = np.log(losses), form.limits(fixed)
    if "E" in form.names and "E" not in fixed:
        # An irreducible loss above a loss that was reached is none.
        limits[form.names.index("E"), 1] = measured.min()
    weights = np.ones((1, len(losses)))
    starts = form.starts(effort.screened, limits, np.random.default_rng(effort.seed))
    if len(also):
        starts = np.concatenate([np.clip(np.stack(also), limits[:, 0], limits[:, 1]), starts])
    first = objectives(form, starts, points, measured, weights, effort.deltas[0])
    order = np.argsort(first, kind="stable")[: effort.kept]
    order = np.unique(np.concatenate([np.arange(len(also), dtype=int), order]))
    # All of them at once; L-BFGS-B then has a short way from the few that are worth it.
    found, values = polished(form, starts[order], points, measured, limits, effort.deltas[0])
    best = np.argsort(values, kind="stable")[: effort.finalists]
    found = found[best]
    for delta in effort.deltas:
        found, _ = polished(form, found, points, measured, limits, delta)
        if effort.descend:
            found = np.stack([_descended(form, one, points, measured, limits, delta) for one in found])
        values = objectives(form, found, points, measured, weights, delta)
        best = np.argsort(values, kind="stable")[: effort.finalists]
        found, values = found[best], values[best]
    delta = effort.deltas[-1]
    found, values = polished(form, found, points, measured, limits, delta)
    best = np.argsort(values, kind="stable")
    found, values = found[best], values[best]
    return _told(form, found, values, points, measured, limits, fixed, delta)


def objectives(
    form: Form, candidates: Numbers, points: Points, measured: Numbers, weights: Numbers, delta: float
) -> Numbers:
    """``[candidates]``: summed Huber loss over delta; ``weights`` count runs, ``[candidates or 1, runs]``."""
    found = []
    # A few million numbers at a time.
    rows = max(1, 2_000_000 // max(len(measured), 1))
    for at in range(0, len(candidates), rows):
        some = slice(at, at + rows)
        predicted = form.evaluate(candidates[some], _rows(points, some), slopes=False)[0]
        weight = weights if len(weights) == 1 else weights[some]
        found.append((weight * _huber(predicted - measured, delta)).sum(1))
    return np.concatenate(found)


def polished(
    form: Form,
    candidates: Numbers,
    points: Points,
    measured: Numbers,
    limits: Numbers,
    delta: float,
    weights: Numbers | None = None,
    rounds: int = 200,
) -> tuple[Numbers, Numbers]:
    """Damped Gauss-Newton steps of many candidates at once: better candidates, and their objectives.

    The Huber loss enters through weights of the squares, which never underestimate it, so that a step that
    is taken is always a step down. Coefficients stay within ``limits``.
    """
    theta = candidates.copy()
    count = np.ones((len(theta), len(measured))) if weights is None else weights
    damping = np.full(len(theta), 1e-3)
    quiet = np.zeros(len(theta), int)
    predicted, slopes = form.evaluate(theta, points)
    value = (count * _huber(predicted - measured, delta)).sum(1)
    for _ in range(rounds):
        live = np.flatnonzero((quiet < 4) & (damping < 1e10))
        if not len(live):
            break
        here, error, by = theta[live], (predicted - measured)[live], slopes[live]
        flattened = count[live] / np.maximum(np.abs(error), delta) / delta
        pull = (by * (flattened * error)[:, None]).sum(2)
        bending = (by * flattened[:, None]) @ by.transpose(0, 2, 1)
        low, high = limits[:, 0], limits[:, 1]
        held = ((here <= low) & (pull > 0)) | ((here >= high) & (pull < 0)) | (low == high)
        pull = np.where(held, 0.0, pull)
        bending = np.where(held[:, :, None] | held[:, None, :], 0.0, bending)
        scale = np.einsum("sii->si", bending)
        diagonal = damping[live, None] * scale + 1e-12 * scale.max(1, keepdims=True) + 1e-30
        bending = bending + np.eye(theta.shape[1]) * np.where(held, 1.0, diagonal)[:, None, :]
        step = np.linalg.solve(bending, pull[:, :, None])[:, :, 0]
        tried = np.clip(here - np.clip(step, -2.0, 2.0), low, high)
        there, tilt = form.evaluate(tried, _rows(points, live))
        reached = (count[live] * _huber(there - measured, delta)).sum(1)
        better = reached < value[live]
        gained = (value[live] - reached) > 1e-7 * np.abs(value[live]) + 1e-12
        damping[live] *= np.where(better, 1 / 3, 4.0)
        quiet[live] = np.where(better & gained, 0, quiet[live] + better)
        took = live[better]
        theta[took], value[took] = tried[better], reached[better]
        predicted[took], slopes[took] = there[better], tilt[better]
    return theta, value


def _rows(points: Points, rows: Any) -> Points:
    """The points of some candidates, where candidates have points of their own."""

    def some(one: Numbers | None) -> Numbers | None:
        return one if one is None or one.ndim == 1 else one[rows]

    return Points(points.size, points.data, some(points.teacher), some(points.unaided))


def _huber(error: Numbers, delta: float) -> Numbers:
    size = np.abs(error)
    return np.where(size <= delta, 0.5 * (error / delta) ** 2, size / delta - 0.5)


def _descended(
    form: Form, start: Numbers, points: Points, measured: Numbers, limits: Numbers, delta: float
) -> Numbers:
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtra("scipy", "plan") from error

    def both(theta: Numbers) -> tuple[float, Numbers]:
        predicted, slopes = form.evaluate(theta[None], points)
        error = predicted[0] - measured
        return float(_huber(error, delta).sum()), slopes[0] @ np.clip(error / delta, -1, 1) / delta

    found = minimize(
        both,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={"maxiter": 200, "maxfun": 300, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-7},
    )
    return np.clip(found.x, limits[:, 0], limits[:, 1])


def _told(
    form: Form,
    found: Numbers,
    values: Numbers,
    points: Points,
    measured: Numbers,
    limits: Numbers,
    fixed: Mapping[str, float],
    delta: float,
) -> Fit:
    best = found[0]
    predicted, slopes = form.evaluate(best[None], points)
    residuals = predicted[0] - measured
    near = 1e-6 * np.maximum(1.0, np.abs(limits))
    stopped = (best <= limits[:, 0] + near[:, 0]) | (best >= limits[:, 1] - near[:, 1])
    at_bounds = tuple(
        name for name, yes in zip(form.names, stopped, strict=True) if yes and name not in fixed
    )
    warnings = []
    top = values[:3]
    # An objective far below one run's worth of error is an exact fit, however its digits differ.
    if len(top) > 1 and top.max() > 1.01 * top.min() + 1e-3:
        warnings.append(
            f"the three best fits of the {_plain(form)} differ by "
            f"{top.max() / max(top.min(), 1e-12) - 1:.0%} in their objective: more starts, or more runs"
        )
    if at_bounds:
        warnings.append(
            f"the {_plain(form)} has {', '.join(at_bounds)} at a bound: the runs do not determine "
            + ("it" if len(at_bounds) == 1 else "them")
        )
    return Fit(
        form,
        form.read(best),
        float(values[0]),
        found,
        values,
        residuals,
        _scatter(slopes[0], residuals, stopped),
        dict(fixed),
        at_bounds,
        delta,
        tuple(warnings),
    )


def _scatter(slopes: Numbers, residuals: Numbers, held: NDArray[np.bool_]) -> Numbers:
    """A root of the covariance in the straight-line approximation at the optimum."""
    free = np.flatnonzero(np.logical_not(held))
    spare = max(len(residuals) - len(free), 1)
    variance = float((residuals**2).sum() / spare)
    values, vectors = np.linalg.eigh(slopes[free] @ slopes[free].T)
    # Directions that the runs do not see at all have an infinite error, which a pseudo-inverse would call 0.
    values = np.maximum(values, 1e-14 * max(values.max(initial=0.0), 1e-300))
    root = np.zeros((len(slopes), len(slopes)))
    root[np.ix_(free, free)] = vectors * np.sqrt(variance / values)
    return root


def _plain(form: Form) -> str:
    return "supervised law" if "E" in form.names else "distillation law"
