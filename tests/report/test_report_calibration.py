"""The reliability diagrams of a report."""

from __future__ import annotations

import re

import pytest
from report_folders import calibration, change

from tutelage.report import write_report
from tutelage.report.reliability import SQUARE, calibration_rows, calibration_told, reliability_chart
from tutelage.report.schema import Calibration


def test_dots_stand_where_accuracy_and_confidence_say():
    """A perfectly calibrated student's dots are on the straight line, in every bin that has tokens."""
    chart = str(reliability_chart(Calibration(**calibration(0.0)), "s0", title="it"))
    dots = re.findall(r'<circle [^>]*cx="([0-9.]+)" cy="([0-9.]+)" r="([0-9.]+)"', chart)
    assert len(dots) == 13
    wide, high = SQUARE.width - SQUARE.right - SQUARE.left, SQUARE.height - SQUARE.bottom - SQUARE.top
    for x, y, _ in dots:
        along = (float(x) - SQUARE.left) / wide
        up = (SQUARE.height - SQUARE.bottom - float(y)) / high
        assert along == pytest.approx(up, abs=0.002)
    radii = [float(radius) for *_, radius in dots]
    assert radii == sorted(radii)


def test_a_report_has_a_diagram_for_each_arm_that_was_measured(study):
    """With its error and its numbers; an older run without them has none, and a report all the same."""
    page = write_report(study).read_text(encoding="utf-8")
    assert page.count('aria-label="Calibration of ') == 3
    assert "expected calibration error 0.020 over 10,400 tokens" in page
    assert "Calibration: share that was right (tokens)" in page

    def forgotten(results):
        for arm in results["arms"]:
            arm.pop("calibration", None)

    change(study, "results.json", forgotten)
    assert "Calibration of" not in write_report(study).read_text(encoding="utf-8")


def test_bins_without_tokens_and_numbers_that_are_none_are_left_out():
    """Shown as a dash, not as a share of 0."""
    found = Calibration.model_validate(
        {"error": float("nan"), "bins": [[0, 0, 0], [10, 9.0, 8], [5, None, 1]]}
    )
    assert found.filled == ((0.9, 0.8, 10.0),)
    assert "error \N{EM DASH} over 10" in calibration_told(found)
    assert calibration_rows([found])[0] == ("0.00\N{EN DASH}0.33", "\N{EM DASH}")
