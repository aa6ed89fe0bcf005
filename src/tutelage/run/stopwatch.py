"""What a trial listens with: samples that hand out chosen steps, and metrics that note moments."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.interfaces import Batch
from tutelage.run.metrics import Metrics

Clock = Callable[[], float]

CLOCKS: Mapping[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
"""Seconds that pass, and those that processors spend on this process, which other processes disturb less."""

LOOKED_AT = 20_000
"""Steps of a run whose lengths are looked at; of a longer run as many, spread evenly."""


class Chosen:
    """Samples that hand out chosen steps of a run in place of its first ones.

    Everything else is asked of the samples themselves.

    Args:
        samples: open, shared out and written with.
        order: which step of the run stands in which place.
        now: the clock.

    Attributes:
        moments: for every place: when it was asked for, and when it was there, in seconds.
        padded: for every place: tokens of its micro-batches, padding included.
    """

    def __init__(self, samples: Any, order: Sequence[int], now: Clock = time.perf_counter) -> None:
        self._samples = samples
        self._now = now
        self._order = order
        self.moments: list[tuple[float, float]] = []
        self.padded: list[int] = []

    def micro_batches(self, step: int) -> list[Batch]:
        """The micro-batches of the step that was chosen for this place."""
        began = self._now()
        batches: list[Batch] = self._samples.micro_batches(self._order[step])
        self.moments.append((began, self._now()))
        self.padded.append(sum(batch.tokens.numel() for batch in batches))
        return batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._samples, name)


class Stopwatch(Metrics):
    """Metrics that nobody reads: it notes when a step and when an evaluation had ended.

    Args:
        path: of a file that is not written.
        steps: optimiser steps in all.
        now: the clock.

    Attributes:
        stepped: when every step had ended, in seconds.
        evaluated: when the evaluation had ended, or None.
    """

    def __init__(self, path: Path, steps: int, now: Clock = time.perf_counter) -> None:
        super().__init__(path, steps, steps, "trial", quiet=True)
        self._now = now
        self.stepped: list[float] = []
        self.evaluated: float | None = None

    def step(
        self,
        step: int,
        loss: float,
        rate: float,
        norm: float,
        counted: int,
        noted: Mapping[str, float] | None = None,
    ) -> None:
        """One optimiser step has ended."""
        self.stepped.append(self._now())
        super().step(step, loss, rate, norm, counted, noted)

    def evaluation(self, step: int, numbers: Mapping[str, float]) -> None:
        """The evaluation has ended."""
        self.evaluated = self._now()


def sizes_of_steps(samples: Any, steps: int) -> dict[int, int]:
    """Tokens of steps of a run, padding included, as far as lengths are known before anything is written."""
    stride = max(1, steps // LOOKED_AT)
    return {
        step: sum(len(rows) * max(rows) for rows in samples.lengths(step)) for step in range(0, steps, stride)
    }


def order_of_trial(samples: Any, steps: int, most: int) -> list[int]:
    """Which steps of a run a trial makes: the longest first and third, the others spread over the lengths.

    The first step warms up; the third is the longest again, since the optimiser's moments are there only
    after a step. Samples whose steps need those before them are taken from the beginning, and
    once more from where a second collection of text begins.
    """
    if not samples.any_order:
        each = getattr(samples, "steps_per_collection", 1)
        if each == 1 or each >= steps:
            return list(range(min(most, steps)))
        first = list(range(min(3, each)))
        return [*first, *range(each, min(steps, each + most - len(first)))]
    by_size = sorted(sizes := sizes_of_steps(samples, steps), key=sizes.__getitem__)
    longest = by_size[-1]
    others = max(1, most - 2)
    # Middles of equal parts of all steps by length: their mean is near the mean of all.
    typical = [by_size[int((part + 0.5) * len(by_size) / others)] for part in _from_the_middle(others)]
    return [longest, typical[0], longest, *typical[1:]][:most]


def until(patience: float, least: int, most: int) -> Callable[[int], bool]:
    """Says after a step whether that is enough: so many seconds are over and so many steps were made."""
    began = time.perf_counter()
    return lambda done: done >= most or (done >= least and time.perf_counter() - began >= patience)


def _from_the_middle(parts: int) -> list[int]:
    """0 .. parts - 1, the middle first, so that few of them are already typical."""
    middle = parts // 2
    return sorted(range(parts), key=lambda part: (abs(part - middle), part))
