"""What the command line does, as functions: a recipe in, a folder or an answer out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage import run
from tutelage.recipes import Recipe, read
from tutelage.report import write_report


def distil(recipe: str | Path | Mapping[str, Any] | Recipe, **overrides: Any) -> Path:
    """Train a student as a recipe says; what `tutelage run` does.

    Args:
        recipe: a YAML file, a name of the library, a mapping of the same shape, or a `Recipe`.
        **overrides: keys of the recipe to be changed, such as ``training={"max_steps": 5}``.

    Returns:
        The run's folder, with `report.html` in it; a second call with the same recipe goes on where
        the first one stopped.

    Raises:
        TutelageError: the recipe or what it names cannot be used; nothing has been written over.
    """
    return reported(run.distil(read(recipe, **overrides), command="tutelage.distil(...)"))


def reported(folder: Path) -> Path:
    """Write the report of a run, in the first process of several; gives the folder back."""
    if is_first_process():
        write_report(folder)
    return folder


def is_first_process() -> bool:
    """Whether this process speaks for all that `torchrun` started; true where there is only one."""
    return os.environ.get("RANK", "0") == "0"


def check(recipe: str | Path | Mapping[str, Any] | Recipe, **overrides: Any) -> Any:
    """Say whether a recipe is worth starting; what `tutelage check` does. Arguments as in `distil`."""
    return run.check(read(recipe, **overrides))
