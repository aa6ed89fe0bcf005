"""A run in which the student writes is watched: text that has collapsed is never silent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch

from tutelage.errors import TutelageError
from tutelage.evaluation.likeliest import top_overlap
from tutelage.interfaces import Batch, Teacher
from tutelage.run.learner import Learner, meet
from tutelage.run.metrics import Metrics
from tutelage.samples.health import collapsed

ROWS, POSITIONS = 4, 256
"""Of the student's own text, on which its likeliest tokens are compared with the teacher's."""

STEPS = 8
"""Steps over which the health of the text is averaged: the first so many, and the last."""

ADVICE = (
    "lower `learning_rate`, mix the teacher in (`teacher_tokens: 0.2`) or the data set (`on_policy: 0.5`), "
    "or use a divergence that rewards variety (jensen_shannon); the last saved state is still there"
)


class Watch:
    """Compares the student's own text of late with its first.

    Args:
        samples: tell how the text of the last step looked (`noted`), and what is to happen (`on_collapse`).
        metrics: where a warning is said.

    Attributes:
        first: how the text of the first steps looked; kept with the state of a run.
    """

    def __init__(self, samples: Any, metrics: Metrics) -> None:
        self.first: list[dict[str, float]] = []
        self._samples = samples
        self._metrics = metrics
        self._late: deque[dict[str, float]] = deque(maxlen=STEPS)
        self._warned = False

    def step(self, step: int) -> None:
        """Look at the text of the step that was just made.

        Raises:
            TutelageError: it has collapsed, and the recipe says `on_collapse: stop`.
        """
        told = dict(self._samples.noted)
        if "own_length" not in told:
            return
        if len(self.first) < STEPS:
            self.first.append(told)
            return
        self._late.append(told)
        if len(self._late) < STEPS:
            return
        wrong = collapsed(_mean(self._late), _mean(self.first))
        if wrong is None:
            return
        if self._samples.on_collapse == "stop":
            raise TutelageError(
                f"step {step}: the student's own text has collapsed: {wrong}",
                expected="text that stays about as long and as varied as at the beginning",
                fix=ADVICE,
            )
        if not self._warned:
            self._warned = True
            self._metrics.say(
                f"warning: the student's own text has collapsed: {wrong} (step {step}); {ADVICE}"
            )


def overlap(learner: Learner, teacher: Teacher | None, batches: Sequence[Batch]) -> dict[str, float]:
    """``eval_own_overlap``: share of the ten likeliest tokens that both have, on the student's own text.

    Args:
        learner: the student as it is now.
        teacher: None, or one of which only drawn tokens are known, gives nothing.
        batches: the micro-batches of the last step; a few of the student's own rows are looked at.
    """
    for batch in batches:
        own = [number for number, writer in enumerate(batch.writers) if writer == "student"][:ROWS]
        if teacher is None or not own:
            continue
        rows = batch.rows(torch.tensor(own)).to(learner.model.device)
        training = learner.training
        learner.eval()
        with torch.no_grad():
            told, said = meet(teacher(rows), learner.shared), learner.rows(rows)
            learner.train(training)
            if told.needs is not None or not said.positions:
                return {}
            log_q = said.log_probs(slice(0, POSITIONS))
            return {"eval_own_overlap": top_overlap(log_q, told.log_probs(slice(0, POSITIONS), log_q))}
    return {}


def _mean(told: Any) -> dict[str, float]:
    rows = list(told)
    return {name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in rows[0]}
