"""The page of a plan: alone, quiet, escaped, the same twice, and readable in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from test_report_browser import CONTRASTS, opened

from tutelage.plans import plan_student
from tutelage.plans.problem import Problem
from tutelage.plans.published import published
from tutelage.plans.scenario import SCENARIOS, Teacher
from tutelage.report.plan_charts import Curve, Mark, Scale, plan_chart
from tutelage.report.plan_page import plan_page, write_plan

TEACHERS = (
    Teacher(loss=2.17, parameters=2.72e9, name="<script>alert(1)</script>"),
    Teacher(loss=2.0, parameters=7.75e9),
)
PROBLEM = Problem(published("reconciled"), 3e9, 1e21, SCENARIOS["inference"], TEACHERS)


@pytest.fixture(scope="module")
def page() -> str:
    """A page with two teachers, one of which has a hostile name."""
    return plan_page(plan_student(PROBLEM))


def test_the_page_shows_curves_band_crossing_teachers_and_the_chosen_point(page):
    """All the scenarios, the user's own case, and the marks that explain the answer."""
    for name in ("no teacher", "free teacher", "logits paid", "training paid", "both paid", "your case"):
        assert f">{name}<" in page
    for kind in ("band", "mark crossing", "mark chosen", "mark teacher"):
        assert f'class="{kind}"' in page
    assert "Loss against the teacher" in page
    assert "Where the compute goes" in page


def test_what_a_user_typed_is_text(page):
    """A name of a teacher is never markup."""
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_every_chart_is_well_formed_and_has_words(page):
    """Title and description for those who listen."""
    charts = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    assert len(charts) >= 4
    for chart in charts:
        tree = ElementTree.fromstring(chart)
        assert tree.find("title") is not None
        assert tree.find("desc") is not None


def test_the_same_plan_gives_the_same_bytes(page):
    """Nothing of the clock or the machine gets in."""
    assert plan_page(plan_student(PROBLEM)) == page


def test_the_best_teacher_is_drawn_where_it_is_to_be_trained():
    """Sizes and tokens against the budget, over orders of magnitude."""
    made = plan_page(plan_student(replace(PROBLEM, teachers=(), scenario=SCENARIOS["both"])))
    for name in ("teacher size", "teacher tokens", "student tokens"):
        assert f">{name}<" in made


def test_marks_outside_the_frame_are_left_out_and_decades_are_labelled():
    """A crossing far away must not widen the chart."""
    curve = Curve("a", "s0", ((1e19, 2.0), (1e23, 1.0)))
    marks = (Mark(1e20, 1.5, "chosen", "in"), Mark(1e27, 1.5, "crossing", "out"))
    along = Scale("FLOP", logarithmic=True)
    chart = plan_chart([curve], along=along, up=Scale("nats"), title="t", description="d", marks=marks)
    assert "mark chosen" in chart
    assert "mark crossing" not in chart
    assert ">1e21<" in chart


@pytest.mark.browser
@pytest.mark.parametrize(("size", "theme"), [((360, 740), "light"), ((1280, 900), "dark")])
def test_the_page_is_quiet_fits_and_can_be_read(browser, tmp_path, size, theme):
    """No request, no error, no sideways scrolling, and every text stands out by at least 4.5 to 1."""
    path = write_plan(plan_student(PROBLEM), tmp_path / "plan.html")
    with opened(browser, path, size=size, theme=theme) as shown:
        shown.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert shown.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert [found for found in shown.evaluate(CONTRASTS) if found[0] < 4.5] == []
