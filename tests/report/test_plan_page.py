"""The page of a plan: alone, quiet, escaped, the same twice, and readable in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from test_report_browser import CONTRASTS, opened

from tutelage.plans import plan_student, plan_teacher
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


@pytest.fixture(scope="module")
def wanted():
    """What is said of the teachers of the same student, one of them worse than the text."""
    worse = Teacher(loss=3.0, parameters=7e9, name="worse than the text")
    return plan_teacher(replace(PROBLEM, teachers=(*TEACHERS, worse)))


def test_a_page_about_teachers_tells_what_the_plan_tells(wanted):
    """The wanted teacher, the losses that are as good, where it stops helping, and every teacher's gain."""
    page, told = plan_page(wanted), wanted.to_json()
    assert "<h1>A teacher for a student of 3B parameters</h1>" in page
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts["best teacher"].startswith(f"{told['wanted']['teacher_loss_nats']:.3f} nats")
    low, high = told["flat"]["teacher_loss"]
    assert facts["as good"].startswith(f"a loss of {low:.3f} to {high:.3f} nats")
    assert f"Shaded: teachers of {low:.3f} to {high:.3f} nats" in page
    for choice in told["teachers"]:
        for said in (f"{choice['teacher_loss_nats']:.4f}", f"{choice['loss_nats']:.4f}", choice["answer"]):
            assert f">{said}</td>" in page
        assert f">{choice['gain_nats']:+.4f}</td>" in page
    assert f"Gain {told['gain_nats']:+.4f} nats" in page
    assert "<script>alert" not in page
    assert plan_page(wanted) == page


def test_every_teacher_is_a_dot_the_wanted_one_a_ring_and_what_is_as_good_is_shaded(wanted):
    """Also one so bad that the curve alone would not reach it; and where the best one stops is marked."""
    page = plan_page(wanted)
    by_teacher, by_tokens = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert by_teacher.count('class="mark teacher"') == 3
    assert by_teacher.count('class="mark chosen"') == 1
    assert by_teacher.count('<rect class="band"') == 1
    # Two panels: the losses, and the same less training alone.
    assert by_tokens.count('class="mark chosen"') == 2
    # It begins to help at so few tokens that this is outside the picture.
    assert [one.falls for one in wanted.helps] == [False, True]
    assert by_tokens.count('class="mark crossing"') == 2
    assert "Past the last diamond the text alone is as good." in by_tokens


def test_a_short_axis_has_numbers_between_its_powers_of_ten():
    """Half an order of magnitude would else have one number or none."""
    scale = Scale("tokens", logarithmic=True)
    assert [label for _, label in scale.ticks(5.35, 6.05, 5)] == ["5e5", "1e6"]
    assert [label for _, label in scale.ticks(19.0, 21.0, 5)] == ["1e19", "1e20", "1e21"]
    assert len(scale.ticks(5.32, 5.38, 4)) >= 3


@pytest.mark.browser
@pytest.mark.parametrize(("size", "theme"), [((360, 740), "light"), ((1280, 900), "dark")])
def test_the_page_is_quiet_fits_and_can_be_read(browser, tmp_path, size, theme):
    """No request, no error, no sideways scrolling, and every text stands out by at least 4.5 to 1."""
    path = write_plan(plan_student(PROBLEM), tmp_path / "plan.html")
    with opened(browser, path, size=size, theme=theme) as shown:
        shown.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert shown.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert [found for found in shown.evaluate(CONTRASTS) if found[0] < 4.5] == []
