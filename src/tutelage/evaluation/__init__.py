"""How well a student does: held-out text, what it writes, intervals, comparisons of several students.

The table names the measures of ``tutelage evaluate``: a new one is a function of the evidence that says
what it needs, a line here and a test.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tutelage.registry import Entry, Table

if TYPE_CHECKING:
    from tutelage.evaluation.comparing import Comparison, compare
    from tutelage.evaluation.held_out import HeldOut, measure
    from tutelage.evaluation.intervals import Interval, over_rows, over_seeds

_MEASURES = "tutelage.evaluation.measures"


def _entry(place: str, paper: str | None = None) -> Entry:
    return Entry(f"{_MEASURES}.{place}", paper=paper, trains=False)


TABLE = Table(
    "measures",
    {
        "student_nats": _entry("held:student_nats"),
        "teacher_nats": _entry("held:teacher_nats"),
        "forward_kl_nats": _entry("held:forward_kl_nats"),
        "agreement": _entry("held:agreement"),
        "calibration_error": _entry("held:calibration_error"),
        "rouge_l": _entry("overlap:rouge_l", paper="minillm"),
        "bleu": _entry("overlap:bleu"),
        "chrf": _entry("overlap:chrf"),
        "dist": _entry("variety:dist", paper="minillm"),
        "self_bleu": _entry("variety:self_bleu"),
        "repetition": _entry("variety:repetition"),
        "length": _entry("variety:length"),
        "end_rate": _entry("variety:end_rate"),
        "truncation_rate": _entry("variety:truncation_rate"),
        "empty_rate": _entry("variety:empty_rate"),
        "exposure_bias": _entry("apart:exposure_bias", paper="minillm"),
        "likelihood_risk": _entry("apart:likelihood_risk", paper="f-distill"),
        "coverage_risk": _entry("apart:coverage_risk", paper="f-distill"),
        "sequence_reverse_kl": _entry("apart:sequence_reverse_kl", paper="minillm"),
        "js_bound": _entry("apart:js_bound", paper="f-distill"),
        "tv_bound": _entry("apart:tv_bound", paper="f-distill"),
        "sequence_js": _entry("apart:sequence_js", paper="f-distill"),
        "sequence_tv": _entry("apart:sequence_tv", paper="f-distill"),
    },
)

HELD_OUT = ("student_nats", "teacher_nats", "forward_kl_nats", "agreement", "calibration_error")
"""What is measured unless somebody asks for other things: it needs no text to be written."""

_PLACES = {
    "Comparison": "comparing",
    "HeldOut": "held_out",
    "Interval": "intervals",
    "compare": "comparing",
    "measure": "held_out",
    "over_rows": "intervals",
    "over_seeds": "intervals",
}

__all__ = ["TABLE", "Comparison", "HeldOut", "Interval", "compare", "measure", "over_rows", "over_seeds"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"tutelage.evaluation.{_PLACES[name]}"), name)
    return TABLE.attribute(__name__, name)


def __dir__() -> list[str]:
    return [*__all__, *TABLE]
