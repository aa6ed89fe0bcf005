"""How many tokens a row may have so that every model takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.errors import TutelageError
from tutelage.interfaces import Teacher
from tutelage.models import LanguageModel


def fitting_length(asked: int | None, models: Sequence[LanguageModel | Teacher]) -> int:
    """Tokens in a row that all models take: what was asked for, or up to 512.

    Raises:
        TutelageError: a model takes fewer than were asked for.
    """
    for model in models:
        if asked is not None and (getattr(model, "longest", None) or asked) < asked:
            raise too_long(asked, model)
    return asked or min([512, *(most for model in models if (most := getattr(model, "longest", None)))])


def too_long(length: int, model: Any, *, by_writing: bool = False) -> TutelageError:
    """The error for rows that are longer than a model's positions, or will be once they are written on."""
    shorter = f"write `max_length: {model.longest}`, or less"
    if by_writing:
        shorter = "write fewer `max_new_tokens:`, or `prompt_tokens:`, under `samples:`"
    return TutelageError(
        f"rows of {length} tokens for '{model.name}', which has {model.longest} positions",
        expected=f"rows of at most {model.longest} tokens",
        fix=shorter,
    )
