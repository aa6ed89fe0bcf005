"""Files of a run become values; what is no run, or is broken, is said in three lines."""

import copy
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_folders import change, write_plain, write_study

from tutelage.errors import Damaged, TutelageError
from tutelage.report import write_report
from tutelage.report.collect import collect

FILES = ("run.json", "results.json", "texts.json", "heat.json")


def test_what_is_no_folder_of_a_run_is_an_error_that_names_it(tmp_path):
    """A missing folder, a file and an empty folder are told apart."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "empty").mkdir()
    for name, why in {"gone": "does not exist", "file": "not a folder", "empty": "no run.json"}.items():
        with pytest.raises(TutelageError, match=f"{name}.*{why}"):
            write_report(tmp_path / name)
        assert not (tmp_path / name / "report.html").exists()


def test_a_folder_that_holds_a_run_names_it_as_the_remedy(tmp_path):
    """Whoever names the folder above is told the folder."""
    write_plain(tmp_path / "runs" / "dolly")
    with pytest.raises(TutelageError) as caught:
        collect(tmp_path / "runs")
    assert str(tmp_path / "runs" / "dolly") in caught.value.fix


def test_curves_of_metrics_are_the_curves_of_results(study):
    """A study without curves in its results has them from the metrics of its arms, number for number."""
    told = {arm.name: arm.curves for arm in collect(study).arms}
    change(study, "results.json", lambda results: [arm.pop("curves") for arm in results["arms"]])
    logged = {arm.name: arm.curves for arm in collect(study).arms}
    assert [arm for arm, curves in logged.items() if curves] == ["sft", "forward_kl", "jensen_shannon"]
    for arm, curves in logged.items():
        assert [curve.seed for curve in curves] == [curve.seed for curve in told[arm]]
        for ours, theirs in zip(curves, told[arm], strict=True):
            for metric in ("eval_student_nats", "eval_forward_kl_nats", "loss_nats"):
                assert ours.points(metric) == theirs.points(metric)


def test_a_run_under_way_has_curves_and_says_that_it_has_no_results(tmp_path):
    """Metrics alone are enough for a report."""
    found = collect(write_plain(tmp_path / "run", finished=False))
    assert found.results is None
    assert found.arms[0].curves[0].points("loss_nats")
    assert any("no results.json" in remark for remark in found.remarks)


def test_a_last_line_cut_short_is_left_out_and_said(plain):
    """A kill in the middle of a write costs a line, not the report."""
    path = plain / "metrics.jsonl"
    change(plain, "results.json", lambda results: results["arms"][0].pop("curves"))
    *whole, last = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole))
    expected = collect(plain)
    path.write_text("".join(whole) + last[: len(last) // 2])
    found = collect(plain)
    assert found.arms == expected.arms
    assert any("cut short" in remark for remark in found.remarks)
    assert not any("cut short" in remark for remark in expected.remarks)


def test_a_broken_line_before_the_last_is_damage_at_its_line(plain):
    """Only the last line can be a kill's; another is not what was written."""
    change(plain, "results.json", lambda results: results["arms"][0].pop("curves"))
    path = plain / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "{broken\n", *lines[4:]]))
    with pytest.raises(Damaged, match=r"metrics\.jsonl:5"):
        collect(plain)


def test_after_a_resume_the_later_line_of_a_step_counts(plain):
    """A run that was killed runs some steps again and logs them again."""
    change(plain, "results.json", lambda results: results["arms"][0].pop("curves"))
    with (plain / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, "loss_nats": 1.25}) + "\n")
    assert dict(collect(plain).arms[0].curves[0].points("loss_nats"))[40] == 1.25


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_file_cut_short_is_damage_and_the_older_report_stays(study, name, share):
    """The three lines name the file; nothing is written over."""
    before = write_report(study).read_bytes()
    text = (study / name).read_text()
    (study / name).write_text(text[: int(share * len(text))])
    with pytest.raises(Damaged, match=name.replace(".", r"\.")):
        write_report(study)
    assert (study / "report.html").read_bytes() == before
    assert not list(study.glob(".*"))


def places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places in a JSON value, the whole first; of a list that is a row of likes, the first two."""
    yield place
    inner = content.items() if isinstance(content, dict) else []
    for key, value in [*enumerate(content)][:2] if isinstance(content, list) else inner:
        yield from places(value, (*place, key))


def replaced(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at one place."""
    if not place:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


JUNK = (None, "x", "\ud800\x00<", -1, 0, 1e9, math.nan, math.inf, [], {}, True, ["x"], [None], 10**400)


@pytest.mark.slow
@settings(max_examples=150)
@given(
    name=st.sampled_from(FILES),
    place=st.integers(0, 10**6),
    value=st.sampled_from(JUNK),
)
def test_any_value_anywhere_gives_a_report_or_three_lines(name, place, value):
    """Whatever stands in a file, nobody sees a traceback and no half a report."""
    with tempfile.TemporaryDirectory() as folder:
        run = write_study(Path(folder) / "run")
        content = json.loads((run / name).read_text())
        every = list(places(content))
        changed = replaced(content, every[place % len(every)], value)
        (run / name).write_text(json.dumps(changed))
        refused, text = None, ""
        try:
            text = write_report(run).read_text(encoding="utf-8")
        except TutelageError as error:
            refused = error
        if refused is None:
            assert text.rstrip().endswith("</html>")
        else:
            assert name in refused.problem
            assert refused.expected
            assert refused.fix
