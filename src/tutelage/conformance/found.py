"""What an identity finds: how far two sides are apart, or why nothing was compared."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class NotChecked(Exception):
    """Nothing can be compared here; the message says why."""


@dataclass(frozen=True)
class Found:
    """One measurement.

    Attributes:
        apart: how far the two sides are apart, in the unit of its bound; infinite where one of them failed.
        said: what else there is to know, for people.
        scale: what the bound is multiplied with, such as the size of the largest logit.
        half: whether numbers of 16 bits had a part in it; None where that is the recipe's own question
            (`Subject.half`).
    """

    apart: float
    said: str = ""
    scale: float = 1.0
    half: bool | None = None


@dataclass(frozen=True)
class Bound:
    """How far apart the two sides of an identity may be.

    Attributes:
        measure: what is compared, where an identity compares several things.
        most: the bound.
        unit: `nats`, `relative` or `standard errors`.
        why: where the bound comes from.
        half: the bound where models or stored numbers have 16 bits; None where that changes nothing.
    """

    measure: str
    most: float
    unit: str
    why: str
    half: float | None = None


Answers = Mapping[str, Found | str]
"""By measure what was found, or why that one was not checked."""


@dataclass(frozen=True)
class Identity:
    """Two ways to one number; a line of `tutelage.conformance.table`.

    Attributes:
        name: of the identity.
        place: ``module:function``, imported only when it is run. The function takes a `Subject` and an
            empty folder that is removed afterwards, gives `Answers` for each measure, may raise `NotChecked`.
        compares: one sentence.
        bounds: one for each measure.
    """

    name: str
    place: str
    compares: str
    bounds: tuple[Bound, ...]

    def load(self) -> Callable[..., Answers]:
        """The function. Raises `MissingExtra` where it needs a library that is not installed."""
        module, _, function = self.place.partition(":")
        loaded: Any = importlib.import_module(f"tutelage.conformance.{module}")
        return getattr(loaded, function)
