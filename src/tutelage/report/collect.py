"""The files of a run or study folder, read and checked; nothing here knows about HTML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tutelage.errors import Damaged, TutelageError
from tutelage.report.schema import MOST_STEPS, Arm, Curve, Heat, Prompted, Results, RunFile, finite


@dataclass(frozen=True)
class Findings:
    """All that a report is made of.

    Attributes:
        folder: where it was read.
        run: what was run.
        results: what was measured, or None while a run is under way.
        arms: the arms with their curves; without results, those whose metrics were found.
        texts: what was written to each prompt; empty if nobody was asked.
        heat: one text token by token, for each arm that was compared with a teacher.
        remarks: what a reader should know about the files, as sentences.
    """

    folder: Path
    run: RunFile
    results: Results | None
    arms: tuple[Arm, ...]
    texts: tuple[Prompted, ...]
    heat: tuple[Heat, ...]
    remarks: tuple[str, ...]


def collect(folder: str | Path) -> Findings:
    """Read a run folder or a study folder.

    Raises:
        TutelageError: the folder does not exist or holds no run.
        Damaged: one of its files is not what a run writes; the error names file and place.
    """
    folder = Path(folder)
    run = _read(_run_file(folder), RunFile)
    results = _optional(folder / "results.json", Results)
    arms = list(results.arms) if results else []
    remarks: list[str] = []
    alone = Arm(name=arms[0].name if len(arms) == 1 else "student", seeds=run.all_seeds[:1] or (0,))
    logged = _logged(folder, alone, remarks)
    known = {arm.name for arm in arms}
    arms = [_with_curves(arm, logged.get(arm.name, ())) for arm in arms]
    arms += [Arm(name=name, curves=curves) for name, curves in logged.items() if name not in known]
    if results is None:
        remarks.append("The run has no results.json yet: it is under way, or it was stopped before its end.")
    return Findings(
        folder=folder,
        run=run,
        results=results,
        arms=tuple(arms),
        texts=_optional(folder / "texts.json", tuple[Prompted, ...]) or (),
        heat=_optional(folder / "heat.json", tuple[Heat, ...]) or (),
        remarks=tuple(remarks),
    )


def _run_file(folder: Path) -> Path:
    """The path of ``run.json``, or the error for a folder that is no run's."""
    path = folder / "run.json"
    if path.is_file():
        return path
    why = (
        "holds no run.json" if folder.is_dir() else "is not a folder" if folder.exists() else "does not exist"
    )
    near = sorted(child.parent for child in folder.glob("*/run.json")) if folder.is_dir() else []
    raise TutelageError(
        f"{folder} {why}",
        expected="the folder of a run or a study (`out:` of its recipe), with its run.json",
        fix=f"name {near[0]}" if near else "name the folder that `tutelage run` or `tutelage demo` printed",
    )


def _optional(path: Path, kind: Any) -> Any:
    return _read(path, kind) if path.is_file() else None


def _read(path: Path, kind: Any) -> Any:
    """The content of a JSON file, checked against ``kind``."""
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise _damaged(f"{path}:{error.lineno}", f"not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(str(path), "not JSON that can be read") from error
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise _damaged(str(path), f"`{place}`: {first['msg'][:1].lower()}{first['msg'][1:]}") from error


def _text(path: Path) -> str:
    """The text of a file; bytes that are not UTF-8 become replacement characters."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Damaged(
            f"{path}: cannot be read ({error.strerror})",
            expected="a file on a disk that works, readable by you",
            fix="mend its permissions, or copy the folder to where you may read it",
        ) from error


def _damaged(place: str, why: str) -> Damaged:
    return Damaged(
        f"{place}: {why}",
        expected="the file as `tutelage run` wrote it",
        fix="run the same `tutelage run` again: it writes the file anew, from the state it left",
    )


def _with_curves(arm: Arm, logged: tuple[Curve, ...]) -> Arm:
    """The arm itself if its results hold curves, else with those of its metrics."""
    return arm if arm.curves or not logged else arm.model_copy(update={"curves": logged})


def _logged(folder: Path, alone: Arm, remarks: list[str]) -> dict[str, tuple[Curve, ...]]:
    """Curves from the metrics of a plain run (its arm is ``alone``), or of every arm and seed of a study."""
    found: dict[str, list[Curve]] = {}
    if (folder / "metrics.jsonl").is_file():
        found[alone.name] = [_curve(folder, "metrics.jsonl", alone.seeds[0], remarks)]
    for path in sorted(folder.glob("arms/*/seed-*/metrics.jsonl")):
        digits = path.parent.name.removeprefix("seed-")
        seed = int(digits) if digits.isdecimal() else 0
        inside = path.relative_to(folder).as_posix()
        found.setdefault(path.parent.parent.name, []).append(_curve(folder, inside, seed, remarks))
    ordered = {name: sorted(curves, key=lambda curve: curve.seed) for name, curves in found.items()}
    return {name: tuple(curve for curve in curves if curve.step) for name, curves in ordered.items()}


def _curve(folder: Path, inside: str, seed: int, remarks: list[str]) -> Curve:
    """One ``metrics.jsonl`` as a curve; where a step stands twice, the later line counts."""
    rows: dict[int, dict[str, Any]] = {}
    for row in _lines(folder, inside, remarks):
        rows.setdefault(row["step"], {}).update(row)
    steps = sorted(rows)
    names = sorted({name for row in rows.values() for name in row} - {"step", "seed"})
    lists = {name: [finite(rows[step].get(name)) for step in steps] for name in names}
    return Curve.model_validate({"seed": seed, "step": steps, "values": lists})


def _lines(folder: Path, inside: str, remarks: list[str]) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``. A last line cut short by a kill is left out, and said."""
    path = folder / inside
    lines = _text(path).splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not (isinstance(row["step"], int) and 0 <= row["step"] <= MOST_STEPS):
                raise ValueError(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                remarks.append(
                    f"The last line of {inside} was cut short (a kill while it was written); it is left out."
                )
                break
            raise _damaged(f"{path}:{number}", "not a JSON object with a `step` of 0 or more") from error
        rows.append(row)
    return rows
