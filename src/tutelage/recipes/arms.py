"""The keys at the top of a recipe, and the arms of a study: the same recipe with some keys changed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tutelage.errors import listed, nearest
from tutelage.recipes.faults import Faults
from tutelage.recipes.overlay import overlaid
from tutelage.recipes.reading import Reader
from tutelage.recipes.recipe import WORDS
from tutelage.recipes.tree import Node

KEYS = {
    "out": "folder of the run; a second run in the same folder goes on",
    "student": "the model to be trained: a path or hub name, or `{config, tokenizer}` for a new one",
    "teacher": "where the distribution comes from: a path or hub name, a mapping with `kind`, or `none`",
    "divergence": "how student and teacher are compared: a name, or a mapping with `kind`; short for an "
    "objective of one term",
    "objective": "instead of `divergence`: a list of terms",
    "samples": "on whose text: a mapping with `kind`",
    "estimator": "how the expectation over text becomes a gradient: a name, or a mapping with `kind`",
    "constraint": "what the weights must obey: a name, or a mapping with `kind`",
    "plan": "what compute to spend; `none` is what there is",
    "training": "how long and how fast",
    "evaluation": "held-out text to measure on, or `none`",
    "seed": "a whole number; every draw of chance follows from it",
    "seeds": "instead of `seed`: a list, one run each",
    "arms": "a mapping of names to changes of the keys above: one run each, to be compared",
    "control": "the arm that the others are compared with",
}
"""Every key at the top of a recipe."""

NOT_IN_AN_ARM = ("out", "seed", "seeds", "arms", "control")
RESERVED_ARMS = ("teacher", "untouched")


def arm_nodes(root: Node, faults: Faults) -> dict[str, Node]:
    """Each arm laid over the rest of the recipe."""
    node = root.value.get("arms")
    if node is None or node.value in (None, {}):
        return {}
    if not isinstance(node.value, dict):
        faults.add(
            node.spot,
            f"`arms` is {node.shown()}",
            expected="a mapping of names to changes",
            fix="write for instance `arms: {sft: {divergence: cross_entropy}}`",
        )
        return {}
    base = Node(
        {key: item for key, item in root.value.items() if key in WORDS or key == "divergence"}, root.spot
    )
    found = {}
    for name, arm in node.value.items():
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,60}", name) or name in RESERVED_ARMS:
            faults.add(
                arm.spot,
                f"'{name}' cannot be the name of an arm",
                expected=f"letters, digits, `_`, `-` and `.`, and not {listed(RESERVED_ARMS)}",
                fix="choose another name",
            )
        elif arm.value is not None and not isinstance(arm.value, dict):
            faults.add(
                arm.spot,
                f"the arm `{name}` is {arm.shown()}",
                expected="a mapping of changes",
                fix=f"write for instance `{name}: {{divergence: reverse_kl}}`",
            )
        else:
            changes = Node(arm.value or {}, root.spot, path=True)
            _not_in_an_arm(changes, name, faults)
            found[name] = overlaid(base, changes, faults)
    return found


def _not_in_an_arm(arm: Node, name: str, faults: Faults) -> None:
    for key, node in arm.value.items():
        if key in NOT_IN_AN_ARM or key not in KEYS:
            allowed = [one for one in KEYS if one not in NOT_IN_AN_ARM]
            close = nearest(key, allowed)
            faults.add(
                node.spot,
                f"'{key}' cannot be changed by the arm `{name}`",
                expected=listed(allowed),
                fix=f"write `{close}:`" if close else "write it at the top of the recipe",
            )


def control_arm(root: Node, reader: Reader, arms: Mapping[str, Node]) -> str | None:
    """The name of the arm that the others are compared with, or None."""
    node = root.value.get("control")
    if node is None or node.value is None:
        return None
    if not isinstance(node.value, str) or node.value not in arms:
        close = nearest(str(node.value), arms)
        reader.faults.add(
            node.spot,
            f"`control` is {node.shown()}, which is no arm",
            expected=listed(arms) if arms else "a recipe with `arms:`",
            fix=f"write `control: {close}`" if close else "delete the line, or add that arm",
        )
        return None
    return node.value
