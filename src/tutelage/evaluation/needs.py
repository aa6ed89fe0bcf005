"""What a measure needs before it can be taken, and in which unit it comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tutelage.errors import TutelageError

F = TypeVar("F", bound=Callable[..., object])

HELD_OUT = "held-out text"
TEACHER = "a teacher"
FIRST_TOKEN = "a teacher whose likeliest token is known"
TEXTS = "texts that the student writes"
REFERENCES = "reference texts"
LIVE_TEACHER = "a teacher that answers about any text"
WRITING_TEACHER = "a teacher that writes"


def needing(*needs: str, unit: str, better: str = "", library: str | None = None) -> Callable[[F], F]:
    """Say of a measure what it needs, its unit, and whether ``lower`` or ``higher`` is better.

    Args:
        needs: names of this file.
        unit: of the value.
        better: ``lower``, ``higher``, or "" where nobody can say.
        library: what it imports of the extra `evaluation`.
    """

    def marked(measure: F) -> F:
        known = {"needs": frozenset(needs), "unit": unit, "better": better, "library": library}
        for name, value in known.items():
            setattr(measure, name, value)
        return measure

    return marked


def nothing_to_measure() -> TutelageError:
    """The error for students without text and without tasks."""
    return TutelageError(
        "nothing to measure the students on",
        expected="held-out text, tasks of lm-eval, or both",
        fix="write for instance `--data data/dolly/eval.jsonl.gz`",
    )
