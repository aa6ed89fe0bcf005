"""The main job on a laptop: the demo's recipe, run like any other, and its table at the end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.recipes import load
from tutelage.run.study import distil

RECIPE = "demo"


def demo(out: str, seeds: Sequence[int] = (0, 1, 2)) -> Path:
    """Distil the small student that the package ships from the teacher that it ships, beside control arms.

    Args:
        out: folder of the run.
        seeds: each arm is run with each of them.

    Returns:
        The run's folder, with its report.
    """
    recipe = dataclasses.replace(load(RECIPE), out=str(out), seeds=tuple(seeds))
    return distil(recipe, command="tutelage demo")


def summary(folder: Path) -> str:
    """The table of arms, differences from the control arm and what the models write, for a terminal."""
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    lines = [_row("", "student nats", "KL to teacher", "agreement")]
    for arm in found["arms"]:
        lines.append(_row(arm["name"], *(_mean(arm["numbers"], name) for name in NUMBERS)))
    if "teacher" in found:
        lines.append(_row("(teacher)", f"{found['teacher']['nats_per_token']:.4f}", "0", "1"))
    lines.append("means over seeds, per token of held-out text")
    for difference in found.get("differences", []):
        if difference["metric"] == "student_nats":
            lines.append(_difference(difference, found["compared_with"]))
    texts = folder / "texts.json"
    for sample in (json.loads(texts.read_text(encoding="utf-8")) if texts.exists() else [])[:2]:
        lines += ["", f"prompt: {sample['prompt']}"]
        lines += [f"  {text['writer']:<14} {' '.join(text['text'].split())}" for text in sample["texts"]]
    return "\n".join(lines)


NUMBERS = ("student_nats", "forward_kl_nats", "agreement")


def _row(name: str, *values: str) -> str:
    return f"{name:<16}" + "".join(f"{value:>16}" for value in values)


def _mean(numbers: dict[str, list[float]], name: str) -> str:
    values = numbers.get(name)
    return "" if values is None else f"{sum(values) / len(values):.4f}"


def _difference(difference: dict[str, Any], control: str) -> str:
    interval = ""
    if difference["low"] is not None:
        interval = (
            f" [{difference['low']:+.4f}, {difference['high']:+.4f}] (95 %, {difference['seeds']} seeds)"
        )
        if difference["low"] <= 0 <= difference["high"]:
            interval += ": no difference that these seeds can resolve"
    return f"{difference['arm']} minus {control}: {difference['mean']:+.4f} nats per token{interval}"
