"""What a reproduction is made of: pieces that are done for every seed, claims, and how it is shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.reproductions.claims import Claim
from tutelage.reproductions.paired import Scores


@dataclass(frozen=True)
class Outcome:
    """What a piece leaves.

    Attributes:
        numbers: by name.
        scores: what each prompt contributed to some of them, for intervals over prompts.
        courses: by name, numbers over a run as ``(step, number)``, or over something else.
    """

    numbers: Mapping[str, float]
    scores: Scores = field(default_factory=dict)
    courses: Mapping[str, Sequence[tuple[int | float, float]]] = field(default_factory=dict)


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
        shared: whether it is the same for every seed: done once, and its numbers are those of all of them.
    """

    name: str
    what: str
    do: Callable[[], Mapping[str, float] | Outcome]
    told: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    shown: bool = True
    shared: bool = False

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
class Course:
    """A figure: numbers of some arms of a set-up over their runs.

    Attributes:
        set_up: whose arms.
        number: name of the course.
        arms: which have a line; one that has no such course has none.
        title: above it.
        told: what to look for.
        up: the number with its unit.
        across: what it goes along, with its unit.
        dots: of the arms, those that are dots instead of a line.
    """

    set_up: str
    number: str
    arms: tuple[str, ...]
    title: str
    told: str
    up: str
    across: str = "step"
    dots: tuple[str, ...] = ()


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
        courses: further figures, over the steps of runs.
        seeds: how many are run unless told otherwise.
        longer: the same with more runs, which goes on from those that both have; None where there is none.
        sheet: set-ups whose arms are also written to a table of their own, a line for each arm and seed.
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
    courses: Sequence[Course] = ()
    seeds: int = 3
    longer: Reproduction | None = None
    sheet: tuple[str, ...] = ()
