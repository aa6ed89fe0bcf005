"""Tasks of lm-eval, by its own package, for a model that is already open."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tutelage.errors import MissingExtra, TutelageError
from tutelage.evaluation.found import Found, Mean, Reported
from tutelage.models import LanguageModel
from tutelage.models.load import quiet


def run_tasks(model: LanguageModel, tasks: Sequence[str], *, limit: int | None = None) -> dict[str, Found]:
    """Run tasks and read what lm-eval says.

    Args:
        model: on the device where it is.
        tasks: names that lm-eval knows, or YAML files that describe a task.
        limit: documents of a task at most.

    Returns:
        By ``task/metric``, as lm-eval calls both (``arc_easy/acc,none``): a mean over documents where that is
        what lm-eval reports, else its value with its standard error.

    Raises:
        MissingExtra: lm-eval is not installed.
        TutelageError: there is no such task, or it cannot be run (its data may be on a hub).
    """
    evaluate, speaking, managing = lm_eval()
    named, folders = _named(tasks)
    network: Any = model.model
    training = network.training
    # What lm-eval prints would stand in front of the one document of `--json`.
    with contextlib.redirect_stdout(sys.stderr), quiet():
        try:
            manager = managing(include_path=folders or None)
            speaker = speaking(pretrained=network, tokenizer=model.tokenizer, batch_size=8)
            said = evaluate(
                speaker,
                tasks=named,
                task_manager=manager,
                limit=limit,
                bootstrap_iters=1000,
                log_samples=True,
                # Its seeds would be those of the whole process; examples are drawn with one of their own.
                random_seed=None,
                numpy_random_seed=None,
                torch_random_seed=None,
            )
        except Exception as error:  # an unknown name, broken YAML, data out of reach: all look different
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise TutelageError(
                f"lm-eval cannot run {', '.join(tasks)}: {first[0][:200]}",
                expected="tasks that it knows and whose data can be reached, or YAML files of tasks",
                fix="`lm-eval ls tasks` lists the names; a task with local data is a YAML file of your own",
            ) from error
        finally:
            network.train(training)
    found: dict[str, Found] = {}
    for task, numbers in said["results"].items():
        for metric, value in numbers.items():
            if isinstance(value, int | float) and "_stderr" not in metric and metric not in ("sample_len",):
                found[f"{task}/{metric}"] = _found(
                    said["samples"].get(task, []), metric, float(value), numbers
                )
    return found


def lm_eval() -> tuple[Any, Any, Any]:
    """What is used of lm-eval: its evaluation, its model and its tasks.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtra("lm-eval", "evaluation") from error
    return simple_evaluate, HFLM, TaskManager


def _named(tasks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of tasks, and the folders in which those that were named as files are to be found."""
    names, folders = [], []
    for task in tasks:
        if not task.endswith((".yaml", ".yml")):
            names.append(task)
            continue
        try:
            said = yaml.safe_load(Path(task).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise TutelageError(
                f"{task}: cannot be read as a task ({first})",
                expected="a YAML file as lm-eval describes tasks",
                fix="check the path, and that the file is YAML",
            ) from error
        if not isinstance(said, dict) or not isinstance(said.get("task"), str):
            raise TutelageError(
                f"{task}: names no task", expected="a line such as `task: my_task`", fix="add it to the file"
            )
        names.append(said["task"])
        folders.append(str(Path(task).resolve().parent))
    return names, list(dict.fromkeys(folders))


def _found(
    samples: Sequence[Mapping[str, Any]], metric: str, value: float, numbers: Mapping[str, Any]
) -> Found:
    name, _, filtered = metric.partition(",")
    said = [one.get(name) for one in samples if one.get("filter", "none") == filtered]
    rows = [float(row) for row in said if isinstance(row, bool | int | float)]
    if rows and len(rows) == len(said):
        mean = Mean.of_rows([rows])
        if abs(mean.values[0] - value) < 1e-9:
            return mean
    error = numbers.get(f"{name}_stderr,{filtered}")
    return Reported(value, float(error) if isinstance(error, int | float) else math.nan)
