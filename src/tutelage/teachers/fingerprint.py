"""What tells one teacher from another: its kind, its options and the hashes of its weights; no paths."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from tutelage.interfaces import Teacher
from tutelage.models import weights_digest

NAMES = ("tokenizer",)
"""Options that say where something lies whose content is proved elsewhere."""


def fingerprint(teacher: Teacher, dtype: str) -> dict[str, Any]:
    """Plain JSON values that are equal for teachers that say the same.

    A teacher may have a method of this name that answers for itself.

    Args:
        teacher: described or open; weights are read from files, never loaded.
        dtype: floating-point type where a model does not say its own.

    Raises:
        TutelageError: a checkpoint has no safetensors to be told apart by.
    """
    own = getattr(teacher, "fingerprint", None)
    if own is not None:
        return own()
    told: dict[str, Any] = {"kind": type(teacher).__name__}
    for name, value in _options(teacher):
        if name == "model":
            told["weights"] = weights_digest(value)
        elif name == "dtype":
            told["dtype"] = value or dtype
        elif isinstance(value, Teacher):
            told[name] = fingerprint(value, dtype)
        elif isinstance(value, tuple) and any(isinstance(item, Teacher) for item in value):
            told[name] = [fingerprint(item, dtype) for item in value]
        elif name not in NAMES:
            told[name] = list(value) if isinstance(value, tuple) else value
    return told


def members(teacher: Teacher) -> Iterator[Teacher]:
    """The teacher itself and every teacher inside it."""
    yield teacher
    for _, value in _options(teacher):
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Teacher):
                yield from members(item)


def _options(teacher: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(teacher):
        if field.repr and not field.name.startswith("_"):
            yield field.name, getattr(teacher, field.name)
