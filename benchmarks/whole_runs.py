"""Whole runs of tutelage in processes of their own, with the tokens a second that their metrics tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from common import HERE, ROOT, ask

CHILD = HERE / "child.py"

STORIES = {
    "samples": {
        "kind": "dataset",
        "data": str(ROOT / "data/tinystories/train.txt.gz"),
        "max_length": 192,
        "long": "cut",
    },
    "evaluation": {"data": str(ROOT / "data/tinystories/valid.txt.gz"), "max_rows": 40},
    "student": {"model": "package:demo/student"},
    "teacher": {"kind": "model", "model": "package:demo/teacher"},
}
"""The demo's GPT-2 models (2,048 tokens) on TinyStories."""

TRAINING = {
    "learning_rate": 5.0e-4,
    "per_device_train_batch_size": 8,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 5,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}


def training(steps: int, rows: int) -> dict[str, Any]:
    """The recipe's `training:`; nothing is measured or saved before the end."""
    own = {"max_steps": steps, "logging_steps": 1, "per_device_train_batch_size": rows}
    return TRAINING | own | {"eval_steps": steps, "save_steps": steps}


def written(path: Path, recipe: Mapping[str, Any]) -> Path:
    """A recipe as a file."""
    path.write_text(yaml.safe_dump(dict(recipe), sort_keys=False), encoding="utf-8")
    return path


def tutelage(words: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A command line of tutelage in a process of its own.

    Raises:
        RuntimeError: it did not end with status 0.
    """
    done = ask([CHILD, "tutelage", *words], environment)
    if done["status"]:
        raise RuntimeError(f"tutelage {words[0]} ended with status {done['status']}")
    return done


def run(recipe: Path, out: Path, warm: int) -> dict[str, Any]:
    """`tutelage run`: tokens a second from the end of step ``warm`` to the last, and peak memory.

    Starting up, the first steps, and what follows the last step (saving, the report) are not counted.
    """
    done = tutelage(["run", recipe, f"out={out}"])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = {line["step"]: line for line in lines if "counted_tokens" in line}
    first, last = steps[warm], steps[max(steps)]
    return {
        "tokens": last["counted_tokens"] - first["counted_tokens"],
        "seconds": last["seconds"] - first["seconds"],
        "peak_mib": done["peak_mib"],
    }
