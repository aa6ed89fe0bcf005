"""A number that grows while a run goes on: the schedule of TAID, and what it has to be compared with.

Host arithmetic in float64. The state goes in and out through `state_dict`; nothing else remembers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tutelage.errors import OutOfRange, TutelageError

EPSILON = 1e-15

Kind = Literal["fixed", "linear", "exponential", "adaptive"]


@dataclass(frozen=True)
class Ramp:
    """How ``t`` goes from its first value to its last.

    After step ``n`` (from 0) of ``N``, with the loss ``J`` of that whole step:

    - ``fixed``: ``t`` stays `start`.
    - ``linear``: ``start + (end - start) n / N``, the floor of the other two.
    - ``exponential``: at least the floor, and ``t + step_size / 2 * (1 - t)``.
    - ``adaptive``: the same, with the logistic function of the momentum of ``J``'s relative decrease
      instead of 1/2.

    The first step only remembers its loss. By this rule the last step has ``n = N - 2`` and never sees `end`;
    with `reach_end` the floor is ``(n + 1) / (N - 1)`` of the way, from the first step on.

    Attributes:
        kind: which of them.
        start: the first value, from 0 to 1.
        end: the cap, above `start`, at most 1.
        steps: optimiser steps of the run, ``N``.
        step_size: how fast ``t`` may run ahead, from 0 to 1; the paper's alpha.
        momentum: of the relative decrease, from 0 to below 1; the paper's beta.
        reach_end: whether the last step has `end`.
        clip: a relative decrease beyond it counts as much; None for no bound.
        guard: whether a loss that is next to nothing gives no decrease (the official code divides by it).

    Source: Shing et al. 2025, TAID, arXiv:2501.16937; ``exponential``, `reach_end`, `clip` and the guard are
    derived.
    """

    kind: Kind = "adaptive"
    start: float = 0.4
    end: float = 1.0
    steps: int = 1
    step_size: float = 5e-4
    momentum: float = 0.99
    reach_end: bool = False
    clip: float | None = None
    guard: bool = True

    def __post_init__(self) -> None:
        wrong = [
            ("t_start", self.start, "a number from 0 to 1", 0 <= self.start <= 1),
            ("t_end", self.end, "a number from 0 to 1", 0 <= self.end <= 1),
            (
                "t_end",
                self.end,
                f"a number above t_start, {self.start:g}",
                self.kind == "fixed" or self.start < self.end,
            ),
            ("step_size", self.step_size, "a number from 0 to 1", 0 <= self.step_size <= 1),
            ("momentum", self.momentum, "a number from 0 to below 1", 0 <= self.momentum < 1),
            ("steps", self.steps, "a number from 1 up", self.steps >= 1),
            ("clip", self.clip, "a number above 0, or none", self.clip is None or self.clip > 0),
        ]
        for name, value, expected, holds in wrong:
            if not holds:
                raise OutOfRange(f"{name} is {value}", expected=expected, fix=f"change `{name}`")

    def floor(self, step: int) -> float:
        """The linear ramp after step ``step``: ``t`` is never below it."""
        if self.kind == "fixed":
            return self.start
        if not self.reach_end:
            return self.start + (self.end - self.start) * step / self.steps
        share = 1.0 if self.steps == 1 else min(1.0, (step + 1) / (self.steps - 1))
        return self.start + (self.end - self.start) * share

    @property
    def inert(self) -> bool:
        """Whether the ramp is so steep that feedback cannot be ahead of it at the beginning."""
        if self.kind not in ("adaptive", "exponential") or self.start == 1:
            return False
        return self.step_size * self.steps <= 2 * (self.end - self.start) / (1 - self.start)


class Schedule:
    """Where a `Ramp` has got to.

    Attributes:
        ramp: the rule.
        t: the value for the step that is being made.
        momentum: of the relative decrease of the loss.
        previous: the last finite loss, or None.
        step_number: the step that is being made, from 0.
        skipped: losses that were not finite.
    """

    def __init__(self, ramp: Ramp) -> None:
        self.ramp = ramp
        self.t = ramp.end if ramp.reach_end and ramp.steps == 1 and ramp.kind != "fixed" else ramp.start
        self.momentum = 0.0
        self.previous: float | None = None
        self.step_number = 0
        self.skipped = 0

    def step(self, loss: float | None, step: int) -> None:
        """Go on after optimiser step ``step``, whose loss over all micro-batches and processes is given.

        Only ``adaptive`` looks at it: the others take None. One that is not finite moves nothing but the
        floor: ``t`` never falls.

        Raises:
            TutelageError: ``step`` is not the one that is being made: one was counted twice or not at all.
        """
        if step != self.step_number:
            raise TutelageError(
                f"the schedule was told of step {step} in step {self.step_number}",
                expected="one call for every optimiser step, in their order",
                fix="call it once a step, with all micro-batches in it, and never for held-out text",
            )
        ahead = self.t
        if self.ramp.kind == "exponential" and step >= 1:
            ahead = self.t + self.ramp.step_size / 2 * (1 - self.t)
        elif self.ramp.kind == "adaptive":
            ahead = self._ahead(math.nan if loss is None else loss)
        if step >= 1 or self.ramp.reach_end:
            self.t = min(self.ramp.end, max(self.t, self.ramp.floor(step), ahead))
            self.t = self.ramp.start if self.ramp.kind == "fixed" else self.t
        self.step_number += 1

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ramp": asdict(self.ramp),
            "t": self.t,
            "momentum": self.momentum,
            "previous": self.previous,
            "step": self.step_number,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            TutelageError: it belongs to another rule.
        """
        other = [key for key, value in asdict(self.ramp).items() if state["ramp"].get(key) != value]
        if other:
            key = other[0]
            raise TutelageError(
                f"the saved schedule has {key} {state['ramp'].get(key)}, this one {asdict(self.ramp)[key]}",
                expected="the schedule that was saved: another number of steps moves its floor",
                fix="put the old value back, or begin in a new folder",
            )
        self.t, self.momentum, self.previous = state["t"], state["momentum"], state["previous"]
        self.step_number, self.skipped = state["step"], state["skipped"]

    def _ahead(self, loss: float) -> float:
        """Where feedback would take ``t``."""
        ramp, previous = self.ramp, self.previous
        if not math.isfinite(loss):
            self.skipped += 1
            return self.t
        self.previous = loss
        if previous is None:
            return self.t
        decrease = (previous - loss) / (previous + EPSILON)
        if ramp.guard and previous <= EPSILON:
            decrease = 0.0
        if ramp.clip is not None:
            decrease = max(-ramp.clip, min(ramp.clip, decrease))
        self.momentum = ramp.momentum * self.momentum + (1 - ramp.momentum) * decrease
        return self.t + ramp.step_size * logistic(self.momentum) * (1 - self.t)


def logistic(x: float) -> float:
    """``1 / (1 + exp(-x))``, without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))
