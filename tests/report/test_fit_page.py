"""The page of a fit: its numbers are the plan's, its points are the runs, and names of runs are text."""

from __future__ import annotations

import html
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from test_report_browser import CONTRASTS, opened

from small_studies import small_study, write_table
from tutelage.plans.fit import Effort
from tutelage.plans.fitted import FittedPlan, fit_runs
from tutelage.report.plan_page import plan_page, write_plan

HOSTILE = "<script>alert('run')</script>"
RUNS = [
    replace(run, name=HOSTILE if run.name in ("s3", "d7") else run.name)
    for run in small_study(noise=0.004, seed=5)
]


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> FittedPlan:
    """The answer about a table of runs, a fifth of which was held out; some have a hostile name."""
    table = write_table(tmp_path_factory.mktemp("study") / "runs.csv", RUNS)
    # The page is what is tested, not how well the law fits.
    quick = Effort(screened=300, kept=4, finalists=1, deltas=(1e-2,), descend=False)
    return fit_runs(table, hold_out=0.2, draws=6, effort=quick)


@pytest.fixture(scope="module")
def page(plan) -> str:
    """Its page."""
    return plan_page(plan)


def figure(page: str, title: str) -> str:
    """The part of a page that is one figure."""
    found = re.search(rf"<h3>{title}.*?</figure>", page, re.DOTALL)
    assert found is not None, title
    return found[0]


def table(page: str, title: str) -> list[list[str]]:
    """The rows of a table of the page."""
    found = re.search(rf"<caption[^>]*>{title}.*?</table>", page, re.DOTALL)
    assert found is not None, title
    body = found[0].split("<tbody>")[1]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def percent(value: float) -> str:
    """A share as the page writes it."""
    return f"{100 * value:.2f}\N{NARROW NO-BREAK SPACE}%"


def test_the_numbers_of_the_page_are_those_of_the_plan(plan, page):
    """Facts, errors, what is determined and what is predicted, each against the JSON of the same plan."""
    told = plan.to_json()
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    runs = told["runs"]
    assert facts["runs"] == (
        f"{runs['supervised']} supervised and {runs['distilled']} distilled runs, "
        f"{len(runs['held_out'])} more held out"
    )
    fits = told["fits"]
    for name, kind in (("supervised", "supervised"), ("distillation", "distilled")):
        assert f"{kind} {percent(fits[name]['rms_on_its_runs'])}" in facts["rms on its own runs"]
    assert facts["error of prediction"].startswith(percent(told["laws"]["error"]))
    assert f"{told['shuffled_teachers_times_worse']:.3g} times worse" in facts["teachers shuffled"]
    assert facts["not seen"] == told["unseen"]["how"]
    for kind, runs, *errors in table(page, "Errors on runs not seen"):
        one = told["unseen"][kind]
        assert int(runs) == one["runs"]
        assert errors == [percent(one[name]) for name in ("median", "p90", "worst", "rms")]
    for title, key in (("What the runs determine", "determined"), ("Predictions", "predictions_nats")):
        rows = table(page, title)
        assert [row[0] for row in rows] == [one["name"] for one in told[key]]
        for row, one in zip(rows, told[key], strict=True):
            assert row[1] == f"{one['value']:.4g}"
            assert row[2] == f"{one['low']:.4g} to {one['high']:.4g}"


def test_every_run_is_a_point_and_those_held_out_are_of_another_kind(plan, page):
    """Predicted against measured has all of them; on the curves are those that belong to them."""
    shown = figure(page, "Predicted against measured")
    assert shown.count('class="mark run') == len(plan.study.supervised) + len(plan.study.distilled)
    assert shown.count('class="mark unseen') == len(plan.held) == 12
    shown = figure(page, "Loss against tokens")
    assert shown.count('class="mark run') == len(plan.study.supervised)
    assert shown.count('class="mark unseen') == sum(not run.distilled for run in plan.held)
    shown = figure(page, "Students. loss against their teacher.s")
    both = [*plan.study.distilled, *plan.held]
    most = [run for run in both if run.distilled and run.tokens == 1e6]
    assert shown.count('class="mark run') + shown.count('class="mark unseen') == len(most)
    assert f"({len(most)} of 45)" in shown
    assert "which were measured" in shown


def test_a_curve_a_size_with_its_band_and_bars_for_the_guesses(plan, page):
    """Four sizes trained alone, three students, and a bar for the law and for every simpler guess."""
    assert figure(page, "Loss against tokens").count('class="around"') == 4
    assert figure(page, "Students").count('class="around"') == 3
    bars = figure(page, "Errors beside simpler guesses")
    for one in plan.unseen.values():
        for rms in (one.rms, *one.baselines.values()):
            assert f">{percent(rms)}</text>" in bars
    assert bars.count('class="part s0"') == 2
    without = plan_page(replace(plan, laws=replace(plan.laws, draws=())))
    assert 'class="around"' not in without
    assert "no runs were resampled" in without


def test_more_sizes_than_styles_are_thinned_and_the_note_says_so(plan):
    """The smallest, the largest and some between, and no seventh style."""
    one = plan.study.supervised[0]
    many = tuple(replace(one, parameters=size) for size in np.linspace(1e4, 9e4, 9).tolist())
    study = replace(plan.study, supervised=many)
    shown = figure(plan_page(replace(plan, study=study, held=())), "Loss against tokens")
    assert "Of 9 sizes 6 are drawn" in shown
    for name in ("10K", "90K"):
        assert f">{name}</text>" in shown
    assert shown.count('class="mark run') == 6
    assert "s6" not in shown


def test_the_answer_has_its_tone_and_its_reasons(plan, page):
    """Usable, or not; what decides is said."""
    assert "Usable: a law to plan with." in page
    assert '<div class="verdict better">' in page
    spoilt = plan_page(replace(plan, disorder=0.9))
    assert "Not usable: no law to plan with." in spoilt
    assert '<div class="verdict worse">' in spoilt
    assert "do not tell one teacher from another" in spoilt
    for warning in plan.warnings:
        assert html.escape(warning.replace("`", "")).replace("&#x27;", "&#39;") in page
    assert "Predictions of a law, not measurements; only the runs" in page


def test_without_distilled_runs_there_is_no_curve_of_a_teacher(plan):
    """Nothing is drawn of a law that nobody fitted."""
    plan = replace(
        plan,
        study=replace(plan.study, distilled=(), distillation_fit=None),
        laws=replace(plan.laws, distillation=None),
        held=(),
        unseen={"supervised": plan.unseen["supervised"]},
        disorder=None,
    )
    page = plan_page(plan)
    assert "loss against their teacher" not in page
    assert "Distilled:" not in page
    assert "shuffled" not in page


def test_a_run_may_be_called_anything(page):
    """Names in a table are what somebody wrote."""
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(" in page


def test_every_chart_is_well_formed_and_all_its_points_are_inside(page):
    """Title and description for those who listen; nothing is drawn beyond the frame."""
    charts = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    assert len(charts) == 6
    for chart in charts:
        tree = ElementTree.fromstring(chart)
        assert tree.find("title") is not None
        assert tree.find("desc") is not None
        width, height = (float(end) for end in tree.attrib["viewBox"].split()[2:])
        for circle in tree.iter("circle"):
            x, y = float(circle.attrib["cx"]), float(circle.attrib["cy"])
            assert math.isfinite(x + y)
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_the_same_plan_gives_the_same_bytes_and_no_style_of_its_own(plan, page):
    """Nothing of the clock gets in, and nothing that the page's own policy would refuse."""
    assert plan_page(plan) == page
    assert " style=" not in page
    assert "nan" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page, flags=re.DOTALL)


@pytest.mark.browser
@pytest.mark.parametrize(("size", "theme"), [((360, 740), "light"), ((1280, 900), "dark")])
def test_the_page_of_a_fit_is_quiet_fits_and_can_be_read(browser, plan, tmp_path, size, theme):
    """No request, no error, no sideways scrolling, and every text stands out by at least 4.5 to 1."""
    path = write_plan(plan, tmp_path / "fit.html")
    with opened(browser, path, size=size, theme=theme) as shown:
        shown.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert shown.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert [found for found in shown.evaluate(CONTRASTS) if found[0] < 4.5] == []
