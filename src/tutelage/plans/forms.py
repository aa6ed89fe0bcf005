"""The laws as something to fit: logarithms of coefficients in, predictions and their slopes out.

Everything is batched: one call evaluates many candidates, one a row, so that thousands of starts are screened
and hundreds of resamples refitted at a time. Slopes are with respect to the *logarithms* of the coefficients,
all of which are positive.

Source: Busbridge et al. 2025, arXiv:2502.08606, equations 1 and 8; grids and fit of appendix F.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.plans.law import CutOffLaw, DistillationLaw, Numbers, SupervisedLaw

ZERO = 0.05
"""What stands in for a zero of the paper's grids: f1 = 0 divides by zero, gamma = 0 kills the gradient."""

_STEEPEST = 300.0


@dataclass(frozen=True)
class Points:
    """Where a law is evaluated; natural logarithms, ``[runs]``, or ``[candidates, runs]`` for the last two.

    Attributes:
        size: of parameters without embeddings.
        data: of tokens.
        teacher: of the teacher's loss in nats; unused by the supervised law.
        unaided: of what the student would reach by itself; unused by the supervised law.
    """

    size: Numbers
    data: Numbers
    teacher: Numbers | None = None
    unaided: Numbers | None = None

    def only(self, kept: Any) -> Points:
        """The points of some runs, by an index or a mask."""
        aided = [None if one is None else one[..., kept] for one in (self.teacher, self.unaided)]
        return Points(self.size[kept], self.data[kept], *aided)


@dataclass(frozen=True)
class Form:
    """One form of a law.

    Attributes:
        law: its class.
        names: coefficients in the order of a candidate's columns.
        box: for each coefficient the logarithms between which starts are drawn.
        bounds: for each coefficient the logarithms that a fit stays between.
        straight: coefficients that are drawn evenly in their value instead of their logarithm.
    """

    law: type
    names: tuple[str, ...]
    box: Mapping[str, tuple[float, float]]
    bounds: Mapping[str, tuple[float, float]]
    straight: frozenset[str]

    def limits(self, fixed: Mapping[str, float]) -> Numbers:
        """``[coefficients, 2]``: the lowest and highest logarithms; both the same where one is fixed."""
        return np.array(
            [(np.log(fixed[name]),) * 2 if name in fixed else self.bounds[name] for name in self.names]
        )

    def starts(self, count: int, limits: Numbers, rng: np.random.Generator) -> Numbers:
        """``[count, coefficients]``: starts drawn in the box of the paper's grid."""
        drawn = []
        for name in self.names:
            low, high = self.box[name]
            if name in self.straight:
                drawn.append(np.log(rng.uniform(np.exp(low), np.exp(high), count)))
            else:
                drawn.append(rng.uniform(low, high, count))
        return np.clip(np.stack(drawn, 1), limits[:, 0], limits[:, 1])

    def read(self, candidate: Numbers) -> Any:
        """The law with the coefficients of one candidate."""
        return self.law(**dict(zip(self.names, map(float, np.exp(candidate)), strict=True)))

    def candidate(self, law: Any) -> Numbers:
        """The other way round."""
        return np.log([getattr(law, name) for name in self.names])

    def evaluate(self, candidates: Numbers, points: Points, slopes: bool = True) -> tuple[Numbers, Numbers]:
        """Log losses ``[candidates, runs]`` and their slopes ``[candidates, coefficients, runs]``.

        Without ``slopes`` the second is empty.
        """
        of = dict(zip(self.names, candidates.T[:, :, None], strict=True))
        value = np.exp
        alpha, beta, gamma = value(of["alpha"]), value(of["beta"]), value(of["gamma"])
        from_size = of["A"] - alpha * points.size
        reached = np.logaddexp(from_size, of["B"] - beta * points.data)
        if "E" in of:
            floor, bent, gap = of["E"], {}, gamma * reached
        else:
            assert points.teacher is not None
            assert points.unaided is not None
            floor = points.teacher
            fading, bent = _fading(of, floor - points.unaided, slopes)
            c0 = value(of["c0"])
            gap = gamma * reached - c0 * floor + fading
            bent = {"c0": -c0 * floor, **bent}
        log_loss = np.logaddexp(floor, gap)
        if not slopes:
            return log_loss, np.empty(0)
        share = np.exp(gap - log_loss)
        of_size = np.exp(from_size - reached)
        by = {
            "A": gamma * of_size,
            "B": gamma * (1 - of_size),
            "alpha": -gamma * of_size * alpha * points.size,
            "beta": -gamma * (1 - of_size) * beta * points.data,
            "gamma": gamma * reached,
            **bent,
        }
        if "E" in of:
            return log_loss, np.stack([1 - share if n == "E" else share * by[n] for n in self.names], 1)
        return log_loss, np.stack([share * by[name] for name in self.names], 1)


def _fading(of: dict[str, Numbers], log_ratio: Numbers, slopes: bool) -> tuple[Numbers, dict[str, Numbers]]:
    """``log G(r)`` and its slopes by the logarithms of its own coefficients."""
    f1 = np.exp(of["f1"])
    if "kappa" in of:
        steep = np.clip(log_ratio / f1, -_STEEPEST, _STEEPEST)
        fading = -np.exp(of["kappa"] + steep)
        return fading, {"kappa": fading, "f1": -fading * steep} if slopes else {}
    c1 = np.exp(of["c1"])
    steep = np.clip((log_ratio - of["d1"]) / f1, -_STEEPEST, _STEEPEST)
    bend = np.logaddexp(0.0, steep)
    fading = -c1 * f1 * bend
    if not slopes:
        return fading, {}
    past = np.exp(steep - bend)
    return fading, {"c1": fading, "f1": -c1 * f1 * (bend - steep * past), "d1": c1 * past}


def _logs(low: float, high: float) -> tuple[float, float]:
    return float(np.log(low)), float(np.log(high))


_REACH_BOX = {"A": (0.0, 20.0), "B": (0.0, 20.0)}
_REACH_BOUNDS = {
    "A": (-20.0, 60.0),
    "B": (-20.0, 60.0),
    "alpha": _logs(1e-3, 3.0),
    "beta": _logs(1e-3, 3.0),
    "gamma": _logs(1e-3, 3.0),
}
_REACH = ("A", "B", "alpha", "beta", "gamma")
_STRAIGHT = frozenset({"alpha", "beta", "gamma", "c0", "f1"})

SUPERVISED = Form(
    SupervisedLaw,
    ("E", *_REACH),
    {"E": (-1.0, 1.5), **_REACH_BOX, **dict.fromkeys(("alpha", "beta", "gamma"), _logs(ZERO, 1.5))},
    {"E": (-7.0, 3.0), **_REACH_BOUNDS},
    _STRAIGHT,
)
_IMITATION_BOX = {
    **_REACH_BOX,
    **dict.fromkeys(("alpha", "beta", "gamma"), _logs(ZERO, 1.0)),
    **dict.fromkeys(("c0", "f1"), _logs(ZERO, 1.5)),
}
_IMITATION_BOUNDS = {**_REACH_BOUNDS, "c0": _logs(1e-3, 20.0), "f1": _logs(0.01, 3.0)}
BROKEN = Form(
    DistillationLaw,
    (*_REACH, "c0", "c1", "f1", "d1"),
    {**_IMITATION_BOX, "c1": _logs(ZERO, 1000.0), "d1": (-1.0, 1.0)},
    {**_IMITATION_BOUNDS, "c1": _logs(1e-3, 1e5), "d1": (-3.0, 3.0)},
    _STRAIGHT,
)
CUT_OFF = Form(
    CutOffLaw,
    (*_REACH, "c0", "kappa", "f1"),
    {**_IMITATION_BOX, "kappa": _logs(ZERO, 10.0)},
    {**_IMITATION_BOUNDS, "kappa": _logs(1e-6, 1e4)},
    _STRAIGHT,
)
