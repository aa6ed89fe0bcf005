"""What a reproduction is made of: pieces that are done for every seed, claims, and how it is shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.reproductions.claims import Claim


@dataclass(frozen=True)
class Piece:
    """One thing that is done for one seed, in a process of its own, and leaves numbers.

    Attributes:
        name: set-up and arm, such as ``strong/minillm``.
        what: what it is, in a few words.
        do: does it; a second call after a kill goes on.
        told: all that its numbers follow from besides seed and code, as plain JSON values.
        needs: names of the pieces that have to be done before.
        shown: whether it stands in the tables.
    """

    name: str
    what: str
    do: Callable[[], Mapping[str, float]]
    told: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    shown: bool = True

    @property
    def identity(self) -> str:
        """SHA-256 of what was told: a result of something else is not taken for this one's."""
        text = json.dumps({"name": self.name, **self.told}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Column:
    """A number as tables show it.

    Attributes:
        number: its name.
        head: of the column.
        digits: behind the point.
        told: what it is, for the reader.
    """

    number: str
    head: str
    digits: int
    told: str


@dataclass(frozen=True)
class Plane:
    """A figure: every arm of a set-up as a point.

    Attributes:
        set_up: whose arms.
        across, up: names of the two numbers.
        title: above it.
        told: what to look for.
        beside: set-up and name of a further arm that is drawn too, such as the teacher.
    """

    set_up: str
    across: str
    up: str
    title: str
    told: str
    beside: str = ""


@dataclass(frozen=True)
class Reproduction:
    """A paper's claims in miniature.

    Attributes:
        name: in the table.
        paper: its key.
        about: what was done, for the page: paragraphs of Markdown.
        pieces: folder of a seed, seed and whether it is only a smoke test, to everything that is done.
        claims: what is judged.
        columns: of the tables.
        planes: the figures.
        set_ups: names of set-ups with what they are, in the order of the tables.
        notes: what is not measured here and why, and where the test bed differs from what was planned.
    """

    name: str
    paper: str
    about: Sequence[str]
    pieces: Callable[[Path, int, bool], list[Piece]]
    claims: Sequence[Claim]
    columns: Sequence[Column]
    planes: Sequence[Plane]
    set_ups: Mapping[str, str]
    notes: Sequence[str] = field(default_factory=tuple)
