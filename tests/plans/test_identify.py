"""Runs that cannot identify a law are refused, with the next runs that would."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from small_studies import SUPERVISED_LAW, small_study
from tutelage.errors import OutOfRange
from tutelage.plans.design import doubts, refuse_unidentified
from tutelage.plans.fitting import fit_study
from tutelage.plans.runs import Trained
from tutelage.reproductions.scaling_optima import exponents, optimum_slopes

OPTIMA = Path(__file__).parents[2] / "data" / "scaling" / "nanochat_optima.csv"
RUNS = small_study()
SUPERVISED = [run for run in RUNS if not run.distilled]
DISTILLED = [run for run in RUNS if run.distilled]


def among(runs: list[Trained], **wanted: float | str) -> list[Trained]:
    return [run for run in runs if all(getattr(run, name) == value for name, value in wanted.items())]


def at_the_optimum(run: Trained, index: int) -> Trained:
    return dataclasses.replace(run, tokens=20 * run.parameters ** (0.95 + 1e-4 * index))


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        (among(SUPERVISED, parameters=12e3), "one size of model"),
        (among(SUPERVISED, tokens=1e6), "one number of tokens"),
        (
            [dataclasses.replace(run, tokens=20 * run.parameters) for run in SUPERVISED],
            "cannot be told apart",
        ),
        ([at_the_optimum(run, i) for i, run in enumerate(SUPERVISED)], "optimum of every budget"),
        (SUPERVISED[:7], "7 supervised runs for 6 coefficients"),
        (among(DISTILLED, parameters=12e3), "one size of student"),
        (among(DISTILLED, teacher=DISTILLED[0].teacher), "one teacher"),
        ([run for run in DISTILLED if run.tokens < 1e6][:9], "distilled runs"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_with_the_next_runs(runs: list[Trained], says: str) -> None:
    """A fit would converge, to anything; who asks should learn which runs to pay for."""
    with pytest.raises(OutOfRange, match=says) as caught:
        refuse_unidentified(runs, 8 if runs[0].distilled else 6)
    assert "next runs that would help" in caught.value.fix
    assert any(digit in caught.value.fix for digit in "123456789")


def test_a_whole_study_is_not_refused() -> None:
    """The refusals are about what is missing, not about small studies."""
    refuse_unidentified(SUPERVISED, 6)
    refuse_unidentified(DISTILLED, 8)


def test_distilled_runs_alone_are_refused() -> None:
    """The law compares a teacher with what a student reaches by itself."""
    with pytest.raises(OutOfRange, match="all 45 runs are distilled"):
        fit_study(DISTILLED)


def test_teachers_on_one_side_of_the_break_are_told() -> None:
    """Where teaching fades is seen only from both sides; the sentence names the teacher that is missing."""
    good = [
        run
        for run in DISTILLED
        if (run.teacher_loss or 0) < 0.85 * SUPERVISED_LAW.loss(run.parameters, run.tokens)
    ]
    said = doubts(good, [run.teacher_loss or 0.0 for run in good], SUPERVISED_LAW)
    assert len(said) == 1
    assert "no teacher is worse than 0.9" in said[0]
    assert not doubts(DISTILLED, [run.teacher_loss or 0.0 for run in DISTILLED], SUPERVISED_LAW)


def test_compute_optimal_points_of_nanochat_are_refused_and_say_why() -> None:
    """Four optima under each way of counting: tokens follow from sizes, so no law is identified."""
    for counting, slopes in optimum_slopes(OPTIMA).items():
        assert "cannot be told apart" in slopes.refused, counting


def test_the_slopes_of_nanochat_are_those_of_a_law_where_parameters_are_counted_as_the_law_does() -> None:
    """What twelve optima can tell: N and D both grow about as the square root of compute (Kaplan's count).

    The published law says 0.514 and 0.486 of another model on other text; the slopes agree within 0.03, and
    the other two ways of counting disagree with it by more than their own errors.
    """
    found = optimum_slopes(OPTIMA)
    a, b = exponents(
        type(SUPERVISED_LAW)(E=1.2195, A=3354.5, B=18186.5, alpha=0.4085, beta=0.4315, gamma=0.4525)
    )
    assert found["kaplan"].a == pytest.approx(a, abs=0.03)
    assert found["kaplan"].b == pytest.approx(b, abs=0.03)
    assert abs(found["all_params"].a - a) > 2 * found["all_params"].a_error
    assert abs(found["transformer_only"].a - a) > 2 * found["transformer_only"].a_error


def test_the_table_of_optima_is_the_one_that_was_copied() -> None:
    """Twelve rows, three countings of four budgets, losses in bits per byte."""
    with OPTIMA.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert np.unique([row["flops"] for row in rows]).size == 4
    assert all(0.7 < float(row["val_bpb"]) < 1 for row in rows)
