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
        return TABLE.load(self.name)()

    def pieces(self, seed: int) -> dict[str, Piece]:
        """All pieces of a seed by name."""
        folder, of = self.folder / f"seed-{seed}", self.reproduction
        longer = of.fuller if self.full else None
        found = of.pieces(folder, seed, self.smoke) if longer is None else longer(folder, seed)
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
