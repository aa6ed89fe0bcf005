"""The verdict claims no more than the seeds resolve, and the table says what the results say."""

import math
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from report_folders import METRICS, change

from tutelage.report.arms import tables
from tutelage.report.collect import collect
from tutelage.report.schema import Results
from tutelage.report.verdict import verdict

SMALL = st.floats(-0.1, 0.1).map(lambda x: round(x, 4))


def results_of(*differences, floor=None, **more):
    """Results in which some arms were compared with sft in nats per token."""
    arms = [{"name": name, "numbers": {"student_nats": [2.5, 2.6]}} for name in ("sft", "a", "b")]
    compared = [{"metric": "student_nats", "confidence": 0.95, **d} for d in differences]
    noise = {} if floor is None else {"student_nats": floor}
    content = {"arms": arms, "compared_with": "sft", "differences": compared, "noise_floor": noise} | more
    return Results.model_validate(content)


@given(mean=SMALL, half=st.floats(0, 0.1), floor=st.floats(0, 0.05))
def test_better_is_said_only_where_the_interval_leaves_out_zero_and_the_floor_is_passed(mean, half, floor):
    """The one law of an honest headline."""
    assume(mean != 0)
    said = verdict(
        results_of({"arm": "a", "mean": mean, "low": mean - half, "high": mean + half}, floor=floor)
    )
    resolved = not mean - half <= 0 <= mean + half
    expected = (
        "unresolved" if not resolved else "small" if abs(mean) <= floor else "better" if mean < 0 else "worse"
    )
    assert said.kind == expected
    starts = {
        "better": "Better than the control arm",
        "worse": "Worse than the control arm",
        "small": "Smaller than the noise floor",
        "unresolved": "No difference that these seeds can resolve",
    }
    assert said.headline.startswith(starts[expected])
    assert "95 % interval" in said.headline


@given(means=st.tuples(SMALL, SMALL), half=st.floats(0.0001, 0.05))
def test_the_headline_is_never_beaten_by_a_remark(means, half):
    """If any arm is resolved as better, the best of them is the headline, and the others are still named."""
    differences = [
        {"arm": arm, "mean": mean, "low": mean - half, "high": mean + half}
        for arm, mean in zip("ab", means, strict=True)
    ]
    said = verdict(results_of(*differences))
    best, other = ("a", "b") if means[0] <= means[1] else ("b", "a")
    assert (said.kind == "better") == (min(means) + half < 0)
    assert any(f": {other} " in remark for remark in said.remarks)
    assert f": {best} " in said.headline


def test_one_seed_has_no_interval_and_is_not_called_a_result():
    """A NaN or null interval says that nothing can be told."""
    said = verdict(results_of({"arm": "a", "mean": -0.5, "low": math.nan, "high": None}))
    assert said.kind == "unresolved"
    assert "no interval" in said.headline


def test_the_untouched_student_wins_nobody_a_headline():
    """To be better than no training at all, or worse, is not the question."""
    said = verdict(results_of({"arm": "untouched", "mean": 5.0, "low": 4.9, "high": 5.1}))
    assert said.kind == "open"


def test_without_a_control_arm_the_verdict_says_so(plain):
    """A plain run has a before and an after, and nobody to compare with."""
    said = verdict(collect(plain).results)
    assert said.kind == "open"
    assert "7.621" in said.headline
    assert any("No control arm" in remark for remark in said.remarks)


def test_no_results_is_no_verdict():
    """A run under way has nothing to say yet."""
    assert verdict(None).kind == "open"


def number(text):
    """The number that a cell shows."""
    return float(
        text.replace("\N{MINUS SIGN}", "-").split()[0].rstrip("%").replace("\N{NARROW NO-BREAK SPACE}", "")
    )


@pytest.mark.parametrize(("place", "name"), [*enumerate(METRICS)])
def test_every_number_of_the_table_is_one_of_the_results(study, place, name):
    """Mean, spread, extent, difference, interval and floor, to the last figure that is shown."""
    results = collect(study).results
    table = tables(results)[place]
    unit = 100 if name == "agreement" else 1
    assert [row.name for row in table.rows] == [arm.name for arm in results.arms]
    for row, arm in zip(table.rows, results.arms, strict=True):
        values = [unit * value for value in arm.numbers[name]]
        figures = len(row.mean.split("\N{NARROW NO-BREAK SPACE}")[0].partition(".")[2])
        close = {"abs": 0.5000001 * 10**-figures}
        assert number(row.mean) == pytest.approx(statistics.mean(values), **close)
        assert number(row.floor.removeprefix("± ")) == pytest.approx(
            unit * results.noise_floor[name], **close
        )
        if len(values) > 1:
            assert number(row.spread) == pytest.approx(statistics.stdev(values), **close)
            ends = row.extent.split(" \N{EN DASH} ")
            assert [number(end) for end in ends] == pytest.approx([min(values), max(values)], **close)
        if arm.name == results.compared_with:
            assert row.difference == "control arm"
        else:
            d = results.difference(arm.name, name)
            assert number(row.difference) == pytest.approx(unit * d.mean, **close)
            ends = [number(end) for end in row.interval.split(" to ")]
            assert ends == pytest.approx([unit * d.low, unit * d.high], **close)


def test_the_best_arm_is_named_in_words_and_is_the_best(study):
    """Nobody has to see bold type; the untouched student and the teacher do not compete."""
    for table in tables(collect(study).results):
        named = [row.name for row in table.rows if "mean" in row.badge]
        assert named == ["forward_kl"]


def test_a_seed_that_diverged_is_said_and_makes_no_mean(study):
    """A mean of the seeds that did not diverge would flatter."""

    def diverge(results):
        results["arms"][2]["numbers"]["student_nats"][1] = math.nan

    change(study, "results.json", diverge)
    row = tables(collect(study).results)[0].rows[2]
    assert row.mean == "\N{EM DASH}"
    assert "1 not finite" in row.seeds
    assert "mean" not in row.badge


def test_the_untouched_student_is_no_control_arm():
    """A single run is compared with its own beginning; that is a before and an after, not a verdict."""
    arms = [
        {"name": name, "numbers": {"student_nats": [nats]}} for name, nats in (("untouched", 7.6), ("a", 2.9))
    ]
    d = {"arm": "a", "mean": -4.7, "low": -4.8, "high": -4.6}
    said = verdict(results_of(d, arms=arms, compared_with="untouched"))
    assert said.kind == "open"
    assert said.headline.startswith("a went from 7.600 to 2.900")
