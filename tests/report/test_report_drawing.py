"""Charts, strips and heat maps say with ink what the numbers say."""

import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.report.charts import Level, Line, line_chart
from tutelage.report.drawing import Axis, axis, spread_out, thinned, ticks
from tutelage.report.heat import EDGES, heat_map, legend, level
from tutelage.report.schema import Difference, Heat
from tutelage.report.strips import Strip
from tutelage.report.wording import Style, clean, style_for, token_text

FINITE = st.floats(-1e6, 1e6)


@given(values=st.lists(FINITE, min_size=1, max_size=20))
def test_an_axis_holds_all_its_values_in_their_order(values):
    """Higher numbers stand higher, none outside."""
    up = axis(values, 100.0, 0.0)
    places = [up(value) for value in sorted(values)]
    assert places == sorted(places, reverse=True)
    assert all(0 <= place <= 100 for place in places)


@given(low=FINITE, size=st.floats(1e-4, 1e6), count=st.integers(2, 8))
def test_ticks_are_inside_and_their_labels_tell_them_apart(low, size, count):
    """About as many as asked for, none twice."""
    found = ticks(low, low + size, count)
    assert 1 <= len(found) <= 3 * count
    assert all(low - 1e-6 * size <= value <= low + size + 1e-6 * size for value, _ in found)
    assert len({label for _, label in found}) == len(found)


@given(places=st.lists(st.floats(0, 200), min_size=1, max_size=10))
def test_names_moved_apart_keep_their_order_and_their_distance(places):
    """Names at the ends of lines can be read, and the top line has the top name."""
    moved = spread_out(places, 15.0, 0.0, 200.0)
    order = sorted(range(len(places)), key=lambda i: places[i])
    gaps = [moved[b] - moved[a] for a, b in itertools.pairwise(order)]
    assert all(gap >= 15 - 1e-9 for gap in gaps)
    assert max(moved) <= 200


@given(ys=st.lists(FINITE, min_size=1, max_size=900))
def test_thinning_keeps_both_ends_the_highest_and_the_lowest(ys):
    """A spike in the loss is never thinned away."""
    points = [(float(x), y) for x, y in enumerate(ys)]
    kept = thinned(points, 100)
    assert len(kept) <= 100 + 4
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert {max(ys), min(ys)} <= {y for _, y in kept}
    assert set(kept) <= set(points)


def drawn(**names):
    """A chart of two arms of two seeds, parsed."""
    points = tuple((float(x), 3 - 0.1 * x) for x in range(10))
    lower = tuple((x, y - 0.5) for x, y in points)
    lines = [
        Line(names.get("first", "sft"), "control", (points, lower), points),
        Line("js", "s1", (points, lower), lower),
    ]
    text = line_chart(lines, [Level("teacher", "teacher", 1.5)], title="Nats <of> it", description="a & b")
    return ElementTree.fromstring(text)


def test_a_chart_has_a_line_for_each_seed_and_one_for_the_mean():
    """Thin and thick, and names at their ends; arms differ by dash, not by colour alone."""
    svg = drawn()
    assert [len(group.findall("path[@class='seed']")) for group in svg.findall("g")[1:3]] == [2, 2]
    means = svg.findall("g/path[@class='mean']")
    assert len({mean.get("stroke-dasharray") for mean in means}) == len(means) == 2
    assert [text.text for text in svg.findall("g[@class='names']/text")] == ["teacher", "sft", "js"]


def test_a_chart_says_what_it_shows():
    """An image to a screen reader, with title and description."""
    svg = drawn()
    assert svg.get("role") == "img"
    assert svg.findtext("title") == "Nats <of> it"
    assert svg.findtext("desc") == "a & b"


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"/><image href="x"/>', "a&b", "\x00\ud800"])
def test_a_name_is_text_whatever_it_is(name):
    """Arms are named by people; a name adds no element and no attribute."""
    assert [e.tag for e in drawn(first=name).iter()] == [e.tag for e in drawn().iter()]


@given(mean=st.floats(-0.2, 0.2), half=st.floats(0, 0.2), floor=st.none() | st.floats(0.001, 0.2))
def test_a_strip_puts_a_difference_on_its_side_of_zero(mean, half, floor):
    """Left of the upright line is less; whiskers hold the point; nothing is drawn outside."""
    d = Difference(arm="a", metric="student_nats", mean=mean, low=mean - half, high=mean + half)
    text = Strip.over([d], floor, Style(3)).draw(d)
    assert text is not None
    svg = ElementTree.fromstring(text)
    zero, point = svg.find("line[@class='zero']"), svg.find("circle")
    whisker = svg.find("line[@class='whisker']")
    assert zero is not None
    assert point is not None
    assert whisker is not None
    at, middle = float(point.get("cx", "")), float(zero.get("x1", ""))
    assert (at - middle) * mean >= -1e-9
    assert float(whisker.get("x1", "")) <= at <= float(whisker.get("x2", ""))
    assert all(0 <= float(line.get("x1", "")) <= 150 for line in svg.findall("line"))


def test_a_difference_far_beyond_the_others_is_an_arrow():
    """The untouched student must not squash the arms that matter."""
    near = Difference(arm="a", metric="m", mean=-0.03, low=-0.05, high=-0.01)
    far = Difference(arm="untouched", metric="m", mean=5.0, low=4.9, high=5.1)
    strip = Strip.over([near, far], 0.004, Style(3))
    assert strip.limit < 0.1
    assert "beyond" in (strip.draw(far) or "")
    assert "beyond" not in (strip.draw(near) or "")


@given(first=st.floats(-1e-9, 20), second=st.floats(-1e-9, 20))
def test_more_nats_are_never_a_lighter_shade(first, second):
    """Shades are ordered, and there is one for every value."""
    low, high = sorted((first, second))
    assert 0 <= level(low) <= level(high) <= len(EDGES) == len(legend()) - 1


def test_the_largest_differences_are_the_largest_and_come_first():
    """Ties by place in the text; tokens that do not count are not in the running."""
    nats = [9.0, 0.2, 3.0, None, 0.0, 3.0]
    counted = [False, True, True, True, True, True]
    tokens = [
        {"token": f" t{i}", "nats": n, "counted": c}
        for i, (n, c) in enumerate(zip(nats, counted, strict=True))
    ]
    shown = heat_map(Heat.model_validate({"arm": "a", "tokens": tokens}))
    assert shown is not None
    assert [row.cell.name for row in shown.largest] == ["␣t2", "␣t5", "␣t1"]
    assert shown.counted == 4
    assert shown.mean == "1.550"
    assert [cell.level for cell in shown.cells] == [None, 2, 5, None, 0, 5]


def test_no_counted_token_is_no_map():
    """There is nothing to shade."""
    assert heat_map(Heat(arm="a")) is None


@given(text=st.text(st.characters()))
def test_cleaned_text_can_be_written_and_read(text):
    """UTF-8 can hold it, HTML can hold it, and what was fine stays."""
    cleaned = clean(text)
    assert cleaned.encode().decode() == cleaned
    assert not any(ord(c) < 32 and c not in "\n\t" for c in cleaned)
    assert clean(cleaned) == cleaned
    assert token_text(text)


@given(number=st.floats(-10, 10), share=st.booleans())
def test_a_signed_number_has_the_sign_of_the_number(number, share):
    """A zero after rounding has none."""
    text = style_for([0.01], share).signed(number)
    sign = 0 if text[0].isdigit() else 1 if text[0] == "+" else -1
    assert sign * number >= 0
    assert (sign == 0) == (not any(c in "123456789" for c in text))


def test_an_axis_of_one_value_has_room():
    """A flat line is drawn in the middle, not divided by zero."""
    up = axis([2.0], 100.0, 0.0)
    assert isinstance(up, Axis)
    assert up(2.0) == pytest.approx(50.0)
