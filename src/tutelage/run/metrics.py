"""Where a run's numbers go: a file of JSON lines, a tracker if asked for, and the screen."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tutelage.files import write_text

Track = Callable[[Mapping[str, float], int], None]


class Metrics:
    """The numbers of one run, written as they come.

    Every line of ``metrics.jsonl`` is one JSON object with ``step`` first. Losses are in nats per
    counted token.

    Args:
        path: of the file.
        steps: optimiser steps in all.
        every: a line is written every so many steps.
        label: what the screen calls the run.
        quiet: nothing goes to the screen (all processes but the first).
        track: receives the same numbers, for a tracker.
    """

    def __init__(
        self,
        path: Path,
        steps: int,
        every: int,
        label: str,
        *,
        quiet: bool = False,
        track: Track | None = None,
    ) -> None:
        self.path = path
        self.steps = steps
        self.every = every
        self.label = label
        self.quiet = quiet
        self.counted = 0
        self._track = track
        self._began = time.monotonic()
        self._since = self._began
        self._window = 0
        self._resumed = 0
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Metrics:
        if not self.quiet and self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[said]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.steps, said="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(
        self,
        step: int,
        loss: float,
        rate: float,
        norm: float,
        counted: int,
        noted: Mapping[str, float] | None = None,
    ) -> None:
        """One optimiser step: ``loss`` in nats per counted token, ``counted`` tokens in it.

        ``noted`` are further numbers of this very step, such as the length of the student's own text.
        """
        self.counted += counted
        self._window += counted
        if step % self.every and step != self.steps:
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=step)
            return
        now = time.monotonic()
        speed = self._window / max(now - self._since, 1e-9)
        self._since, self._window = now, 0
        numbers = {
            "loss_nats": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "counted_tokens": self.counted,
            "tokens_per_second": speed,
            "seconds": now - self._began,
            **(noted or {}),
        }
        self._write(step, numbers)
        said = f"loss {loss:.4f} nats  {speed:,.0f} tokens/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, said=said)
        else:
            left = (self.steps - step) * (now - self._began) / max(step - self._resumed, 1)
            self.say(f"{self.label}  step {step}/{self.steps}  {said}  {left:.0f} s left")

    def evaluation(self, step: int, numbers: Mapping[str, float]) -> None:
        """What was measured on held-out text after ``step``; keys begin with ``eval_``."""
        if not numbers:
            return
        self._write(step, numbers)
        words = [
            f"{key.removeprefix('eval_').removesuffix('_nats').replace('_', ' ')} {value:.4f}"
            for key, value in numbers.items()
            if math.isfinite(value)
        ]
        self.say(f"{self.label}  step {step}/{self.steps}  held out: {', '.join(words)}")

    def forget_after(self, step: int) -> None:
        """Drop lines of steps after ``step`` (they will be run again) and a line cut short by a kill."""
        self._resumed = step
        if self.quiet or not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def say(self, line: str) -> None:
        """One plain line for people, on standard error."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _write(self, step: int, numbers: Mapping[str, float]) -> None:
        if self._track is not None:
            self._track(numbers, step)
        if not self.quiet:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")
