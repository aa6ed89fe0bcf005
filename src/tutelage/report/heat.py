"""One text, token by token: where student and teacher differ, in nats, and what each expected."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.report.schema import Guess, Heat, HeatToken
from tutelage.report.wording import EN_DASH, clean, percent, plain, short, token_text

EDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Where one shade ends and the next begins, in nats. They are fixed, so that reports can be compared."""

LARGEST = 8
CONTEXT = 9


@dataclass(frozen=True)
class Cell:
    """One token as it is shown.

    Attributes:
        text: as it stands in the text, with line ends made visible.
        breaks: line breaks that follow it.
        level: its shade, 0 to ``len(EDGES)``; None where the token did not count.
        name: the token on its own, blanks made visible.
        nats: the difference before this token.
        student, teacher: each model's first choice with its probability.
        said: all of it in one sentence.
    """

    text: str
    breaks: int
    level: int | None
    name: str
    nats: str
    student: str
    teacher: str
    said: str


@dataclass(frozen=True)
class Largest:
    """A token where the two differ most, with what came before it."""

    before: str
    cell: Cell


@dataclass(frozen=True)
class HeatMap:
    """The map, its legend and the tokens at its top."""

    arm: str
    seed: int | None
    divergence: str
    cells: tuple[Cell, ...]
    legend: tuple[str, ...]
    mean: str
    counted: int
    largest: tuple[Largest, ...]


def heat_of(heats: Sequence[Heat], arm: str | None) -> HeatMap | None:
    """The map of the arm that the report's answer is about, or of the first that can be drawn."""
    ordered = sorted(heats, key=lambda heat: heat.arm != arm)
    return next((drawn for heat in ordered if (drawn := heat_map(heat))), None)


def heat_map(heat: Heat) -> HeatMap | None:
    """The map of one text; None if no token of it counted."""
    cells = tuple(map(_cell, heat.tokens))
    nats = {i: token.nats for i, token in enumerate(heat.tokens) if token.counted and token.nats is not None}
    if not nats:
        return None
    top = sorted(nats, key=lambda i: (-nats[i], i))[:LARGEST]
    return HeatMap(
        arm=heat.arm,
        seed=heat.seed,
        divergence=heat.divergence.replace("_kl", " KL").replace("_", " "),
        cells=cells,
        legend=legend(),
        mean=plain(math.fsum(nats.values()) / len(nats), 3),
        counted=len(nats),
        largest=tuple(Largest(_before(heat, i), cells[i]) for i in top if nats[i] > 0),
    )


def level(nats: float) -> int:
    """The shade of a difference; rounding may leave one just below zero, which is shown as zero."""
    return sum(nats >= edge for edge in EDGES)


def legend() -> tuple[str, ...]:
    """What each shade means, from the lightest on."""
    inner = [f"{short(low)} {EN_DASH} {short(high)}" for low, high in itertools.pairwise(EDGES)]
    return (f"under {short(EDGES[0])}", *inner, f"{short(EDGES[-1])} and more")


def _cell(token: HeatToken) -> Cell:
    counted = token.counted and token.nats is not None
    nats = plain(max(token.nats or 0.0, 0.0), 3) if counted else ""
    student, teacher = _guess(token.student), _guess(token.teacher)
    name = token_text(token.token)
    choices = "".join(
        f"; {who} expected {what}" for who, what in (("student", student), ("teacher", teacher)) if what
    )
    said = f"{name}: {nats} nats{choices}" if counted else f"{name}: not counted"
    mark = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
    text = clean(token.token).replace("\n", mark)
    shade = level(token.nats) if counted and token.nats is not None else None
    return Cell(text or name, token.token.count("\n"), shade, name, nats, student, teacher, said)


def _guess(guess: Guess | None) -> str:
    return f"{token_text(guess[0])} {percent(guess[1])}" if guess else ""


def _before(heat: Heat, position: int) -> str:
    """The tokens before one, on one line."""
    start = max(0, position - CONTEXT)
    text = "".join(token.token for token in heat.tokens[start:position])
    return ("\N{HORIZONTAL ELLIPSIS}" if start else "") + clean(" ".join(text.split("\n")))
