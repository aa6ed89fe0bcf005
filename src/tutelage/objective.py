"""What a student is asked for: a weighted list of terms, each a divergence on the rows of some writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class Term:
    """One term of an objective; reading it imports nothing.

    Attributes:
        divergence: a name of the table of divergences.
        options: what that divergence may be told, such as `beta`; defaults filled in.
        weight: factor of this term in the sum.
        temperature: tempers student and teacher alike; no factor of its square is applied.
        standardise: divide the logits of both by their own standard deviation over the tokens first, so that
            the student need not be as sure as the teacher; `temperature` comes after it.
        on: whose rows count: `all`, or those that `dataset`, `teacher` or `student` wrote.
        against: what the student is compared with: the `teacher`, or the `gold` tokens of the text.
    """

    divergence: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: Annotated[float, "[0, inf)"] = 1.0
    temperature: Annotated[float, "(0, inf)"] = 1.0
    on: Literal["all", "dataset", "teacher", "student"] = "all"
    against: Literal["teacher", "gold"] = "teacher"
    standardise: bool = False

    def __str__(self) -> str:
        name = self.divergence.replace("_", " ")
        options = ", ".join(f"{key} {value}" for key, value in self.options.items())
        words = [f"{self.weight:g} x {name}" if self.weight != 1 else name]
        if options:
            words.append(f"({options})")
        if self.standardise:
            words.append("of standardised logits")
        if self.temperature != 1:
            words.append(f"at temperature {self.temperature:g}")
        if self.against == "gold":
            words.append("with the gold tokens")
        if self.on != "all":
            words.append(f"on what the {self.on} wrote")
        return " ".join(words)
