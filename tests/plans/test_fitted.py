"""`tutelage plan fit`: errors on runs not seen, teachers in disorder, bands, and the file that it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from small_studies import PLANTED, small_study, write_table
from tutelage.cli import answered
from tutelage.errors import OutOfRange, UnknownName
from tutelage.plans.bootstrap import resampled
from tutelage.plans.fitted import FittedPlan, fit_runs
from tutelage.plans.fitting import fit_study
from tutelage.plans.held_out import CLEARLY, disorder, held_out, shuffled
from tutelage.plans.lawfile import read_laws

RUNS = small_study(noise=0.004, seed=5)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> FittedPlan:
    """The answer about a small study with 0.4 % of noise."""
    return fit_runs(RUNS, law_out=tmp_path_factory.mktemp("laws") / "mine.json", draws=24, vocabulary=256)


def test_runs_that_were_not_seen_are_predicted_to_within_the_noise_and_better_than_by_guessing(
    plan: FittedPlan,
) -> None:
    """Median within five times the noise, and an rms below every simpler guess."""
    for one in plan.unseen.values():
        assert one.median < 0.02
        assert one.median <= one.p90 <= one.worst
        assert one.beats_all
    assert plan.unseen["distilled"].runs == 45
    assert set(plan.unseen["distilled"].baselines) == {
        "training mean",
        "nearest run",
        "law without the teacher",
    }
    assert plan.laws.error == pytest.approx(max(one.rms for one in plan.unseen.values()))
    assert plan.exit_status == 0


def test_a_study_whose_teachers_were_shuffled_is_told_from_one_whose_were_not(plan: FittedPlan) -> None:
    """The negative control: the objective is clearly worse, and the tool says so by itself."""
    assert plan.disorder is not None
    assert plan.disorder > CLEARLY
    spoilt = fit_runs(shuffled(RUNS), draws=0)
    assert spoilt.disorder is not None
    assert spoilt.disorder < CLEARLY / 2
    assert any("hardly tell one teacher from another" in warning for warning in spoilt.warnings)
    assert not any("hardly tell" in warning for warning in plan.warnings)
    before, after = plan.study.distillation_fit, spoilt.study.distillation_fit
    assert before is not None
    assert after is not None
    assert after.objective > CLEARLY * before.objective


def test_the_file_is_the_law_that_was_told(plan: FittedPlan) -> None:
    """What the other plans read is what this one answered, draws and ranges included."""
    assert plan.written is not None
    assert read_laws(Path(plan.written)) == plan.laws
    assert len(plan.laws.draws) == 24
    made = json.loads(Path(plan.written).read_text())["made"]
    assert made["runs"] == {"supervised": 15, "distilled": 45}


def test_what_is_reported_is_what_runs_determine(plan: FittedPlan) -> None:
    """r50 and kappa with bands around the truth; A', B', c1 and d1 are not reported as knowledge."""
    numbers = {one.name: one for one in plan.numbers}
    assert not {"A'", "B'", "c1", "d1", "A", "B"} & set(numbers)
    assert PLANTED.distillation is not None
    assert numbers["r50"].value == pytest.approx(PLANTED.distillation.ratio_at_half, rel=0.05)
    for one in (*plan.numbers, *plan.predictions):
        assert one.low <= one.high
    beyond = [one for one in plan.predictions if "extrapolated" in one.name]
    assert len(beyond) == len(plan.predictions) / 2


def test_text_and_json_say_the_same(plan: FittedPlan) -> None:
    """One is for people, one for programs; neither has a number that is none."""
    text = plan.text()
    assert "fitted to 15 supervised and 45 distilled runs" in text
    assert "outside, the law extrapolates" in text
    told = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    assert told["answer"] == "usable"
    assert told["runs"]["distilled"] == 45
    assert told["fits"]["distillation"]["form"] == "CutOffLaw"


def test_the_students_of_a_named_teacher_are_held_out() -> None:
    """A teacher's name stands for all its students; a share is of both kinds of runs."""
    kept, asked = held_out(RUNS, ["t332000-500000", "s3"], 0)
    assert {run.teacher for run in asked if run.distilled} == {"t332000-500000"}
    assert [run.name for run in asked if not run.distilled] == ["s3"]
    assert len(kept) + len(asked) == len(RUNS)
    kept, asked = held_out(RUNS, 0.2, 0)
    assert len([run for run in asked if run.distilled]) == 9
    assert len([run for run in asked if not run.distilled]) == 3
    with pytest.raises(UnknownName, match="'t33200'"):
        held_out(RUNS, ["t33200"], 0)
    with pytest.raises(OutOfRange):
        held_out(RUNS, 1.0, 0)


def test_a_draw_keeps_every_teacher_and_the_number_of_runs() -> None:
    """No group vanishes, and strata of one run do not count as known without error."""
    strata = ["a"] * 5 + ["b"] * 4 + ["c", "d", "e"]
    counts = resampled(strata, 200, np.random.default_rng(0)).counts
    assert (counts.sum(1) == 12).all()
    assert (counts[:, :5].sum(1) == 5).all()
    assert (counts[:, 5:9].sum(1) == 4).all()
    assert counts[:, 9].std() > 0


def test_both_laws_vary_with_a_draw() -> None:
    """What a student reaches by itself is not known either; a band that ignored it would be too narrow."""
    study = fit_study(RUNS)
    drawn = study.bootstrapped(8, 0)
    assert len({one.law.E for one in drawn}) == 8
    assert len({one.with_teacher.f1 for one in drawn if one.with_teacher}) == 8


def test_disorder_of_what_was_shuffled_is_near_one() -> None:
    """Shuffling again changes nothing that was there."""
    assert disorder(fit_study(shuffled(RUNS, 3)), 0, times=1) < 2


def test_supervised_runs_alone_give_a_law_without_a_teacher() -> None:
    """It plans no distillation, and says so when it is asked to."""
    plan = fit_runs([run for run in RUNS if not run.distilled], draws=0)
    assert plan.laws.distillation is None
    assert plan.disorder is None
    with pytest.raises(OutOfRange, match="say nothing about distillation"):
        plan.laws.student_loss(1e5, 1e6, 2.0)


def test_the_command_line_fits_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tutelage plan fit runs.csv --law-out mine.json --json` prints one document and leaves the file."""
    table = write_table(tmp_path / "runs.csv", RUNS)
    words = ["plan", "fit", str(table), "--law-out", str(tmp_path / "mine.json"), "--json", "--draws", "4"]
    assert answered([*words, "--hold-out", "t332000-500000", "--hold", "gamma=1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fits"]["supervised"]["held"] == {"gamma": 1.0}
    assert len(told["runs"]["held_out"]) == 9
    assert read_laws(tmp_path / "mine.json").supervised.gamma == pytest.approx(1.0)


def test_the_command_line_refuses_in_three_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that cannot identify a law: exit status 2, and nothing is written."""
    table = write_table(tmp_path / "runs.csv", RUNS[:6])
    assert answered(["plan", "fit", str(table), "--law-out", str(tmp_path / "mine.json")]) == 2
    said = capsys.readouterr().err
    assert "6 supervised runs for 6 coefficients" in said
    assert "next runs that would help" in said
    assert not (tmp_path / "mine.json").exists()
