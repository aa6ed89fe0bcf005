"""A run: the loop over Accelerate, its state, and what becomes of it."""

from tutelage.run.study import distil

__all__ = ["distil"]
