"""What the tests of conformance share: some identities of the table on an open recipe."""

from __future__ import annotations

from pathlib import Path

from tutelage.conformance.conform import examined
from tutelage.conformance.result import Conformance
from tutelage.conformance.scratch import scratch
from tutelage.conformance.subject import Subject, opened
from tutelage.conformance.table import IDENTITIES
from tutelage.recipes import Recipe

NAMES = tuple(identity.name for identity in IDENTITIES)
IN_PROCESS = tuple(name for name in NAMES if name != "processes")


def part(of: Recipe | Subject, *names: str) -> Conformance:
    """The lines of the named identities; of all that start no process where none is named."""
    subject = of if isinstance(of, Subject) else opened(of)
    wanted = [identity for identity in IDENTITIES if identity.name in (names or IN_PROCESS)]
    assert len(wanted) == len(names or IN_PROCESS)
    with scratch() as folder:
        return examined(subject, folder, wanted)


def answers(found: Conformance) -> dict[str, str]:
    """What was answered, by the name of the line."""
    return {line.name: line.answer for line in found.lines}


def said(found: Conformance) -> dict[str, str]:
    """What was said beside it, by the name of the line."""
    return {line.name: line.said for line in found.lines}


def room(folder: Path) -> list[str]:
    """Names of all files and folders in a folder."""
    return sorted(path.name for path in folder.rglob("*"))
