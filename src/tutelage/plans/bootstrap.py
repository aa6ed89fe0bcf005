"""How sure a fit is: whole runs drawn again, both laws fitted to each draw, percentiles of what they predict.

One draw serves both laws, so that what the student would reach by itself varies with it. Every refit goes on
from the optimum and from three other candidates, and takes Gauss-Newton steps: refits that start at the
optimum alone and do not move along the flat directions are why published intervals can be too narrow.

Source: Busbridge et al. 2025, arXiv:2502.08606, appendix F.3; Besiroglu et al. 2024, arXiv:2404.10102.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.plans.fit import Fit, polished
from tutelage.plans.forms import Points
from tutelage.plans.law import Numbers

STARTS = 4
"""Candidates that every refit begins from: the optimum and three others."""


@dataclass(frozen=True)
class Resamples:
    """How often each run was drawn.

    Attributes:
        counts: ``[draws, runs]``.
    """

    counts: NDArray[np.int64]


def resampled(strata: Sequence[str], draws: int, rng: np.random.Generator) -> Resamples:
    """Runs drawn with replacement, as many as there are, within each stratum.

    Args:
        strata: of each run; a teacher or a budget, so that none of them vanishes from a draw. Those of one
            run are put together.
        draws: how many.
    """
    counts = np.zeros((draws, len(strata)), np.int64)
    # A stratum of one run would be drawn every time and count as known without error.
    alone = [stratum for stratum, runs in Counter(strata).items() if runs == 1]
    named = np.array([-1 if one in alone else list(Counter(strata)).index(one) for one in strata])
    for stratum in np.unique(named):
        members = np.flatnonzero(named == stratum)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)
    return Resamples(counts)


def refitted(
    fit: Fit, points: Points, losses: Numbers, resamples: Resamples, rng: np.random.Generator
) -> list[Any]:
    """The law of ``fit`` fitted again to every draw.

    Args:
        fit: to all runs.
        points: of the runs; where the teacher's or the unaided loss is predicted, ``[draws, runs]``.
        losses: nats per token.
        resamples: the draws.
        rng: of the candidates that the finalists are too alike to give.
    """
    limits = fit.form.limits(fit.fixed)
    measured = np.log(losses)
    if "E" in fit.form.names and "E" not in fit.fixed:
        limits[fit.form.names.index("E"), 1] = measured.min()
    starts = np.clip(_starts(fit, rng), limits[:, 0], limits[:, 1])
    found = []
    # About fifty million numbers of slopes at a time.
    together = max(1, 50_000_000 // (STARTS * len(losses) * len(fit.form.names) * 4))
    for at in range(0, len(resamples.counts), together):
        counts = resamples.counts[at : at + together]
        repeated = np.repeat(counts, STARTS, 0).astype(float)

        def spread(one: Numbers | None, some: slice = slice(at, at + together)) -> Numbers | None:
            return one if one is None or one.ndim == 1 else np.repeat(one[some], STARTS, 0)

        theta, values = polished(
            fit.form,
            np.tile(starts, (len(counts), 1)),
            Points(points.size, points.data, spread(points.teacher), spread(points.unaided)),
            measured,
            limits,
            fit.delta,
            repeated,
        )
        best = values.reshape(-1, STARTS).argmin(1)
        found.extend(theta.reshape(-1, STARTS, theta.shape[1])[np.arange(len(best)), best])
    return [fit.form.read(one) for one in found]


def _starts(fit: Fit, rng: np.random.Generator) -> Numbers:
    """The best candidate, others that differ from it, and if these are too few points an error away."""
    best = fit.candidates[0]
    others = [one for one in fit.candidates[1:] if np.abs(one - best).max() > 1e-3]
    chosen = [best, *others[: STARTS - 1]]
    while len(chosen) < STARTS:
        chosen.append(best + np.clip(fit.scatter @ rng.normal(size=len(best)), -1.0, 1.0))
    return np.stack(chosen)
