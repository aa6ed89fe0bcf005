"""All the faults of one recipe, gathered so that they are told at once and in the order of its lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from tutelage.errors import Several, TutelageError


@dataclass(frozen=True)
class Spot:
    """Where something was written.

    Attributes:
        text: how an error begins, such as ``recipe.yaml:7``.
        order: position among the other spots of the same recipe.
    """

    text: str
    order: int = 0


@dataclass
class Faults:
    """A list of faults that grows while a recipe is read.

    Attributes:
        found: every fault once, with the order of its spot.
        told: how often a fault was told; it also grows where an arm repeats what is known.
    """

    found: list[tuple[int, TutelageError]] = field(default_factory=list)
    told: int = 0

    def add(self, spot: Spot, problem: str, *, expected: str, fix: str) -> None:
        """Remember a fault; one that is known already (arms share words) is not told twice."""
        self.tell(spot, TutelageError(f"{spot.text}: {problem}", expected=expected, fix=fix))

    def tell(self, spot: Spot, error: TutelageError) -> None:
        """Remember an error whose text is complete; what was typed cannot break its three lines."""
        error.problem, error.expected = printable(error.problem), printable(error.expected)
        error.fix = printable(error.fix)
        self.told += 1
        if all(str(known) != str(error) for _, known in self.found):
            self.found.append((spot.order, error))

    def raise_any(self) -> None:
        """Raise what was found: nothing, the one fault, or `Several`."""
        ordered = [error for _, error in sorted(self.found, key=lambda pair: pair[0])]
        if len(ordered) == 1:
            raise ordered[0]
        if ordered:
            raise Several(ordered)


def printable(text: str) -> str:
    """Text on one line, with an escape for whatever a terminal would obey instead of show."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
