"""What `tutelage plan fit` answers: both laws of the user's own runs, and how far to trust them.

Predictions, and the coefficients that runs determine, come with bands. A', B', c1 and d1 wander by factors
between refits whose predictions agree to a tenth of a percent: they are written to the law's file because the
formula needs them, and are not reported as knowledge.

Source: Busbridge et al. 2025, arXiv:2502.08606, appendix F; identifiability is ``derived``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import OutOfRange
from tutelage.plans.fit import Effort
from tutelage.plans.fitted_text import fitted_text
from tutelage.plans.fitting import Shape, Study, fit_study
from tutelage.plans.held_out import CLEARLY, FOLDS, Errors, crossed, disorder, errors, held_out
from tutelage.plans.law import Laws
from tutelage.plans.lawfile import write_laws
from tutelage.plans.run_folders import read_runs
from tutelage.plans.runs import Trained
from tutelage.plans.units import told

LEAST_ERROR = 1e-3
"""An error that a law may claim at best: runs without noise exist on paper alone."""


@dataclass(frozen=True)
class Banded:
    """A number with its band.

    Attributes:
        name: short.
        says: what it is.
        value: at the best fit.
        low, high: 90 % of the draws lie between; nan without draws.
    """

    name: str
    says: str
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class FittedPlan:
    """The answer about a set of runs.

    Attributes:
        laws: with draws and the ranges of the runs.
        study: the fits behind them.
        numbers: what the runs determine.
        predictions: losses in nats at the corners of the design, and at ten times its tokens.
        unseen: errors on runs that were not fitted, `supervised` and `distilled`.
        unseen_how: which runs these were.
        disorder: how many times worse the fit is with shuffled teachers; None without distilled runs.
        held: runs that were held out; empty where every run was predicted by turns.
        tokenizer: hash of the runs' vocabulary; empty if nobody said.
        warnings: part of the answer.
        written: the law's file, if it was asked for.
    """

    laws: Laws
    study: Study
    numbers: tuple[Banded, ...]
    predictions: tuple[Banded, ...]
    unseen: Mapping[str, Errors]
    unseen_how: str
    disorder: float | None
    held: tuple[Trained, ...]
    tokenizer: str
    warnings: tuple[str, ...]
    written: str | None = None

    @property
    def usable(self) -> bool:
        """Whether the laws say more than the plainest guess, and know one teacher from another."""
        better = all(one.rms < one.baselines["training mean"] for one in self.unseen.values())
        return better and (self.disorder is None or self.disorder > 1)

    @property
    def exit_status(self) -> int:
        """3 where nobody should plan with these laws, else 0."""
        return 0 if self.usable else 3

    def text(self) -> str:
        """For a terminal."""
        return fitted_text(self)

    def to_json(self) -> dict[str, Any]:
        """One document; numbers that are unknown are null."""
        fits = {"supervised": self.study.supervised_fit, "distillation": self.study.distillation_fit}
        return {
            "answer": "usable" if self.usable else "not usable",
            "exit_status": self.exit_status,
            "runs": {
                "supervised": len(self.study.supervised),
                "distilled": len(self.study.distilled),
                "held_out": [run.name for run in self.held],
            },
            "laws": {
                "name": self.laws.name,
                "source": self.laws.source,
                "error": self.laws.error,
                "ranges": {k: v for k, v in asdict(self.laws.ranges).items() if v is not None},
                "draws": len(self.laws.draws),
            },
            "fits": {
                name: {
                    "form": type(fit.law).__name__,
                    "coefficients": vars(fit.law),
                    "held": fit.fixed,
                    "at_bounds": list(fit.at_bounds),
                    "objective": fit.objective,
                    "rms_on_its_runs": fit.rms,
                }
                for name, fit in fits.items()
                if fit is not None
            },
            "determined": [_plain(asdict(one)) for one in self.numbers],
            "predictions_nats": [_plain(asdict(one)) for one in self.predictions],
            "unseen": {"how": self.unseen_how} | {name: asdict(one) for name, one in self.unseen.items()},
            "shuffled_teachers_times_worse": self.disorder,
            "tokenizer": self.tokenizer or None,
            "warnings": list(self.warnings),
            "law_file": self.written,
        }


def fit_runs(
    runs: Path | Sequence[Trained],
    *,
    law_out: Path | None = None,
    hold_out: float | Sequence[str] | None = None,
    form: Shape = "auto",
    fixed: Mapping[str, float] | None = None,
    draws: int = 200,
    seed: int = 0,
    vocabulary: int | None = None,
    effort: Effort | None = None,
    command: str = "",
) -> FittedPlan:
    """Fit both laws to runs, and measure how far they can be trusted.

    Args:
        runs: a CSV file, a folder of runs, or the runs.
        law_out: where the laws go, for ``--law FILE`` of the other plans.
        hold_out: a share, or names of runs and teachers, that no fit sees; None predicts every run by laws
            fitted to the other four fifths.
        form: of the law with a teacher: `full`, `reduced`, or by the number of runs.
        fixed: coefficients to hold, a prime for those of the law with a teacher.
        draws: of the bootstrap, from which bands are made; 0 makes none.
        seed: of everything drawn.
        vocabulary: tokens of the tokenizer: losses above its logarithm are refused.
        effort: how hard to look; None decides by the number of runs.
        command: how it was asked for, for the record.

    Raises:
        TutelageError: runs cannot be read, or cannot identify a law.
        MissingExtra: scipy is not installed.
    """
    found, said = read_runs(runs) if isinstance(runs, Path) else (list(runs), [])
    _below_guessing(found, vocabulary)
    kept, asked = (found, []) if hold_out is None else held_out(found, hold_out, seed)
    study = fit_study(kept, form=form, fixed=fixed, effort=effort)
    unseen = crossed(study, seed) if hold_out is None else errors(study, asked)
    shuffled = disorder(study, seed) if study.distilled else None
    again = study.bootstrapped(draws, seed) if draws else []
    name = law_out.stem if law_out else "fitted"
    kinds = f"{len(study.supervised)} supervised and {len(study.distilled)} distilled runs"
    source = f"fitted by tutelage to {kinds}" + (f" of {runs}" if isinstance(runs, Path) else "")
    worst = max((one.rms for one in unseen.values()), default=study.supervised_fit.rms)
    laws = study.laws(name, source, error=max(worst, LEAST_ERROR), vocabulary=vocabulary, draws=again)
    plan = FittedPlan(
        laws,
        study,
        tuple(_determined(laws)),
        tuple(_corners(laws, study)),
        unseen,
        f"by turns, {FOLDS} parts" if hold_out is None else f"{len(asked)} runs that no fit saw",
        shuffled,
        tuple(asked),
        next((run.tokenizer for run in found if run.tokenizer), ""),
        (*said, *study.warnings, *_warnings(unseen, shuffled)),
    )
    if law_out is None:
        return plan
    made = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "runs": {"supervised": len(study.supervised), "distilled": len(study.distilled)},
        "held_out": [run.name for run in plan.held],
        "held_coefficients": _held(study),
        "unseen": plan.to_json()["unseen"],
        "warnings": list(plan.warnings),
    }
    write_laws(law_out, laws, tokenizer=plan.tokenizer, made=made)
    return dataclasses.replace(plan, written=str(law_out))


def _below_guessing(runs: Iterable[Trained], vocabulary: int | None) -> None:
    if vocabulary is None:
        return
    for run in runs:
        for what, loss in (("L", run.loss), ("L_T", run.teacher_loss)):
            if loss is not None and loss > math.log(vocabulary):
                bits = loss <= math.log2(vocabulary)
                raise OutOfRange(
                    f"{run.where or run.name}: {what} is {loss:g}, and guessing among {vocabulary} tokens "
                    f"gives {math.log(vocabulary):.3f} nats" + (": bits?" if bits else ""),
                    expected="nats per token, below what guessing gives",
                    fix=f"write {loss * math.log(2):.4f} if it is bits per token"
                    if bits
                    else "check the unit, and the vocabulary",
                )


def _determined(laws: Laws) -> Iterable[Banded]:
    """What runs determine of the coefficients."""
    first: list[tuple[str, str, Callable[[Laws], float]]] = [
        ("E", "irreducible loss, nats per token", lambda one: one.supervised.E),
        ("alpha gamma", "how size counts", lambda one: one.supervised.alpha * one.supervised.gamma),
        ("beta gamma", "how tokens count", lambda one: one.supervised.beta * one.supervised.gamma),
        ("a", "N grows as C^a at the optimum", lambda one: _a(one.supervised)),
    ]
    second: list[tuple[str, str, Callable[[Any], float]]] = [
        ("r50", "teacher's loss over the unaided student's at which half of it has faded", _r50),
        ("kappa", "how strongly it fades", lambda law: law.kappa),
        ("f1", "how gradually it fades", lambda law: law.f1),
        ("c0", "how much harder a better teacher is to imitate", lambda law: law.c0),
        ("alpha' gamma'", "how the student's size counts", lambda law: law.alpha * law.gamma),
        ("beta' gamma'", "how its tokens count", lambda law: law.beta * law.gamma),
    ]
    for name, says, of in first:
        yield _banded(laws, name, says, of)
    if laws.distillation is not None:
        for name, says, of in second:
            yield _banded(laws, name, says, lambda one, of=of: of(one.distillation))


def _corners(laws: Laws, study: Study) -> Iterable[Banded]:
    """Predictions at the smallest and largest student, at its most tokens and at ten times these."""
    asked = study.distilled or study.supervised
    sizes = [run.parameters for run in asked]
    teachers = laws.ranges.teacher_loss or ()
    for size in dict.fromkeys((min(sizes), max(sizes))):
        most = max(run.tokens for run in asked if run.parameters == size)
        for times in (1, 10):
            where = f"{told(size)} parameters, {told(most * times)} tokens"
            beyond = " (extrapolated)" if most * times > laws.ranges.tokens[1] else ""
            yield _banded(
                laws,
                f"{where}, alone{beyond}",
                "",
                lambda one, n=size, d=most * times: float(one.supervised.loss(n, d)),
            )
            for teacher in teachers:
                yield _banded(
                    laws,
                    f"{where}, teacher at {teacher:.3f}{beyond}",
                    "",
                    lambda one, n=size, d=most * times, t=teacher: float(one.student_loss(n, d, t)),
                )


def _banded(laws: Laws, name: str, says: str, of: Callable[[Laws], float]) -> Banded:
    band = laws.band(of)
    low, high = (math.nan, math.nan) if band is None else (float(band[0]), float(band[1]))
    return Banded(name, says, float(of(laws)), low, high)


def _warnings(unseen: Mapping[str, Errors], shuffled: float | None) -> Iterable[str]:
    for kind, one in unseen.items():
        better = [name for name, rms in one.baselines.items() if rms <= one.rms]
        if better:
            yield (
                f"on {kind} runs that it has not seen the law is no better than: {', '.join(better)}"
                " (a plan made with it is a guess)"
            )
    if shuffled is not None and shuffled < CLEARLY:
        yield (
            f"with the teachers shuffled among the runs the fit is only {shuffled:.2g} times worse (clearly "
            f"would be {CLEARLY:g}): these runs hardly tell one teacher from another; was the teacher's loss "
            "measured on the student's held-out text?"
        )


def _held(study: Study) -> dict[str, float]:
    held = dict(study.supervised_fit.fixed)
    if study.distillation_fit is not None:
        held |= {
            f"{name}'" if name in ("A", "B", "alpha", "beta", "gamma") else name: value
            for name, value in study.distillation_fit.fixed.items()
        }
    return held


def _a(law: Any) -> float:
    return law.beta / (law.alpha + law.beta)


def _r50(law: Any) -> float:
    return law.ratio_at_half


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in found.items()
        if value != ""
    }
