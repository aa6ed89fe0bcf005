"""Whether runs can identify a law at all, and which runs to make next if they cannot.

Runs that differ in one direction only, such as those at the optimum of every budget, fit any law: size and
data cannot be told apart. A study needs several sizes, several numbers of tokens at one size, and for the
distillation law several teachers on both sides of the point where teaching fades.

Source: Busbridge et al. 2025, arXiv:2502.08606, section 4.2 and appendix F; the thresholds are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.errors import OutOfRange
from tutelage.plans.law import SupervisedLaw
from tutelage.plans.runs import Trained

SPARE = 2
"""Runs that a fit needs beyond one for each coefficient."""

_SAME = 0.01
_ONE_RATIO = 0.05
_ONE_LINE = 0.15
_HALF = 0.9


def refuse_unidentified(runs: Sequence[Trained], coefficients: int) -> None:
    """Refuse runs of one kind, supervised or distilled, that cannot identify their law.

    Args:
        runs: all supervised, or all distilled.
        coefficients: that are to be fitted.

    Raises:
        OutOfRange: saying what is missing, and the next runs that would mend it.
    """
    distilled = runs[0].distilled
    kind = "distilled" if distilled else "supervised"
    size = np.log([run.parameters for run in runs])
    data = np.log([run.tokens for run in runs])
    wide = f"runs over several sizes and tokens, at least {coefficients + SPARE} of them"
    if np.ptp(size) < _SAME:
        raise OutOfRange(
            f"all {len(runs)} {kind} runs have one size of {'student' if distilled else 'model'}, "
            f"N = {runs[0].parameters:.4g}",
            expected=wide,
            fix=_next(_sizes(runs)),
        )
    if np.ptp(data) < _SAME:
        raise OutOfRange(
            f"all {len(runs)} {kind} runs have one number of tokens, D = {runs[0].tokens:.4g}",
            expected=wide,
            fix=_next(_tokens(runs)),
        )
    if np.ptp(data - size) < _ONE_RATIO:
        raise OutOfRange(
            f"all {len(runs)} {kind} runs have the same number of tokens for each parameter, "
            f"{np.exp(np.mean(data - size)):.3g}: size and data cannot be told apart",
            expected=wide,
            fix=_next(_tokens(runs)),
        )
    if _off_line(size, data) < _ONE_LINE:
        raise OutOfRange(
            f"the tokens of all {len(runs)} {kind} runs follow from their sizes (within "
            f"{np.expm1(_off_line(size, data)):.1%}), as they do at the optimum of every budget: "
            "size and data cannot be told apart",
            expected=wide,
            fix=_next(_tokens(runs)),
        )
    if distilled:
        _refuse_teachers(runs)
    if len(runs) < coefficients + SPARE:
        raise OutOfRange(
            f"{len(runs)} {kind} runs for {coefficients} coefficients",
            expected=f"at least {coefficients + SPARE}",
            fix=_next([*_tokens(runs), *_sizes(runs)]),
        )


def doubts(distilled: Sequence[Trained], teachers: Sequence[float], supervised: SupervisedLaw) -> list[str]:
    """What distilled runs leave open although they can be fitted, one sentence each.

    Args:
        distilled: the runs.
        teachers: the loss of each one's teacher, nats per token.
        supervised: predicts what each student would reach by itself.
    """
    unaided = supervised.loss([run.parameters for run in distilled], [run.tokens for run in distilled])
    ratio = np.asarray(teachers) / unaided
    typical = float(np.median(unaided))
    said = []
    for side, missing in (("better", (ratio >= _HALF).all()), ("worse", (ratio <= _HALF).all())):
        if missing:
            wanted = (0.8 if side == "better" else 1.0) * typical
            said.append(
                f"no teacher is {side} than {_HALF:g} of what the student reaches by itself, so where "
                f"teaching fades is not seen; next: a teacher with a loss of about {wanted:.3g} nats"
            )
    return said


def _refuse_teachers(runs: Sequence[Trained]) -> None:
    losses = sorted({run.teacher_loss for run in runs if run.teacher_loss is not None})
    names = {run.teacher for run in runs}
    alike = len(losses) > 0 and all(run.teacher_loss is not None for run in runs)
    if len(names) > 1 and not (alike and np.log(losses[-1] / losses[0]) < 1e-3):
        return
    middle = losses[len(losses) // 2] if losses else float(np.median([run.loss for run in runs]))
    raise OutOfRange(
        f"all {len(runs)} distilled runs have one teacher"
        + (f", with a loss of {middle:.4g} nats" if losses else ""),
        expected="teachers of different loss: a law of the teacher cannot be seen with one",
        fix=_next(
            [f"the same students with teachers at about {0.9 * middle:.3g} and {1.15 * middle:.3g} nats"]
        ),
    )


def _off_line(size: np.ndarray, data: np.ndarray) -> float:
    slope, offset = np.polyfit(size, data, 1)
    return float(np.std(data - slope * size - offset))


def _sizes(runs: Sequence[Trained]) -> list[str]:
    middle = float(np.median([run.parameters for run in runs]))
    tokens = float(np.median([run.tokens for run in runs]))
    return [f"N = {middle / 4:.2g}, {middle / 2:.2g} and {middle * 2:.2g} at D = {tokens:.2g}"]


def _tokens(runs: Sequence[Trained]) -> list[str]:
    sizes = np.unique([run.parameters for run in runs])
    wanted = []
    for size in sizes[:: max(1, len(sizes) - 1)][:2]:
        nearby = [run.tokens for run in runs if run.parameters == size]
        wanted.append(f"N = {size:.3g} at D = {min(nearby) / 4:.2g} and {max(nearby) * 4:.2g}")
    return wanted


def _next(runs: Sequence[str]) -> str:
    return f"next runs that would help: {'; '.join(runs)}"
