"""The pieces of the recovery, on small designs; the whole design belongs to the reproduction."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.plans.flops import Family
from tutelage.reproductions.scaling_recovery import (
    BUDGETS,
    coefficients,
    exactness,
    fitted,
    noiseless,
    planning,
    planted,
    predictions,
    recovered,
)


def test_the_design_is_the_papers() -> None:
    """73 supervised runs and about 670 distilled, inside the range that was seen."""
    data = planted(0, 0.0)
    supervised = [run for run in data.runs if not run.distilled]
    distilled = [run for run in data.runs if run.distilled]
    assert len(supervised) == 73
    assert abs(len(distilled) - 670) < 20
    sizes, tokens = [run.parameters for run in data.runs], [run.tokens for run in data.runs]
    assert 1e8 < min(sizes) < 1.5e8
    assert 1.2e10 < max(sizes) < 1.3e10
    assert min(tokens) >= 2e9
    assert max(tokens) <= 8.2e11
    teachers = [run.teacher_loss or 0.0 for run in distilled]
    assert 1.9 < min(teachers) < 2.0
    assert 2.6 < max(teachers) < 2.9


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_profile_costs_its_budget(budget: float) -> None:
    """Student training alone is counted, by the formula with attention and output layer."""
    members = [run for run in planted(0, 0.0).runs if run.profile == f"{budget:g}"]
    assert len(members) == 14
    for run in members:
        assert 3 * Family().flops(run.parameters) * run.tokens == pytest.approx(budget)


def test_without_noise_the_runs_are_the_law() -> None:
    """The noise is all that stands between a planted run and its law; teachers have theirs too."""
    clean, noisy = planted(0, 0.0, share=0.1), planted(0, 0.01, share=0.1)
    np.testing.assert_allclose(noiseless(clean), [run.loss for run in clean.runs], rtol=1e-12)
    apart = np.log([run.loss for run in noisy.runs]) - np.log(noiseless(noisy))
    assert 0.007 < apart.std() < 0.013


def test_a_fifth_of_the_design_is_recovered_exactly_without_noise() -> None:
    """Predictions to a thousandth, objective within 1e-6 of that at the truth (here: to rounding)."""
    data = planted(0, 0.0, share=0.2)
    found = exactness(data, fitted(data))
    assert found["exact_largest_error"] < 1e-3
    assert found["exact_objective_apart"] < 1e-6


def test_a_fifth_of_the_design_pins_predictions_and_what_follows_from_them() -> None:
    """With 0.3 % of noise: predictions, r50, kappa and the chosen teacher; never A', B', c1, d1."""
    data = planted(1, 0.003, share=0.2)
    study = fitted(data)
    told = predictions(data, study) | coefficients(data, study) | planning(data, study)
    assert told["distilled_rms"] < 0.0025
    assert told["supervised_largest"] < 0.006
    assert told["r50_off"] < 0.05
    assert told["a_off"] < 0.05
    assert told["plan_excess_nats"] < 0.01


@pytest.mark.long
def test_the_whole_design_passes_the_table() -> None:
    """Every number of the table of requirements, for one seed."""
    told = recovered(0, 0.003)
    limits = {
        "distilled_rms": 0.0015,
        "supervised_largest": 0.004,
        "weak_to_strong_rms": 0.003,
        "supervised_beyond": 0.015,
        "r50_off": 0.03,
        "kappa_off": 0.35,
        "alpha_gamma_off": 0.30,
        "beta_gamma_off": 0.15,
        "a_off": 0.03,
        "plan_excess_nats": 0.005,
        "disorder_of_shuffled_runs": 5.0,
    }
    for name, limit in limits.items():
        assert told[name] < limit, name
    assert told["band_covers"] >= 0.8
    assert told["shuffled_objective"] > 5
    assert told["disorder_of_runs"] > 5
