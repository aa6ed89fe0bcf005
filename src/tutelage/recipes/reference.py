"""The reference of all keys of a recipe, made from the same declarations that check a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tutelage.recipes.arms import KEYS
from tutelage.recipes.reading import EVALUATION, STUDENT, TERM, TRAINING
from tutelage.recipes.shelf import families
from tutelage.recipes.values import wanted
from tutelage.registry import Option, options

_SECTIONS = {
    "student": STUDENT,
    "a term of the objective": TERM,
    "training": TRAINING,
    "evaluation": EVALUATION,
}


def reference() -> str:
    """Markdown: a table of the keys at the top, then one for each mapping and each entry with options."""
    parts = [
        "## Keys at the top\n\n" + _table(["key", "what it says"], [[f"`{k}`", v] for k, v in KEYS.items()])
    ]
    for title, entry in _SECTIONS.items():
        name = title if " " in title else f"`{title}:`"
        hidden = ("options",)
        known = {key: one for key, one in options(entry).items() if key not in hidden}
        parts.append(f"## Keys of {name}\n\n{_options(known)}")
    for family, table in families().items():
        # A recipe's plan is `none`; what the table of plans names is asked on the command line.
        if family in ("recipes", "plans"):
            continue
        for kind, entry in table.items():
            if options(entry):
                parts.append(f"## Options of `{kind}` ({family})\n\n{_options(options(entry))}")
    return "\n".join(parts)


def _options(known: Mapping[str, Option]) -> str:
    rows = [
        [f"`{name}`", wanted(one.annotation), "required" if one.required else _default(one), one.help]
        for name, one in known.items()
    ]
    return _table(["key", "type", "default", "what it says"], rows)


def _default(option: Option) -> str:
    if option.default is None:
        return "none"
    return f"`{json.dumps(option.default, ensure_ascii=False)}`"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
