"""Caches of every kind beside the live teacher: bytes a token, error, speed of building, reading, training.

    python benchmarks/cache.py --json benchmarks/cache.json

Two settings, in float32 on the CPU with all threads, those of `train.py`:

- ``demo``: the demo's GPT-2 teacher (256 wide, 4 layers) and student (128, 2) of 2,048 tokens, TinyStories;
- ``gpt2``: a Llama teacher (256, 4) taught for some steps, a new student (128, 2), 50,257 tokens, dolly.

Bytes, error (nats per token on held-out text, with the interval of the build's own measurement) and speed of
reading (rows in random order, their files in the page cache) are those that `tutelage cache build`
prints. Training is `tutelage run` with the live teacher and from every cache: the same recipe
otherwise, in processes of their own that take turns; tokens a second of the steps after the first few, and
the peak of the process's memory. Ratios are to the live teacher of the same turn; their median is taken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import document, made_with, table, where_to, write
from train import SETTINGS, taught
from whole_runs import run, training, tutelage, written

KINDS = {
    "hidden, bfloat16": ["--kind", "hidden"],
    "hidden, float32": ["--kind", "hidden", "--precision", "float32"],
    "top_k, 64": ["--kind", "top_k", "--k", "64"],
    "sampled, 50": ["--kind", "sampled", "--draws", "50"],
}
LIVE = "live"


def measured(name: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """All kinds in one setting."""
    setting = {key: dict(value) for key, value in SETTINGS[name].items()}
    if "config" in setting["teacher"]:
        setting["teacher"] = {"kind": "model", "model": taught(setting, folder, asked)}
    setting["samples"] = {**setting["samples"], "max_rows": asked.text_rows}
    recipe = {"out": str(folder / "out"), "seed": 0, **setting, "divergence": "forward_kl"}
    recipe["training"] = training(asked.steps, asked.rows)
    live = written(folder / "live.yaml", recipe)
    caches, recipes = {}, {LIVE: live}
    for number, (kind, words) in enumerate((kind, KINDS[kind]) for kind in asked.kinds):
        place = folder / f"cache-{number}"
        built = told(["cache", "build", live, "--out", place, *words])
        caches[kind] = {
            "tokens": built["tokens"],
            "bytes_per_token": built["bytes_per_token"],
            "bytes_per_token_in_shards": built["bytes_in_shards"] / built["tokens"],
            "measured": built["measured"],
            "built_tokens_per_second": built["speed"]["built_tokens_per_second"],
            "read_tokens_per_second": built["speed"]["tokens_per_second"],
            "read_bytes_per_second": built["speed"]["bytes_per_second"],
        }
        print(f"{name}  {kind}: {built['bytes_per_token']:,.0f} bytes a token", flush=True)
        cached = recipe | {"teacher": {"kind": "cached", "cache": str(place)}}
        recipes[kind] = written(folder / f"cached-{number}.yaml", cached)
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in recipes}
    for turn in range(asked.repeats):
        for number, (kind, path) in enumerate(recipes.items()):
            one = run(path, folder / f"run-{number}-{turn}", asked.warm)
            one["rate"] = one["tokens"] / one["seconds"]
            print(f"{name}  {kind}: {one['rate']:,.0f} tokens/s, {one['peak_mib']:,.0f} MiB", flush=True)
            runs[kind].append(one)
    return {
        "setting": name,
        "steps": asked.steps,
        "rows": asked.rows,
        "caches": caches,
        "training": {kind: _summary(found, runs[LIVE]) for kind, found in runs.items()},
    }


def told(words: Sequence[str | Path]) -> dict[str, Any]:
    """The JSON document that a command line of tutelage prints."""
    return json.loads(tutelage([*words, "--json"])["said"])


def _summary(runs: Sequence[Mapping[str, float]], live: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    rates = [one["rate"] for one in runs]
    ratios = [one["rate"] / other["rate"] for one, other in zip(runs, live, strict=True)]
    return {
        "tokens_per_second": statistics.median(rates),
        "spread": [min(rates), max(rates)],
        "times_live": statistics.median(ratios),
        "times_live_spread": [min(ratios), max(ratios)],
        "peak_mib": statistics.median(one["peak_mib"] for one in runs),
    }


def text(said: Mapping[str, Any]) -> str:
    """A document of this benchmark in Markdown."""
    parts = []
    for one in said["results"]:
        lines = []
        for kind, trained in one["training"].items():
            cache = one["caches"].get(kind)
            stored = (
                [
                    f"{cache['bytes_per_token']:,.0f}",
                    _error(cache["measured"]),
                    f"{cache['built_tokens_per_second']:,.0f}",
                    f"{cache['read_tokens_per_second']:,.0f}",
                ]
                if cache
                else [None] * 4
            )
            low, high = trained["times_live_spread"]
            lines.append(
                [
                    kind,
                    *stored,
                    f"{trained['tokens_per_second']:,.0f}",
                    f"{trained['times_live']:.2f} ({low:.2f} to {high:.2f})",
                    f"{trained['peak_mib']:,.0f}",
                ]
            )
        tokens = next(iter(one["caches"].values()))["tokens"]
        columns = [
            f"`{one['setting']}`, {tokens:,} tokens kept",
            "bytes a token",
            "error, nats a token",
            "built, tokens/s",
            "read, tokens/s",
            "training, tokens/s",
            "times live",
            "peak MiB",
        ]
        parts.append(table(columns, lines))
    note = (
        "Error: KL(teacher, cache) of `hidden` and `top_k` (its rest spread evenly); of `sampled` how far "
        "the estimate of the student's forward KL is off, with the estimate's spread at one token."
    )
    return "\n\n".join([*parts, note, made_with(said)])


def _error(of: Mapping[str, Any]) -> str:
    found = of.get("kl_nats") or of["gap_nats"]
    said = f"{found['mean']:.2g} [{found['low']:.2g}, {found['high']:.2g}]"
    return said if "kl_nats" in of else f"{said}, spread {of['spread_nats']:.2g}"


def parsed() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    where_to(parser)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warm", type=int, default=5, help="First steps that are not timed.")
    parser.add_argument("--rows", type=int, default=8, help="Rows of text in a step.")
    parser.add_argument("--text-rows", type=int, default=400, help="Rows of text that are kept.")
    parser.add_argument("--teacher-steps", type=int, default=60, help="Of the teacher of `gpt2`.")
    return parser.parse_args()


def main() -> None:
    """Print a Markdown table; with --json also write the numbers, after every setting."""
    asked = parsed()
    results = []
    for name in asked.settings:
        with tempfile.TemporaryDirectory(prefix="cache-") as folder:
            results.append(measured(name, Path(folder), asked))
        said = document("cache", results)
        write(asked.json, said)
    print(text(said))


if __name__ == "__main__":
    main()
