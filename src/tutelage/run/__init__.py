"""A run: the loop over Accelerate, its state, and what becomes of it."""

from tutelage.run.check import CheckResult, check
from tutelage.run.demo import demo, summary
from tutelage.run.study import distil

__all__ = ["CheckResult", "check", "demo", "distil", "summary"]
