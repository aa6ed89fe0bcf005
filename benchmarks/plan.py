"""How well `tutelage plan RECIPE` predicts: peak memory and time of whole runs of recipes of the library.

Every recipe is planned first, from shapes alone and by a trial; then `tutelage run` is run in a process
of its own, whose peak resident memory and seconds are measured.

    python benchmarks/plan.py --json benchmarks/plan.json

Every recipe is planned and run `--repeats` times, one after the other. Ratios are of each pair; the table has
their medians, and the lowest and highest of the time's: the speed of a virtual machine moves within minutes.
Seconds are those that pass. On a machine that does other work, `--clock processor` compares those that
processors spent on the process instead, of trial and run alike; the file says which.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import MIB, document, made_with, table, where_to, write

RECIPES: dict[str, tuple[str, ...]] = {
    "demo": ("seeds=[0]",),
    "taid": ("seeds=[0]", "training.max_steps=96"),
    "minillm": (),
    "distillm": (),
    "f_distill_js": (),
    "seqkd": ("student.lora_rank=8", "training.max_steps=96"),
}
"""Recipes of the library and what is changed in them: the demo's three arms; a target that moves with the
student; the student's own text by policy gradient, and from a buffer; both writers; adapters on text that
the teacher wrote."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "recipes", nargs="*", default=list(RECIPES), help="Only these; the file keeps its other rows."
    )
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    parser.add_argument(
        "--steps", type=int, help="Optimiser steps of every run, instead of the recipe's own."
    )
    where_to(parser)
    asked = parser.parse_args()
    rows = []
    if asked.json is not None and asked.json.is_file() and len(asked.recipes) < len(RECIPES):
        before = json.loads(asked.json.read_text(encoding="utf-8"))["results"]
        # Recipes that were asked for alone take the place of their rows; seconds of one clock stay together.
        rows = [row for row in before["recipes"] if row["recipe"] not in asked.recipes]
        assert before["clock"] == asked.clock, "the file has seconds of another clock"
    for name in asked.recipes:
        steps = () if asked.steps is None else (f"training.max_steps={asked.steps}",)
        words = (*RECIPES[name], *steps)
        rounds = [round_of(name, words, asked.clock) for _ in range(asked.repeats)]
        rows.append({"recipe": name, "changes": list(words), "rounds": rounds})
        said = document("plan", {"clock": asked.clock, "recipes": rows})
        write(asked.json, said)  # after every recipe: what was measured is not lost with a later one
        print(text(said), flush=True)


def round_of(name: str, words: tuple[str, ...], clock: str) -> dict[str, Any]:
    """What was predicted for one recipe, and what came."""
    from tutelage.forecast import from_shapes
    from tutelage.forecast.probe import probe
    from tutelage.recipes import load

    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        changes = [f"out={folder}/run", *words]
        recipe = load(name, changes)
        shapes = from_shapes(recipe)
        busy = os.getloadavg()[0]
        tried = probe(recipe, clock=clock)  # type: ignore[arg-type]
        found = measured([name, *changes], clock)
    predicted = {
        "from_shapes_peak_mib": shapes.peak_bytes / MIB,
        "trial_peak_mib": tried.measured["peak_bytes"] / MIB,
        "peak_mib": tried.peak_bytes / MIB,
        "seconds": tried.duration.to_json(),
        "trial_wall_seconds": tried.seconds,
    }
    ratios = {
        "from_shapes_peak": predicted["from_shapes_peak_mib"] / found["peak_mib"],
        "trial_peak": predicted["trial_peak_mib"] / found["peak_mib"],
        "peak": predicted["peak_mib"] / found["peak_mib"],
        "seconds": tried.duration.seconds / found["seconds"],
    }
    return {
        "load_average": [busy, os.getloadavg()[0]],
        "flops": shapes.flops,
        "predicted": predicted,
        "measured": found,
        "ratios": ratios,
    }


def measured(words: list[str], clock: str) -> dict[str, float]:
    """Peak resident MiB and seconds of `tutelage run` in a process of its own.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tutelage", "run", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said: list[str] = []
    listener = threading.Thread(target=said.extend, args=(process.stderr,))
    listener.start()
    peak, status = 0.0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        # The high-water mark: looked at again and again, since it is gone with the process.
        peak = max(peak, _high_water(status))
        time.sleep(0.05)
    listener.join()
    wall = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"status {process.returncode}: {''.join(said)[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "peak_mib": peak,
        "seconds": wall if clock == "wall" else spent,
        "wall_seconds": wall,
        "processor_seconds": spent,
    }


def _high_water(status: Path) -> float:
    try:
        lines = status.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def text(said: dict[str, Any]) -> str:
    """The document as Markdown."""
    results = said["results"]
    columns = (
        "recipe",
        "peak MiB",
        "predicted",
        "ratio",
        "from shapes",
        "ratio",
        f"{results['clock']} seconds",
        "predicted",
        "ratio",
        "lowest to highest",
        "trial, s",
    )
    rows = []
    for row in results["recipes"]:
        rounds = row["rounds"]

        def middle(read: Callable[[Any], float], rounds: Any = rounds) -> float:
            return statistics.median(read(one) for one in rounds)

        times = [one["ratios"]["seconds"] for one in rounds]
        rows.append(
            (
                f"`{' '.join([row['recipe'], *row['changes']])}`",
                f"{middle(lambda one: one['measured']['peak_mib']):.0f}",
                f"{middle(lambda one: one['predicted']['peak_mib']):.0f}",
                f"{middle(lambda one: one['ratios']['peak']):.2f}",
                f"{middle(lambda one: one['predicted']['from_shapes_peak_mib']):.0f}",
                f"{middle(lambda one: one['ratios']['from_shapes_peak']):.2f}",
                f"{middle(lambda one: one['measured']['seconds']):.0f}",
                f"{middle(lambda one: one['predicted']['seconds']['total']):.0f}",
                f"{statistics.median(times):.2f}",
                f"{min(times):.2f} to {max(times):.2f}",
                f"{middle(lambda one: one['predicted']['trial_wall_seconds']):.0f}",
            )
        )
    return f"{table(columns, rows)}\n\n{made_with(said)}"


if __name__ == "__main__":
    main()
