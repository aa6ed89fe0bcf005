"""Both laws fitted to the same study: the supervised one first, then frozen, then the one with a teacher.

The supervised law supplies what each student would reach by itself, and the loss of teachers that nobody
measured. Coefficients that the runs do not determine are held, and it is said which.

Source: Busbridge et al. 2025, arXiv:2502.08606, appendix F. Holding gamma at 1, and the reduced form for
small studies, are ours (``derived``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tutelage.errors import OutOfRange, UnknownName, listed
from tutelage.plans.bootstrap import Resamples, refitted, resampled
from tutelage.plans.design import doubts, refuse_unidentified
from tutelage.plans.fit import Effort, Fit, fit_law
from tutelage.plans.forms import BROKEN, CUT_OFF, SUPERVISED, Form, Points
from tutelage.plans.law import CutOffLaw, DistillationLaw, Laws, Numbers, Ranges, SupervisedLaw
from tutelage.plans.runs import Trained, mixed_tokenizers

FEW = 100
"""Runs of a kind below which a study is small: its form is the reduced one, its sharpest loss 1e-3."""

SMALL = Effort(kept=24, finalists=4, deltas=(1e-2, 1e-3))

_UNSURE = 0.7

Shape = Literal["auto", "full", "reduced"]


@dataclass(frozen=True)
class Study:
    """What was fitted to one set of runs.

    Attributes:
        supervised, distilled: the runs.
        supervised_fit: of the supervised law.
        distillation_fit: of the law with a teacher; None without distilled runs.
        warnings: what a reader must know.
    """

    supervised: tuple[Trained, ...]
    distilled: tuple[Trained, ...]
    supervised_fit: Fit
    distillation_fit: Fit | None
    warnings: tuple[str, ...] = field(default=())

    @property
    def law(self) -> SupervisedLaw:
        """The supervised law."""
        return self.supervised_fit.law

    @property
    def with_teacher(self) -> DistillationLaw | CutOffLaw | None:
        """The law with a teacher."""
        return None if self.distillation_fit is None else self.distillation_fit.law

    def predicted(self, runs: Sequence[Trained]) -> Numbers:
        """What the laws say that runs reach, nats per token."""
        found = np.empty(len(runs))
        for distilled in (False, True):
            at = [i for i, run in enumerate(runs) if run.distilled == distilled]
            some = [runs[i] for i in at]
            if not some:
                continue
            if distilled:
                assert self.with_teacher is not None
                points = distilled_points(some, [self.law])
                found[at] = np.exp(
                    self.with_teacher.log_loss(
                        [run.parameters for run in some],
                        [run.tokens for run in some],
                        _flat(points.teacher),
                        _flat(points.unaided),
                    )
                )
            else:
                found[at] = self.law.loss([run.parameters for run in some], [run.tokens for run in some])
        return found

    def refitted(self, supervised: Resamples, distilled: Resamples, seed: int) -> list[Study]:
        """The same study with every law fitted again to each draw of its runs; draws go in pairs."""
        rng = np.random.default_rng(seed)
        laws = refitted(
            self.supervised_fit, supervised_points(self.supervised), losses(self.supervised), supervised, rng
        )
        if self.distillation_fit is None:
            taught: list[Any] = [None] * len(laws)
        else:
            points = distilled_points(self.distilled, laws)
            taught = refitted(self.distillation_fit, points, losses(self.distilled), distilled, rng)
        return [self._with(law, other) for law, other in zip(laws, taught, strict=True)]

    def bootstrapped(self, draws: int, seed: int) -> list[Study]:
        """Draws of whole runs, within each budget (supervised) and each teacher (distilled)."""
        rng = np.random.default_rng(seed)
        by_budget = resampled([run.profile for run in self.supervised], draws, rng)
        by_teacher = resampled([run.teacher for run in self.distilled], draws, rng)
        return self.refitted(by_budget, by_teacher, seed + 1)

    def laws(
        self, name: str, source: str, *, error: float, vocabulary: int | None, draws: list[Study]
    ) -> Laws:
        """Both laws with the ranges of these runs, as a plan takes them."""
        made = Laws(
            name,
            self.law,
            self.with_teacher,
            ranges_of([*self.supervised, *self.distilled], self.law),
            source,
            error,
            vocabulary,
            smallest_parameters=min(1e3, min(run.parameters for run in self.supervised) / 10),
            smallest_tokens=min(1e6, min(run.tokens for run in self.supervised) / 10),
        )
        return dataclasses.replace(
            made,
            draws=tuple(
                dataclasses.replace(made, supervised=one.law, distillation=one.with_teacher) for one in draws
            ),
        )

    def _with(self, law: SupervisedLaw, other: Any) -> Study:
        taught = self.distillation_fit
        return dataclasses.replace(
            self,
            supervised_fit=dataclasses.replace(self.supervised_fit, law=law),
            distillation_fit=None if taught is None else dataclasses.replace(taught, law=other),
            warnings=(),
        )


def fit_study(
    runs: Sequence[Trained],
    *,
    form: Shape = "auto",
    fixed: Mapping[str, float] | None = None,
    effort: Effort | None = None,
) -> Study:
    """Fit the supervised law, and the law with a teacher if there are distilled runs.

    Args:
        runs: of one tokenizer, one kind of text and one architecture.
        form: of the law with a teacher: `full`, `reduced`, or by the number of runs.
        fixed: coefficients to hold, by name; a prime marks those of the law with a teacher, as ``gamma'``.
        effort: how hard to look; None decides by the number of runs.

    Raises:
        OutOfRange: the runs cannot identify the law; the remedy names the next runs.
        UnknownName: a coefficient to hold is none.
        MissingExtra: scipy is not installed.
    """
    mixed_tokenizers(runs)
    supervised = tuple(run for run in runs if not run.distilled)
    distilled = tuple(run for run in runs if run.distilled)
    if not supervised:
        raise OutOfRange(
            f"all {len(runs)} runs are distilled",
            expected="supervised runs too: the law compares a teacher with what a student reaches by itself",
            fix="train some of the students on the text alone, over several sizes and tokens",
        )
    shape = _form(form, len(distilled))
    first, second = _held(fixed or {}, shape)
    if effort is None:
        few = max(len(supervised), len(distilled)) < FEW
        effort = SMALL if few else Effort()
    # Without gamma and E, which may be held, this is the least that says anything.
    refuse_unidentified(supervised, len(SUPERVISED.names) - len(first))
    if distilled:
        refuse_unidentified(distilled, len(shape.names) - len(second))
    fit, said = _determined(SUPERVISED, supervised_points(supervised), losses(supervised), first, effort)
    if not distilled:
        return Study(supervised, (), fit, None, tuple(said))
    points = distilled_points(distilled, [fit.law])
    flat = Points(points.size, points.data, _flat(points.teacher), _flat(points.unaided))
    taught, more = _determined(shape, flat, losses(distilled), second, effort)
    open_ends = doubts(distilled, np.exp(_flat(points.teacher)).tolist(), fit.law)
    return Study(supervised, distilled, fit, taught, (*said, *more, *open_ends))


def supervised_points(runs: Sequence[Trained]) -> Points:
    """Where the supervised law is evaluated."""
    return Points(np.log([run.parameters for run in runs]), np.log([run.tokens for run in runs]))


def distilled_points(runs: Sequence[Trained], laws: Sequence[SupervisedLaw]) -> Points:
    """Where the law with a teacher is evaluated, one row of teachers and unaided students for each law."""
    size, data = np.log([run.parameters for run in runs]), np.log([run.tokens for run in runs])
    unaided = np.stack([law.log_loss(np.exp(size), np.exp(data)) for law in laws])
    measured = np.array([np.nan if run.teacher_loss is None else np.log(run.teacher_loss) for run in runs])
    teacher = np.tile(measured, (len(laws), 1))
    missing = np.flatnonzero(np.isnan(measured)).tolist()
    if missing:
        sizes = [runs[i].teacher_parameters for i in missing]
        tokens = [runs[i].teacher_tokens for i in missing]
        for row, law in zip(teacher, laws, strict=True):
            row[missing] = law.log_loss(np.array(sizes, float), np.array(tokens, float))
    return Points(size, data, teacher, unaided)


def teacher_losses(runs: Sequence[Trained], law: SupervisedLaw) -> Numbers:
    """The losses of distilled runs' teachers, nats per token; those nobody measured are predicted."""
    return np.exp(_flat(distilled_points(runs, [law]).teacher))


def losses(runs: Sequence[Trained]) -> Numbers:
    """What runs reached, nats per token."""
    return np.array([run.loss for run in runs], dtype=float)


def ranges_of(runs: Sequence[Trained], law: SupervisedLaw) -> Ranges:
    """Where runs lie, their teachers included."""
    sizes = [run.parameters for run in runs] + [r.teacher_parameters for r in runs if r.teacher_parameters]
    tokens = [run.tokens for run in runs] + [run.teacher_tokens for run in runs if run.teacher_tokens]
    each = [run.tokens / run.parameters for run in runs]
    taught = [run for run in runs if run.distilled]
    teachers = teacher_losses(taught, law) if taught else None
    return Ranges(
        (min(sizes), max(sizes)),
        (min(tokens), max(tokens)),
        (min(each), max(each)),
        None if teachers is None else (float(teachers.min()), float(teachers.max())),
    )


def _determined(
    form: Form, points: Points, reached: Numbers, fixed: Mapping[str, float], effort: Effort
) -> tuple[Fit, list[str]]:
    """A fit, with gamma held at 1 where the runs do not tell it from its neighbours."""
    fit = fit_law(form, points, reached, fixed=fixed, effort=effort)
    said: list[str] = []
    unsure = "gamma" in fit.at_bounds or fit.spread["gamma"] > _UNSURE or "E" in fit.at_bounds
    if "gamma" not in fixed and unsure:
        prime = "" if "E" in form.names else "'"
        said.append(f"gamma{prime} is held at 1: these runs do not determine it")
        fit = fit_law(form, points, reached, fixed={**fixed, "gamma": 1.0}, effort=effort)
    return fit, [*said, *fit.warnings]


def _form(form: Shape, runs: int) -> Form:
    forms = {"full": BROKEN, "reduced": CUT_OFF, "auto": BROKEN if runs >= FEW else CUT_OFF}
    if form not in forms:
        raise UnknownName(f"unknown form '{form}'", expected=listed(forms), fix="write 'auto'")
    return forms[form]


def _held(fixed: Mapping[str, float], form: Form) -> tuple[dict[str, float], dict[str, float]]:
    first: dict[str, float] = {}
    second: dict[str, float] = {}
    for name, value in fixed.items():
        known = [*SUPERVISED.names, *(f"{one}'" if one in SUPERVISED.names else one for one in form.names)]
        if name not in known:
            raise UnknownName(
                f"unknown coefficient '{name}'", expected=listed(known), fix="see `tutelage plan laws`"
            )
        if not (np.isfinite(value) and value > 0):
            raise OutOfRange(f"{name} is to be held at {value}", expected="a number above 0", fix="write 1")
        (first if name in SUPERVISED.names else second)[name.rstrip("'")] = float(value)
    return first, second


def _flat(one: Numbers | None) -> Numbers:
    assert one is not None
    return one[0] if one.ndim == 2 else one
