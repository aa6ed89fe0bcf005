"""Fitting recovers what was planted, and says what it could not tell."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from small_studies import PLANTED, SUPERVISED_LAW, TAUGHT_LAW, small_study
from tutelage.errors import MissingExtra, OutOfRange, UnknownName
from tutelage.plans.fit import Effort, fit_law, objectives, polished
from tutelage.plans.fitting import fit_study, losses, supervised_points
from tutelage.plans.forms import SUPERVISED, Points
from tutelage.plans.law import CutOffLaw, DistillationLaw
from tutelage.plans.published import published

QUICK = Effort(screened=1500, kept=6, finalists=3)


def grid(noise: float = 0.0, seed: int = 0) -> tuple[Points, np.ndarray]:
    """Seventy supervised runs of the published law."""
    size, each = np.meshgrid(np.geomspace(1.4e8, 1.2e10, 10), np.geomspace(5, 700, 7))
    points = Points(np.log(size.ravel()), np.log((size * each).ravel()))
    law = published("reconciled").supervised
    noisy = np.exp(noise * np.random.default_rng(seed).normal(size=size.size))
    return points, law.loss(size.ravel(), (size * each).ravel()) * noisy


def test_planted_coefficients_are_found_without_noise() -> None:
    """From starts drawn in a box, to ten digits: nothing stops early."""
    points, reached = grid()
    fit = fit_law(SUPERVISED, points, reached, effort=QUICK)
    planted = published("reconciled").supervised
    assert fit.objective < 1e-6
    for name, value in vars(planted).items():
        assert getattr(fit.law, name) == pytest.approx(value, rel=1e-6)
    assert not fit.warnings


def test_with_noise_the_objective_is_no_worse_than_at_the_truth() -> None:
    """The truth is one of the candidates; who ends above it has not found the optimum."""
    points, reached = grid(noise=0.003)
    fit = fit_law(SUPERVISED, points, reached, effort=QUICK)
    truth = SUPERVISED.candidate(published("reconciled").supervised)[None]
    at_truth = objectives(SUPERVISED, truth, points, np.log(reached), np.ones((1, 1)), fit.delta)[0]
    assert fit.objective <= at_truth
    told = fit.law.log_loss(np.exp(points.size), np.exp(points.data))
    clean = published("reconciled").supervised.log_loss(np.exp(points.size), np.exp(points.data))
    assert np.sqrt(np.mean((told - clean) ** 2)) < 0.002


def test_one_ruined_run_moves_nothing() -> None:
    """The Huber loss is nearly the sum of absolute errors: an outlier has one vote."""
    points, reached = grid()
    reached[17] *= 1.3
    fit = fit_law(SUPERVISED, points, reached, effort=QUICK)
    others = np.arange(len(reached)) != 17
    assert np.abs(fit.residuals[others]).max() < 1e-5


def test_a_polish_never_makes_a_candidate_worse() -> None:
    """Weights of the squares never underestimate the loss, so a step that is taken is one down."""
    points, reached = grid(noise=0.01)
    limits = SUPERVISED.limits({})
    starts = SUPERVISED.starts(50, limits, np.random.default_rng(1))
    weights = np.ones((1, 1))
    before = objectives(SUPERVISED, starts, points, np.log(reached), weights, 1e-3)
    theta, after = polished(SUPERVISED, starts, points, np.log(reached), limits, 1e-3, rounds=20)
    assert (after <= before).all()
    np.testing.assert_allclose(objectives(SUPERVISED, theta, points, np.log(reached), weights, 1e-3), after)
    assert ((theta >= limits[:, 0]) & (theta <= limits[:, 1])).all()


def test_a_coefficient_that_is_held_stays() -> None:
    """gamma = 1 is the law of Hoffmann et al.; the fit is then worse, and says that gamma was held."""
    points, reached = grid(noise=0.002)
    free, held = (
        fit_law(SUPERVISED, points, reached, effort=QUICK),
        fit_law(SUPERVISED, points, reached, fixed={"gamma": 1.0}),
    )
    assert held.law.gamma == pytest.approx(1.0, rel=1e-12)
    assert held.fixed == {"gamma": 1.0}
    assert held.objective > free.objective
    assert held.spread["gamma"] == 0


def test_a_bound_that_is_hit_is_told() -> None:
    """Losses of a law without an irreducible part push E down to where it stops."""
    points, _ = grid()
    reached = np.exp(6 - 0.1 * points.size - 0.05 * points.data)
    fit = fit_law(SUPERVISED, points, reached, fixed={"gamma": 1.0}, effort=QUICK)
    assert fit.at_bounds
    assert any("at a bound" in warning for warning in fit.warnings)


def test_a_small_study_is_recovered_by_the_reduced_form() -> None:
    """Sixty runs: the default is the form with one coefficient fewer."""
    runs = small_study()
    study = fit_study(runs)
    assert isinstance(study.with_teacher, CutOffLaw)
    assert np.abs(study.predicted(runs) / losses(runs) - 1).max() < 1e-4
    assert study.with_teacher.ratio_at_half == pytest.approx(TAUGHT_LAW.ratio_at_half, rel=0.01)
    assert isinstance(fit_study(runs, form="full").with_teacher, DistillationLaw)


def test_a_teacher_that_nobody_measured_is_predicted_by_the_supervised_law() -> None:
    """Size and tokens of a teacher act through its loss alone, so they serve as well."""
    runs = [dataclasses.replace(run, teacher_loss=None) for run in small_study()]
    study = fit_study(runs)
    assert np.abs(study.predicted(runs) / losses(runs) - 1).max() < 1e-3
    low, high = study.laws("x", "", error=0.01, vocabulary=None, draws=[]).ranges.teacher_loss or (0, 0)
    assert low == pytest.approx(float(SUPERVISED_LAW.loss(332e3, 1e6)), rel=1e-3)
    assert high == pytest.approx(float(SUPERVISED_LAW.loss(12e3, 0.25e6)), rel=1e-3)


def test_gamma_is_held_at_one_where_runs_do_not_tell_it() -> None:
    """Nine noisy runs cannot tell gamma from its neighbours; it is said."""
    runs = [run for run in small_study(noise=0.05, seed=1) if not run.distilled][:10]
    study = fit_study(runs)
    assert study.supervised_fit.fixed == {"gamma": 1.0}
    assert any("gamma is held at 1" in warning for warning in study.warnings)


def test_the_ranges_are_those_of_the_runs() -> None:
    """A plan warns outside of them, so they have to be there."""
    laws = fit_study(small_study()).laws("mine", "my runs", error=0.01, vocabulary=256, draws=[])
    assert laws.ranges.parameters == (12e3, 332e3)
    assert laws.ranges.tokens == (0.25e6, 1e6)
    assert laws.ranges.teacher_loss is not None
    assert laws.smallest_tokens < 0.25e6


@pytest.mark.parametrize("name", ["gama", "kapa", "c9"])
def test_an_unknown_coefficient_to_hold_is_named(name: str) -> None:
    """A slip must not be a fit without the wish."""
    with pytest.raises(UnknownName, match=f"unknown coefficient '{name}'"):
        fit_study(small_study(), fixed={name: 1.0})


def test_a_loss_that_is_no_number_is_refused() -> None:
    """A run that diverged has no place in a fit."""
    runs = [run for run in small_study() if not run.distilled]
    reached = losses(runs)
    reached[3] = np.nan
    with pytest.raises(OutOfRange, match="nan"):
        fit_law(SUPERVISED, supervised_points(runs), reached)


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """scipy is of the extra `plan`; plans with published laws do without it."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    points, reached = grid()
    with pytest.raises(MissingExtra, match="scipy"):
        fit_law(SUPERVISED, points, reached, effort=QUICK)


def test_the_planted_law_lies_in_the_band_of_a_student_that_was_not_trained() -> None:
    """Bands are of predictions; four of five points must be covered (90 % nominal, one seed)."""
    runs = small_study(noise=0.005, seed=2)
    study = fit_study(runs)
    laws = study.laws("mine", "", error=0.01, vocabulary=None, draws=study.bootstrapped(60, 0))
    size, tokens, teacher = np.array([2e4, 4e4, 7e4, 2e4, 7e4]), np.array([4e5, 7e5, 9e5, 9e5, 3e5]), 2.9
    band = laws.band(lambda one: one.student_loss(size, tokens, teacher))
    assert band is not None
    true = PLANTED.student_loss(size, tokens, teacher)
    assert np.mean((band[0] <= true) & (true <= band[1])) >= 0.8
    assert ((band[1] - band[0]) / true).max() < 0.05
