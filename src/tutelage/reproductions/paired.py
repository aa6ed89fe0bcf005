"""Differences between arms that were scored prompt by prompt, with a bootstrap interval over the prompts.

Both arms answer the same prompts, so a resample draws prompts, and everything that belongs to a prompt stays
together. What is averaged over seeds is the difference on each seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import TutelageError
from tutelage.evaluation.diversity import n_grams
from tutelage.evaluation.intervals import Interval
from tutelage.seeds import stream

DRAWS = 2000
ENDS = (0.025, 0.975)
"""Of the interval: 95 %, by percentiles."""


@dataclass(frozen=True)
class Ratio:
    """A mean over parts of prompts, such as tokens.

    Attributes:
        sums: of the measure, by prompt.
        weights: how many parts each prompt has.
    """

    sums: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def prompts(self) -> int:
        """How many there are."""
        return len(self.sums)

    def resampled(self, times: Tensor) -> Tensor:
        """The mean ``[K]`` where every prompt occurs as often as ``times`` ``[K, prompts]`` says."""
        sums, weights = (times.new_tensor(values) for values in (self.sums, self.weights))
        return (times @ sums) / (times @ weights)


@dataclass(frozen=True)
class Distinct:
    """Distinct n-grams as a share of all, pooled over prompts.

    Attributes:
        grams: of every prompt the numbers of its n-grams, each as often as it occurs.
    """

    grams: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], n: int = 4) -> Distinct:
        """Of one text a prompt."""
        numbers: dict[tuple[int, ...], int] = {}
        return cls(tuple(tuple(numbers.setdefault(g, len(numbers)) for g in n_grams(r, n)) for r in rows))

    @property
    def prompts(self) -> int:
        """How many there are."""
        return len(self.grams)

    def resampled(self, times: Tensor) -> Tensor:
        """The share ``[K]`` where every prompt occurs as often as ``times`` ``[K, prompts]`` says."""
        there = times.new_zeros(self.prompts, 1 + max((g for row in self.grams for g in row), default=0))
        for prompt, row in enumerate(self.grams):
            there[prompt, list(row)] = 1
        counts = times.new_tensor([len(row) for row in self.grams])
        return (times @ there > 0).sum(1) / (times @ counts)


Score = Ratio | Distinct
Scores = Mapping[str, Score]
"""Of one arm and seed: name of a measure to what each prompt contributes to it."""


def scores_to_json(scores: Scores) -> dict[str, Any]:
    """Plain JSON values."""
    return {name: asdict(score) for name, score in scores.items()}


def scores_of_json(told: Mapping[str, Any]) -> dict[str, Score]:
    """What `scores_to_json` gave."""
    return {
        name: Distinct(tuple(map(tuple, score["grams"])))
        if "grams" in score
        else Ratio(tuple(score["sums"]), tuple(score["weights"]))
        for name, score in told.items()
    }


@dataclass(frozen=True)
class Below:
    """Margin of ``measure(low) < measure(high) + spare``, with an interval over prompts.

    Attributes:
        low: name of an arm.
        high: name of another; of several the one with the lowest number counts, seed by seed.
        measure: name of a number that was also scored by prompt.
        spare: by how much ``low`` may lie above.
    """

    low: str
    high: str | tuple[str, ...]
    measure: str
    spare: float = 0.0

    def __call__(self, found: Mapping[str, Mapping[str, float]]) -> float:
        """By how much it holds on one seed, from the numbers of all prompts."""
        return found[self._rival(found)][self.measure] - found[self.low][self.measure] + self.spare

    def interval(
        self,
        found: Mapping[int, Mapping[str, Mapping[str, float]]],
        scores: Mapping[int, Mapping[str, Scores]],
    ) -> Interval:
        """The mean margin over seeds with the 95 % percentile interval of resampled prompts.

        Args:
            found: numbers by seed and arm.
            scores: by seed, arm and measure.

        Raises:
            TutelageError: arms or seeds were not scored on equally many prompts.
        """
        pairs = [
            [scores[seed][arm][self.measure] for arm in (self._rival(numbers), self.low)]
            for seed, numbers in found.items()
        ]
        counts = {score.prompts for pair in pairs for score in pair}
        if len(counts) != 1:
            raise TutelageError(
                f"{self.measure} was scored on {sorted(counts)} prompts",
                expected="the same prompts for every arm and seed",
                fix="measure all arms on the same prompts",
            )
        prompts = counts.pop()
        drawn = torch.randint(prompts, (DRAWS, prompts), generator=stream(0, "bootstrap"))
        times = torch.zeros(1 + DRAWS, prompts, dtype=torch.float64)
        times[0] = 1  # all prompts once: the margin itself
        times[1:].scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
        by_seed = [high.resampled(times) - low.resampled(times) for high, low in pairs]
        margins = torch.stack(by_seed).mean(0) + self.spare
        low, high = margins[1:].quantile(torch.tensor(ENDS, dtype=torch.float64)).tolist()
        return Interval(float(margins[0]), low, high)

    def _rival(self, found: Mapping[str, Mapping[str, float]]) -> str:
        names = (self.high,) if isinstance(self.high, str) else self.high
        return min(names, key=lambda name: found[name][self.measure])
