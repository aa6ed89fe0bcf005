"""What is kept of a reproduction: arms x seeds with every number, verdicts, and how it was made."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.reproductions.claims import judged
from tutelage.reproductions.paired import Scores, scores_of_json
from tutelage.reproductions.parts import Piece
from tutelage.reproductions.work import Work
from tutelage.run import provenance

PROVES_NOTHING = "a smoke test: it shows that the path works and proves nothing"


def recorded(work: Work, minutes: float, command: str) -> dict[str, Any]:
    """The document that `reproductions/NAME.json` holds."""
    of, seeds = work.reproduction, work.seeds
    by_seed: dict[int, dict[str, Mapping[str, float]]] = {}
    scores: dict[int, dict[str, Scores]] = {}
    courses: dict[str, list[Mapping[str, Any]]] = {}
    seconds = 0.0
    for seed in seeds:
        by_seed[seed], scores[seed] = {}, {}
        for name, piece in work.pieces(seed).items():
            found = work.found(seed, piece)
            assert found is not None, f"{name} of seed {seed} is not done"
            seconds += 0.0 if piece.shared and seed != seeds[0] else found["processor_seconds"]
            by_seed[seed][name] = found["numbers"]
            # A result that was kept before there were scores has none.
            scores[seed][name] = scores_of_json(found.get("scores", {}))
            courses.setdefault(name, []).append(found.get("courses", {}))
    shown = [piece for piece in work.pieces(seeds[0]).values() if piece.shown]
    findings = [judged(claim, by_seed, scores).to_json() for claim in of.claims]
    if work.smoke:
        findings = [finding | {"verdict": PROVES_NOTHING} for finding in findings]
    return {
        "name": of.name,
        "paper": of.paper,
        **({"smoke": PROVES_NOTHING} if work.smoke else {}),
        **({"full": True} if work.full else {}),
        "command": command,
        "minutes": round(minutes, 2),
        "processor_minutes": round(seconds / 60, 2),
        "seeds": list(seeds),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "machine": provenance.machine("cpu"),
        "finished": provenance.now(),
        "arms": [
            _arm(piece, [by_seed[seed][piece.name] for seed in seeds], courses[piece.name]) for piece in shown
        ],
        "claims": findings,
        "notes": list(of.notes),
    }


def sheet(record: Mapping[str, Any], set_ups: Sequence[str]) -> str:
    """Arms of some set-ups as a table (CSV): a line for each arm and seed, a column for each number."""
    arms = [arm for arm in record["arms"] if arm["set_up"] in set_ups]
    names = list(dict.fromkeys(name for arm in arms for name in arm["numbers"]))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["set_up", "name", "seed", *names])
    for arm in arms:
        for place, seed in enumerate(record["seeds"]):
            values = [arm["numbers"].get(name, [None] * (place + 1))[place] for name in names]
            told = ["" if value is None else f"{value:.10g}" for value in values]
            lines.writerow([arm["set_up"], arm["name"], seed, *told])
    return text.getvalue()


def _arm(
    piece: Piece, numbers: list[Mapping[str, float]], courses: list[Mapping[str, Any]]
) -> dict[str, Any]:
    set_up, _, name = piece.name.rpartition("/")
    names = dict.fromkeys(key for one in numbers for key in one)
    columns = {key: [_plain(one.get(key, math.nan)) for one in numbers] for key in names}
    drawn = {key: [one[key] for one in courses] for key in courses[0]}
    arm = {"set_up": set_up, "name": name, "what": piece.what, "numbers": columns}
    return arm | ({"courses": drawn} if drawn else {})


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
