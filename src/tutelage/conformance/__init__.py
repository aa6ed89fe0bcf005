"""Conformance: what a run relies on, measured with a recipe's own models, text and machine.

`conform` runs the identities of `tutelage.conformance.table`, one file each, on a few rows of the recipe.
"""

from tutelage.conformance.conform import conform
from tutelage.conformance.result import Conformance, Line

__all__ = ["Conformance", "Line", "conform"]
