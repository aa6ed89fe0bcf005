"""One recipe over another: the arms of a study and ``key=value`` words change a recipe by one rule.

A mapping is laid into the mapping it changes, key by key; anything else takes the place of what was
there. A mapping that says what it is (``kind``, or ``model`` or ``config`` of a student) also takes
the place: the options of another kind would mean nothing to it.
"""

from __future__ import annotations

from tutelage.recipes.faults import Faults, Spot
from tutelage.recipes.tree import Node, from_text

SHORTHANDS = {
    "student": "model",
    "divergence": "kind",
    "samples": "kind",
    "estimator": "kind",
    "constraint": "kind",
}
"""What the one word means that may stand where a mapping could; `teacher` has two (`expanded`)."""

ITEMS: dict[str, str] = {"objective": "divergence", "teachers": "teacher"}
"""As what an item of a list is read."""

RIVALS = (
    ("divergence", "objective"),
    ("objective", "divergence"),
    ("seed", "seeds"),
    ("seeds", "seed"),
    ("num_train_epochs", "max_steps"),
)
"""Two ways of saying one thing: whoever says the first later takes back the second."""


def expanded(key: str, node: Node) -> Node:
    """The mapping that a single word is short for; a mapping or a list is given back as it is."""
    if not isinstance(node.value, str):
        return node
    if key == "teacher" and node.value != "none":
        kind, model = Node("model", node.spot), Node(node.value, node.spot)
        return Node({"kind": kind, "model": model}, node.spot)
    if key in SHORTHANDS:
        return Node({SHORTHANDS[key]: Node(node.value, node.spot)}, node.spot)
    return node


def overlaid(base: Node, over: Node, faults: Faults, key: str = "") -> Node:
    """``base`` as ``over`` changes it; neither is touched."""
    if isinstance(over.value, dict) and isinstance(base.value, str):
        base = expanded(key, base)
    if isinstance(base.value, list) and over.path:
        return _item_changed(base, over, faults, key)
    says_what_it_is = isinstance(over.value, dict) and (
        "kind" in over.value or (key == "student" and over.value.keys() & {"model", "config"})
    )
    merges = isinstance(base.value, dict) and isinstance(over.value, dict)
    if not merges or (says_what_it_is and not over.path):
        return over
    merged = dict(base.value)
    for said, taken_back in RIVALS:
        if said in over.value and taken_back not in over.value:
            merged.pop(taken_back, None)
    for name, node in over.value.items():
        merged[name] = overlaid(merged[name], node, faults, name) if name in merged else node
    return Node(merged, base.spot)


def _item_changed(base: Node, over: Node, faults: Faults, key: str) -> Node:
    items = list(base.value)
    for name, node in over.value.items():
        if name.isdecimal() and int(name) < len(items):
            at = int(name)
            items[at] = overlaid(items[at], node, faults, ITEMS.get(key, ""))
        else:
            faults.add(
                node.spot,
                f"`{key}` has no item '{name}'",
                expected=f"a number from 0 to {len(items) - 1}" if items else "a list that is not empty",
                fix=f"count the items of `{key}` from 0",
            )
    return Node(items, base.spot)


def from_word(word: str, order: int, faults: Faults) -> Node | None:
    """The tree of one ``key=value`` of the command line, such as ``training.max_steps=5``."""
    spot = Spot(f"{word} (command line)", order)
    key, equals, text = word.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        faults.add(
            spot,
            "not of the form key=value",
            expected="a key of the recipe, dots between its levels, and a value",
            fix="write for instance `training.max_steps=5` or `divergence=reverse_kl`",
        )
        return None
    node = from_text(text, word, faults, spot)
    if node is None:
        return None
    for name in reversed(names):
        node = Node({name: node}, spot, path=True)
    return node
