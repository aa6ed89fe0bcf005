"""Tutelage distils machine-learning models: the teacher is a distribution.

Importing this costs nothing; torch is loaded when a name that needs it is used for the first time.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from tutelage.errors import TutelageError

if TYPE_CHECKING:
    from tutelage import (
        citations,
        constraints,
        distribution,
        divergences,
        estimators,
        evaluation,
        plans,
        recipes,
        samples,
        teachers,
    )
    from tutelage.api import check, distil
    from tutelage.divergences.fused import loss
    from tutelage.recipes import Recipe

# Nobody is told what is trained here; a library that is loaded later asks this variable.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_PLACES = {
    "Recipe": "tutelage.recipes:Recipe",
    "check": "tutelage.api:check",
    "distil": "tutelage.api:distil",
    "loss": "tutelage.divergences.fused:loss",
}
_MODULES = (
    "citations",
    "constraints",
    "distribution",
    "divergences",
    "estimators",
    "evaluation",
    "plans",
    "recipes",
    "samples",
    "teachers",
)

__all__ = [
    "Recipe",
    "TutelageError",
    "check",
    "citations",
    "constraints",
    "distil",
    "distribution",
    "divergences",
    "estimators",
    "evaluation",
    "loss",
    "plans",
    "recipes",
    "samples",
    "teachers",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"tutelage.{name}")
    if name in _PLACES:
        module, _, attribute = _PLACES[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("tutelage")
    raise AttributeError(f"module 'tutelage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
