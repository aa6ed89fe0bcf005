"""A reproduction in a folder: its pieces for every seed, and the results that lie there."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.files import write_text
from tutelage.reproductions import TABLE
from tutelage.reproductions.paired import scores_to_json
from tutelage.reproductions.parts import Outcome, Piece, Reproduction

EVERY_SEED = "every-seed"
"""The folder, beside those of the seeds, of what is the same for all of them."""

FULL = "-full"
"""The end of the names of files that a longer version writes beside those of the usual one."""


def version(name: str, full: bool) -> Reproduction:
    """A reproduction of the table, or its longer version if that is asked for and there is one."""
    of: Reproduction = TABLE.load(name)()
    return of.longer if full and of.longer is not None else of


@dataclass(frozen=True)
class Work:
    """A reproduction in a folder.

    Attributes:
        name: in the table.
        folder: of seeds and results.
        seeds: which are run.
        smoke: whether it only shows that the path works.
        full: whether it is the longer version.
    """

    name: str
    folder: Path
    seeds: tuple[int, ...]
    smoke: bool
    full: bool = False

    @property
    def reproduction(self) -> Reproduction:
        """What is run."""
        return version(self.name, self.full)

    def pieces(self, seed: int) -> dict[str, Piece]:
        """All pieces of a seed by name."""
        found = self.reproduction.pieces(self.folder / f"seed-{seed}", seed, self.smoke)
        return {piece.name: piece for piece in found}

    def result(self, seed: int, name: str, *, shared: bool = False) -> Path:
        """Where the numbers of a piece are kept."""
        place = EVERY_SEED if shared else f"seed-{seed}"
        return self.folder / place / "results" / f"{name}.json"

    def found(self, seed: int, piece: Piece) -> dict[str, Any] | None:
        """The result of a piece, or None where there is none, or one of something else."""
        path = self.result(seed, piece.name, shared=piece.shared)
        if not path.is_file():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return None
        return told if told.get("identity") == piece.identity else None

    def do(self, seed: int, name: str) -> None:
        """Do one piece and keep its result."""
        piece, began, before = self.pieces(seed)[name], time.monotonic(), time.process_time()
        done = piece.do()
        outcome = done if isinstance(done, Outcome) else Outcome(done)
        told = {
            "identity": piece.identity,
            "numbers": dict(outcome.numbers),
            "scores": scores_to_json(outcome.scores),
            "courses": {name: list(course) for name, course in outcome.courses.items()},
            "seconds": time.monotonic() - began,
            "processor_seconds": time.process_time() - before,
        }
        write_text(self.result(seed, name, shared=piece.shared), json.dumps(told, indent=1) + "\n")
