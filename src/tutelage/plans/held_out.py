"""Is a fitted law any good: runs it has not seen, simpler guesses beside it, and teachers put in disorder.

Source: the baselines and the negative control are those of the study in miniature that goes with
Busbridge et al. 2025, arXiv:2502.08606 (``derived``, not in the paper).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.errors import OutOfRange, UnknownName, listed, nearest
from tutelage.plans.bootstrap import Resamples
from tutelage.plans.fit import Effort, fit_law
from tutelage.plans.fitting import Study, distilled_points, losses, supervised_points
from tutelage.plans.forms import SUPERVISED, Points
from tutelage.plans.law import Numbers
from tutelage.plans.runs import Trained

FOLDS = 5
CLEARLY = 5.0
"""How many times worse the objective must be with the teachers in disorder."""


@dataclass(frozen=True)
class Errors:
    """Relative errors of predictions, as shares of the measured loss.

    Attributes:
        runs: how many were predicted.
        median, p90, worst, rms: of the absolute values.
        baselines: the rms of simpler guesses, by name.
    """

    runs: int
    median: float
    p90: float
    worst: float
    rms: float
    baselines: dict[str, float]

    @classmethod
    def of(cls, predicted: Numbers, measured: Numbers, baselines: dict[str, Numbers]) -> Errors:
        """From predictions and what was measured, nats per token."""
        error = np.abs(predicted / measured - 1)
        rms = {
            name: float(np.sqrt(np.mean((guess / measured - 1) ** 2))) for name, guess in baselines.items()
        }
        return cls(
            len(error),
            float(np.median(error)),
            float(np.quantile(error, 0.9)),
            float(error.max()),
            float(np.sqrt(np.mean(error**2))),
            rms,
        )

    @property
    def beats_all(self) -> bool:
        """Whether its rms is below that of every simpler guess."""
        return all(self.rms < other for other in self.baselines.values())


def held_out(
    runs: Sequence[Trained], which: float | Sequence[str], seed: int
) -> tuple[list[Trained], list[Trained]]:
    """Runs to fit to, and runs to be predicted.

    Args:
        runs: all of them.
        which: a share of the supervised and of the distilled runs, drawn at random; or names of runs, and of
            teachers all of whose students are held out.
        seed: of the draw.

    Raises:
        OutOfRange: the share is not inside (0, 1), or nothing is left.
        UnknownName: no run and no teacher has that name.
    """
    if isinstance(which, int | float):
        if not 0 < which < 1:
            raise OutOfRange(
                f"a share of {which:g} of the runs is to be held out",
                expected="a share between 0 and 1, or names of runs and teachers",
                fix="hold out 0.2",
            )
        rng = np.random.default_rng(seed)
        chosen: set[int] = set()
        for distilled in (False, True):
            some = [i for i, run in enumerate(runs) if run.distilled == distilled]
            chosen |= set(rng.permutation(some)[: round(which * len(some))].tolist())
    else:
        known = {run.name for run in runs} | {run.teacher for run in runs if run.teacher}
        for name in which:
            if name not in known:
                close = nearest(name, known)
                raise UnknownName(
                    f"no run or teacher is called '{name}'",
                    expected=listed(list(known)[:8]) + (" and others" if len(known) > 8 else ""),
                    fix=f"hold out '{close}'" if close else "hold out a share, such as 0.2",
                )
        chosen = {
            i for i, run in enumerate(runs) if run.name in which or (run.teacher and run.teacher in which)
        }
    return (
        [run for i, run in enumerate(runs) if i not in chosen],
        [run for i, run in enumerate(runs) if i in chosen],
    )


def errors(study: Study, held: Sequence[Trained]) -> dict[str, Errors]:
    """Errors on runs that the study has not seen, `supervised` and `distilled` apart."""
    found = {}
    for kind, seen in (("supervised", study.supervised), ("distilled", study.distilled)):
        asked = [run for run in held if run.distilled == (kind == "distilled")]
        if asked:
            found[kind] = Errors.of(study.predicted(asked), losses(asked), baselines(study, seen, asked))
    return found


def crossed(study: Study, seed: int = 0) -> dict[str, Errors]:
    """The same by turns: every run is predicted by laws fitted to the other four fifths.

    Each fit goes on from the one to all runs, so what is held (gamma, say) was decided with all of them.
    """
    rng = np.random.default_rng(seed)
    folds = [np.arange(len(some)) % FOLDS for some in (study.supervised, study.distilled)]
    folds = [rng.permutation(fold) for fold in folds]
    counts = [np.stack([fold != turn for turn in range(FOLDS)]).astype(np.int64) for fold in folds]
    fitted = study.refitted(Resamples(counts[0]), Resamples(counts[1]), seed)
    found = {}
    for kind, some, fold in zip(
        ("supervised", "distilled"), (study.supervised, study.distilled), folds, strict=True
    ):
        if not some:
            continue
        predicted = np.empty(len(some))
        others: dict[str, Numbers] = {}
        for turn, one in enumerate(fitted):
            asked = np.flatnonzero(fold == turn)
            if not len(asked):
                continue
            rest = [some[i] for i in np.flatnonzero(fold != turn)]
            runs = [some[i] for i in asked]
            predicted[asked] = one.predicted(runs)
            for name, guess in baselines(one, rest, runs).items():
                others.setdefault(name, np.empty(len(some)))[asked] = guess
        found[kind] = Errors.of(predicted, losses(some), others)
    return found


def baselines(study: Study, seen: Sequence[Trained], asked: Sequence[Trained]) -> dict[str, Numbers]:
    """What simpler guesses say of runs, nats per token.

    The mean of the runs that were seen; the nearest of them by the logarithms of size, tokens and teacher,
    each in units of its spread; and for distilled runs the same law without the teacher.
    """
    before, after = _places(study, seen), _places(study, asked)
    scale = np.maximum(before.std(0), 1e-9)
    apart = (((after[:, None] - before[None]) / scale) ** 2).sum(2)
    found = {
        "training mean": np.full(len(asked), losses(seen).mean()),
        "nearest run": losses(seen)[apart.argmin(1)],
    }
    if seen[0].distilled:
        plain = fit_law(
            SUPERVISED,
            supervised_points(seen),
            losses(seen),
            effort=Effort(screened=1000, kept=8, finalists=2, deltas=(1e-2, 1e-3), descend=False),
        )
        found["law without the teacher"] = plain.law.loss(
            [run.parameters for run in asked], [run.tokens for run in asked]
        )
    return found


def disorder(study: Study, seed: int = 0, times: int = 3) -> float:
    """How many times worse the fit is when the teachers are shuffled among the runs; the least of several.

    Where runs tell teachers apart this is far above `CLEARLY`; near 1 the teacher column carries nothing.
    """
    fit = study.distillation_fit
    assert fit is not None
    rng = np.random.default_rng(seed)
    points = distilled_points(study.distilled, [study.law])
    assert points.teacher is not None
    assert points.unaided is not None
    found = []
    for _ in range(times):
        teacher = points.teacher[0][rng.permutation(points.teacher.shape[1])]
        mixed = Points(points.size, points.data, teacher, points.unaided[0])
        effort = Effort(
            screened=2000, kept=12, finalists=3, deltas=(1e-2, fit.delta), seed=seed, descend=False
        )
        again = fit_law(
            fit.form, mixed, losses(study.distilled), fixed=fit.fixed, effort=effort, also=[fit.candidates[0]]
        )
        found.append(again.objective / max(fit.objective, 1e-9))
    return float(min(found))


def shuffled(runs: Sequence[Trained], seed: int = 0) -> list[Trained]:
    """The runs with their teachers dealt anew: a negative control for the whole tool."""
    taught = [run for run in runs if run.distilled]
    order = iter(np.random.default_rng(seed).permutation(len(taught)).tolist())
    dealt = []
    for run in runs:
        if run.distilled:
            other = taught[next(order)]
            run = dataclasses.replace(
                run,
                teacher=other.teacher,
                teacher_loss=other.teacher_loss,
                teacher_parameters=other.teacher_parameters,
                teacher_tokens=other.teacher_tokens,
            )
        dealt.append(run)
    return dealt


def _places(study: Study, runs: Sequence[Trained]) -> Numbers:
    places = [np.log([run.parameters for run in runs]), np.log([run.tokens for run in runs])]
    if runs[0].distilled:
        teacher = distilled_points(runs, [study.law]).teacher
        assert teacher is not None
        places.append(teacher[0])
    return np.stack(places, 1)
