"""Runs to fit a law to, from the folders that `tutelage run` left.

The law is about models trained on text (cross-entropy against the gold tokens) and students of one teacher
(forward KL, temperature 1, the data set's text). What else a folder holds is left out, with a sentence that
says which run and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import Damaged, TutelageError
from tutelage.plans.runs import Trained, read_table

RECORD, MEASURED, METRICS = "run.json", "measured.json", "metrics.jsonl"
_WHOLE = ("model", "cached")


def read_runs(path: Path) -> tuple[list[Trained], list[str]]:
    """Runs of a table (a file) or of all run folders below a folder, and what was left out.

    Raises:
        TutelageError: nothing is there, or it cannot be read.
    """
    return read_folders(path) if path.is_dir() else read_table(path)


def read_folders(path: Path) -> tuple[list[Trained], list[str]]:
    """The runs of all folders below ``path`` that hold a run.json; sentences about those left out.

    Raises:
        TutelageError: there is none that a law is about.
        Damaged: a file of one is not what `tutelage run` wrote.
    """
    records = sorted(path.rglob(RECORD))
    runs: list[Trained] = []
    said: list[str] = []
    for record in records:
        for name, folder, recipe in _jobs(record):
            label = str(folder.relative_to(path)) if folder != path else folder.name
            odd = _outside(folder, recipe)
            if odd:
                said.append(f"{label} ({name}) is left out: {odd}")
                continue
            run, caution = _run(label, folder, recipe)
            runs.append(run)
            if caution:
                said.append(f"{label}: {caution}")
    if not runs:
        why = f"; {said[0]}" if said else ""
        raise TutelageError(
            f"{path}: of {len(records)} run folders none holds a run that a law is about{why}",
            expected="runs of `tutelage run` with held-out text: cross-entropy on gold tokens, or forward KL "
            "from one teacher",
            fix="`tutelage plan sweep` writes the recipes of such a study; a CSV with N, D, L serves too",
        )
    return runs, said


def _jobs(record: Path) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Arm, folder and recipe of every run that a run.json speaks of."""
    found = _json(record)
    recipe = found.get("recipe")
    if not isinstance(recipe, dict):
        raise _damaged(record, "has no recipe")
    arms = recipe.get("arms") or ({"student": {}} if "seeds" in recipe else None)
    if arms is None:
        yield "student", record.parent, recipe
        return
    for name, changes in arms.items():
        for seed in recipe.get("seeds") or [recipe.get("seed", 0)]:
            yield name, record.parent / "arms" / name / f"seed-{seed}", {**recipe, **changes}


def _outside(folder: Path, recipe: Mapping[str, Any]) -> str:
    """Why no law is about a run; empty where one is."""
    if not (folder / MEASURED).is_file():
        return "it is not finished"
    measured = _json(folder / MEASURED)
    if "models" not in measured:
        return f"its {MEASURED} does not say how large the student is without embeddings; run it again"
    if not measured.get("tokens"):
        return "it was not measured on held-out text; give the recipe an `evaluation`"
    student, samples = recipe.get("student") or {}, recipe.get("samples") or {}
    if student.get("lora_rank"):
        return "only adapters were trained"
    if samples.get("kind") != "dataset":
        return f"its text is not the data set's ({samples.get('kind')})"
    if (recipe.get("constraint") or {}).get("kind", "none") != "none":
        return "its weights were constrained"
    terms = recipe.get("objective") or []
    if len(terms) != 1:
        return f"its objective has {len(terms)} terms"
    term = terms[0]
    kind = _kind(term.get("divergence"))
    if term.get("temperature", 1.0) != 1.0:
        return f"temperature {term['temperature']:g}; the law is about 1"
    if term.get("standardise"):
        return "logits were standardised"
    if term.get("against") == "gold":
        return (
            "" if kind == "cross_entropy" else f"{kind} against gold tokens; the law is about cross-entropy"
        )
    if kind != "forward_kl" or any(key != "kind" for key in term["divergence"]):
        return f"{kind} from the teacher; the law is about forward KL"
    teacher = _kind(recipe.get("teacher"))
    return "" if teacher in _WHOLE else f"its teacher is no single model ({teacher})"


def _run(label: str, folder: Path, recipe: Mapping[str, Any]) -> tuple[Trained, str]:
    measured, where = _json(folder / MEASURED), folder / MEASURED
    numbers, student = measured.get("numbers", {}), measured["models"].get("student", {})
    taught = recipe["objective"][0].get("against") != "gold"
    theirs = measured["models"].get("teacher", {}) if taught else {}
    teacher = recipe.get("teacher") or {}
    try:
        run = Trained(
            label,
            float(student["inner_parameters"]),
            _tokens(folder / METRICS),
            float(numbers["student_nats"]),
            str(teacher.get("model") or teacher.get("cache") or teacher) if taught else "",
            float(numbers["teacher_nats"]) if taught else None,
            float(theirs["inner_parameters"]) if "inner_parameters" in theirs else None,
            None,
            "",
            str(student.get("vocabulary_sha256", "")),
            str(folder),
        )
    except (KeyError, TypeError) as error:
        raise _damaged(where, f"lacks {error}") from error
    if taught and theirs and theirs.get("vocabulary_sha256") != student.get("vocabulary_sha256"):
        return run, "student and teacher have different vocabularies; the loss is on the tokens they share"
    if (recipe.get("student") or {}).get("model"):
        return run, "it went on from a model that exists; the tokens that this one had seen are not counted"
    return run, ""


def _tokens(metrics: Path) -> float:
    try:
        lines = metrics.read_text(encoding="utf-8").splitlines()
        return float(
            next(told for told in map(json.loads, reversed(lines)) if "counted_tokens" in told)[
                "counted_tokens"
            ]
        )
    except (OSError, ValueError, StopIteration) as error:
        raise _damaged(metrics, "does not say how many tokens were counted") from error


def _kind(word: Any) -> str:
    return str(word.get("kind", "none")) if isinstance(word, dict) else str(word)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise _damaged(path, "is no table of names")
    return found


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(
        f"{path}: {why}",
        expected="the folder of a run as `tutelage run` left it",
        fix="run it again, or take the folder away",
    )
