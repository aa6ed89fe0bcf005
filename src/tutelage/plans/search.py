"""The lowest point of a function of one number: a grid first, then ever finer grids around its best point.

Curves of a plan can have two valleys, so no bracket is trusted before a grid has been looked at. Everything
is done for many rows at once; a plan needs tens of thousands of losses and must answer while somebody waits.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from tutelage.plans.law import ArrayLike, Numbers

FINER = 17
"""Points of a finer grid; each divides the interval by eight."""


def lowest(
    function: Callable[[Numbers], Numbers],
    low: ArrayLike,
    high: ArrayLike,
    *,
    points: int = 129,
    zooms: int = 8,
) -> tuple[Numbers, Numbers]:
    """Where a function is lowest, and how low, in every row.

    Args:
        function: takes ``(rows, points)`` and gives the same shape; inf or nan where something is impossible.
        low, high: ends of the interval, one of each a row; where they cross, nothing is possible.
        points: of the first grid; two valleys closer than a cell of it are taken for one.
        zooms: how often the grid is made finer, each time eightfold.

    Returns:
        Places and values, one a row; a value of inf says that nothing was possible there.
    """
    low, high = np.broadcast_arrays(np.atleast_1d(low).astype(float), np.atleast_1d(high).astype(float))
    possible = low <= high
    low, high = np.where(possible, low, 0.0), np.where(possible, high, 0.0)
    place, value = low.copy(), np.full(low.shape, np.inf)
    rows = np.arange(len(low))
    for size in (points, *[FINER] * zooms):
        grid = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, size)
        found = function(grid)
        found = np.where(np.isnan(found) | ~possible[:, None], np.inf, found)
        best = np.argmin(found, axis=1)
        better = found[rows, best] < value
        place = np.where(better, grid[rows, best], place)
        value = np.where(better, found[rows, best], value)
        low, high = grid[rows, np.maximum(best - 1, 0)], grid[rows, np.minimum(best + 1, size - 1)]
    return place, value


def crossing(
    function: Callable[[Numbers], Numbers], low: Numbers, high: Numbers, *, halvings: int = 60
) -> Numbers:
    """Where a falling function goes below zero, in every row, by bisection; ``high`` where it never does."""
    low, high = np.array(low, dtype=float), np.array(high, dtype=float)
    for _ in range(halvings):
        middle = (low + high) / 2
        below = function(middle) <= 0
        low, high = np.where(below, low, middle), np.where(below, middle, high)
    return high


def sign_changes(
    function: Callable[[float], float], grid: ArrayLike, *, steps: int = 30
) -> list[tuple[float, bool]]:
    """Every place where a function crosses zero between neighbours of a grid, and whether it falls there.

    A curve may cross none, once or twice, so it is scanned before it is bisected; nan never crosses.
    """
    places = [float(x) for x in np.asarray(grid, dtype=float)]
    values = [function(x) for x in places]
    found = []
    for (left, right), (first, last) in zip(pairwise(places), pairwise(values), strict=True):
        if np.isnan(first) or np.isnan(last) or (first > 0) == (last > 0):
            continue
        low, high = left, right
        for _ in range(steps):
            middle = (low + high) / 2
            if (function(middle) > 0) == (first > 0):
                low = middle
            else:
                high = middle
        found.append(((low + high) / 2, bool(first > 0)))
    return found
