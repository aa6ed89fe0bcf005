"""Run the identities on a recipe; what `tutelage check --conformance` does."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path

from tutelage.conformance.found import Answers, Found, Identity, NotChecked
from tutelage.conformance.result import Conformance, Line, line_of
from tutelage.conformance.scratch import scratch
from tutelage.conformance.subject import Subject, opened
from tutelage.conformance.table import IDENTITIES
from tutelage.errors import Damaged, MissingExtra
from tutelage.recipes import Recipe


def conform(recipe: Recipe) -> Conformance:
    """Measure, with a recipe's own models and a few rows of its text, that two ways give one number.

    A study is judged by its first arm with a teacher, with the terms of all arms that have the same one.

    Raises:
        TutelageError: something that the recipe names cannot be used.
    """
    with scratch() as folder:
        return examined(opened(recipe), folder)


def examined(subject: Subject, folder: Path, identities: Iterable[Identity] = IDENTITIES) -> Conformance:
    """Run identities on an open recipe; says on standard error which is running.

    Args:
        subject: the recipe.
        folder: an empty one, for what is made on the way.
        identities: some of the table.
    """
    lines: list[Line] = []
    for identity in identities:
        print(f"checking {identity.name}", file=sys.stderr, flush=True)
        answers = _answers(identity, subject, folder)
        lines += [line_of(identity, bound, answers[bound.measure], subject.half) for bound in identity.bounds]
    return Conformance(
        tuple(lines),
        len(subject.rows),
        subject.batch.counted,
        subject.where,
        tuple(str(term) for term in subject.terms),
        "16 bits" if subject.half else "float32",
    )


def _answers(identity: Identity, subject: Subject, folder: Path) -> Answers:
    room = folder / identity.name.replace(" ", "-")
    room.mkdir()
    try:
        return identity.load()(subject, room)
    except NotChecked as reason:
        return {bound.measure: str(reason) for bound in identity.bounds}
    except MissingExtra as error:
        return {bound.measure: f"{error.problem}: {error.fix}" for bound in identity.bounds}
    except Damaged as error:
        # Of a cache that the recipe names: what is read is not what was written.
        return {bound.measure: Found(math.inf, error.problem) for bound in identity.bounds}
