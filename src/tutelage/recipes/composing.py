"""From a tree to a `Recipe`: the keys at the top, the arms of a study, and what must fit together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import listed
from tutelage.recipes.arms import KEYS, arm_nodes, control_arm
from tutelage.recipes.faults import Faults, Spot
from tutelage.recipes.reading import Reader
from tutelage.recipes.recipe import WORDS, Recipe, teacher_writes
from tutelage.recipes.shelf import families
from tutelage.recipes.tree import Node, from_python

DEFAULTS: dict[str, Any] = {"estimator": "per_token", "constraint": "none", "training": {}}


def composed(root: Node, folder: Path | None, faults: Faults, name: str) -> Recipe:
    """The recipe that a tree describes.

    Args:
        root: the tree.
        folder: the recipe's folder, for relative paths.
        faults: those that are known already.
        name: how errors about the recipe as a whole begin.

    Raises:
        TutelageError: there is one fault. Several: there are more.
    """
    reader = Reader(faults, folder)
    if not isinstance(root.value, dict):
        faults.add(
            Spot(name),
            f"{root.shown()} instead of a recipe",
            expected="a mapping with at least `out`, `student` and `samples`",
            fix="begin with a recipe of the library; `tutelage list recipes` names them",
        )
        faults.raise_any()
    root = Node(root.value, Spot(name))
    for key, node in root.value.items():
        if key not in KEYS:
            reader.unknown(node.spot, "", key, KEYS)
    out = _out(root, reader)
    arms = arm_nodes(root, faults)
    words = _words(root, reader, faults, needs_objective=not arms)
    changed = {arm: _words(node, reader, faults, needs_objective=True) for arm, node in arms.items()}
    seed, seeds = _seeds(root, reader)
    control = control_arm(root, reader, arms)
    faults.raise_any()
    own = {
        arm: Recipe(out=f"{out}/arms/{arm}", seed=seed, seeds=seeds, **said) for arm, said in changed.items()
    }
    return Recipe(out=out, seed=seed, seeds=seeds, arms=own, control=control, **words)


def _words(root: Node, reader: Reader, faults: Faults, *, needs_objective: bool) -> dict[str, Any]:
    """The words of one recipe or arm as keywords of `Recipe`."""
    said, before = root.value, faults.told
    for key in ("student", "samples"):
        if key not in said:
            _missing(root, faults, key, KEYS[key])
    words = {
        "student": reader.student(said["student"]) if "student" in said else None,
        "samples": reader.samples(said["samples"]) if "samples" in said else None,
        "teacher": reader.teacher(said["teacher"]) if "teacher" in said else None,
        "objective": _objective(root, reader, faults, needs_objective),
        "estimator": reader.word(_or_default(root, "estimator"), "estimator", "estimators"),
        "constraint": reader.word(_or_default(root, "constraint"), "constraint", "constraints"),
        "plan": reader.plan(said["plan"]) if "plan" in said else "none",
        "training": reader.training(_or_default(root, "training")),
        "evaluation": reader.evaluation(said["evaluation"]) if "evaluation" in said else None,
    }
    if faults.told == before:
        _agree(words, root, faults)
    where = {key: node.spot.text for key, node in said.items() if key in WORDS}
    terms = said["objective"].value if "objective" in said else []
    where |= {
        f"objective.{i}": term.spot.text for i, term in enumerate(terms if isinstance(terms, list) else [])
    }
    if "divergence" in said:
        where["objective"] = where["objective.0"] = said["divergence"].spot.text
    return {**words, "where": where}


def _objective(root: Node, reader: Reader, faults: Faults, needed: bool) -> Any:
    said = root.value
    if "divergence" in said and "objective" in said:
        faults.add(
            said["objective"].spot,
            "`divergence` and `objective` both say what is minimised",
            expected="one of the two",
            fix="make `divergence` a term of the `objective`, or delete it",
        )
        return ()
    if "divergence" in said:
        term = reader.term(said["divergence"], "divergence")
        return (term,) if term else ()
    if "objective" in said:
        terms = reader.objective(said["objective"])
        if terms or not needed or said["objective"].value != []:
            return terms
    if needed:
        _missing(root, faults, "divergence", "a divergence by name, or an `objective` of several terms")
    return ()


def _agree(words: Mapping[str, Any], root: Node, faults: Faults) -> None:
    """Words that are right one by one must also fit one another."""
    said, teacher, samples = root.value, words["teacher"], words["samples"]
    alone = [said["divergence"]] if "divergence" in said else []
    nodes = said["objective"].value if "objective" in said else alone
    writers = families()["samples"][samples.kind].writers
    if teacher is None and teacher_writes(samples):
        faults.add(
            said["samples"].spot,
            f"samples of the kind '{samples.kind}' have a teacher write, and there is none",
            expected="a `teacher:` that can write (`kind: model`)",
            fix="add `teacher: PATH`, or change `samples:`",
        )
    for node, term in zip(nodes, words["objective"], strict=True):
        if term.against == "teacher" and teacher is None:
            faults.add(
                node.spot,
                f"{term.divergence} compares the student with a teacher, and there is none",
                expected="a `teacher:`, or terms against the gold tokens",
                fix="add `teacher: PATH`, or write `divergence: cross_entropy`",
            )
        if term.on != "all" and writers and term.on not in writers:
            faults.add(
                node.spot,
                f"a term on the {term.on}'s text, and the samples hold none",
                expected=f"`on:` {listed(['all', *writers])}",
                fix="delete `on:`, or change `samples:`",
            )


def _out(root: Node, reader: Reader) -> str:
    if "out" not in root.value:
        _missing(root, reader.faults, "out", KEYS["out"])
        return ""
    node = root.value["out"]
    out = reader.value(node, "out", "str")
    if out is None:
        return ""
    if not out.strip() or not out.isprintable() or max(map(len, out.split("/"))) > 200 or len(out) > 1000:
        reader.faults.add(
            node.spot,
            f"`out` is {node.shown()}",
            expected="a folder, by a name that a file system takes",
            fix="write for instance `out: runs/first`",
        )
        return ""
    if os.path.isfile(out):
        reader.faults.add(
            node.spot,
            f"`out` is the file '{out}'",
            expected="a folder, or a name that is free",
            fix="choose another name",
        )
    return out


def _seeds(root: Node, reader: Reader) -> tuple[int, tuple[int, ...]]:
    said = root.value
    if "seed" in said and "seeds" in said:
        reader.faults.add(
            said["seeds"].spot, "`seed` and `seeds` both", expected="one of the two", fix="delete one of them"
        )
    seed = reader.value(said["seed"], "seed", 'Annotated[int, "[0, inf)"]') if "seed" in said else 0
    if "seeds" not in said:
        return seed or 0, ()
    node = said["seeds"]
    seeds = reader.value(node, "seeds", 'list[Annotated[int, "[0, inf)"]]')
    if seeds is not None and (not seeds or len(set(seeds)) < len(seeds)):
        reader.faults.add(
            node.spot,
            f"`seeds` {'names one twice' if seeds else 'is empty'}",
            expected="different whole numbers",
            fix="write `seeds: [0, 1, 2]`",
        )
    return seed or 0, seeds or ()


def _or_default(root: Node, key: str) -> Node:
    node = root.value.get(key)
    return node if node is not None else from_python(DEFAULTS[key], Faults(), root.spot)


def _missing(root: Node, faults: Faults, key: str, expected: str) -> None:
    faults.add(
        root.spot, f"`{key}` is missing", expected=expected, fix=f"add a line `{key}: ...` at the top level"
    )
