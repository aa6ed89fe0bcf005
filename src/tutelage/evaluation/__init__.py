"""How well a student does: held-out text, intervals, comparisons of several students."""

from tutelage.evaluation.compare import Comparison, compare
from tutelage.evaluation.held_out import HeldOut, measure
from tutelage.evaluation.intervals import Interval, over_rows, over_seeds

__all__ = ["Comparison", "HeldOut", "Interval", "compare", "measure", "over_rows", "over_seeds"]
