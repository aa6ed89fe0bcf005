"""A cache of a million tokens that is killed three times, resumed and verified, beside one left in peace.

    python benchmarks/killed.py --json benchmarks/killed.json

The demo's teacher (2,048 tokens) reads dolly; kind `hidden`; instructions count too, so that there are a
million tokens. `tutelage cache build` runs in a process of its own and gets SIGKILL at a random moment while
it writes, so many times; the same command then ends the work. Afterwards `tutelage cache verify` reads
everything, and every file is compared with that of a build that nobody disturbed. Status 1 where a file
differs, a shard is damaged, or there are fewer tokens than asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import ROOT, document, made_with, table, where_to, write
from whole_runs import training, written

TEXT = {
    "kind": "dataset",
    "data": [str(ROOT / "data/dolly/train.jsonl.gz"), str(ROOT / "data/dolly/dev.jsonl.gz")],
    "prompt": "Instruction:\n",
    "completion": "{instruction}\n\nInput:\n{input}\n\nResponse:\n{output}",
    "max_length": 256,
    "long": "cut",
}


def command(recipe: Path, place: Path) -> list[str]:
    """The build."""
    words = ["cache", "build", str(recipe), "--out", str(place), "--kind", "hidden", "--json"]
    return [sys.executable, "-m", "tutelage", *words]


def shards(place: Path) -> int:
    """How many shards are complete."""
    return len(list((place / "shards").glob("*.safetensors"))) if (place / "shards").is_dir() else 0


def killed(recipe: Path, place: Path, after: int, pause: float) -> int:
    """Start the build and kill it ``pause`` seconds after so many shards are there; how many there were.

    Raises:
        RuntimeError: it ended before.
    """
    with subprocess.Popen(command(recipe, place), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as build:
        while shards(place) < after and build.poll() is None:
            time.sleep(0.02)
        time.sleep(pause)
        if build.poll() is not None:
            raise RuntimeError("the build ended before it was killed")
        build.send_signal(signal.SIGKILL)
        build.communicate()
    return shards(place)


def answer(words: list[str]) -> tuple[dict[str, Any], float]:
    """The JSON document that a command prints, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout), time.perf_counter() - began


def contents(place: Path) -> dict[str, str]:
    """Every file with its hash."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def measured(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The killed build and the one left in peace."""
    recipe = written(
        folder / "recipe.yaml",
        {
            "out": str(folder / "run"),
            "student": {"model": "package:demo/student"},
            "teacher": "package:demo/teacher",
            "divergence": "forward_kl",
            "samples": TEXT | ({"max_rows": asked.max_rows} if asked.max_rows else {}),
            "training": training(1, 8),
        },
    )
    chance, place = random.Random(asked.seed), folder / "killed"
    kills = []
    for _ in range(asked.kills):
        after = shards(place) + chance.randint(1, max(1, asked.every))
        kills.append(killed(recipe, place, after, chance.uniform(0, 0.2)))
        print(f"killed with {kills[-1]} shards", flush=True)
    built, seconds = answer(command(recipe, place))
    verified, _ = answer([sys.executable, "-m", "tutelage", "cache", "verify", str(place), "--json"])
    peace, peace_seconds = answer(command(recipe, folder / "peace"))
    one, other = contents(place), contents(folder / "peace")
    return {
        "tokens": built["tokens"],
        "rows": built["rows"],
        "shards": built["shards"],
        "bytes": built["bytes"],
        "shards_at_kills": kills,
        "seconds_of_the_rest": seconds,
        "seconds_in_peace": peace_seconds,
        "tokens_per_second_in_peace": peace["tokens"] / peace_seconds,
        "verified": {name: value for name, value in verified.items() if name != "place"},
        "files": len(one),
        "files_that_differ": sorted(
            name for name in one.keys() | other.keys() if one.get(name) != other.get(name)
        ),
    }


def text(said: Mapping[str, Any]) -> str:
    """A document of this benchmark in Markdown."""
    found = said["results"]
    columns = [
        "tokens",
        "rows",
        "shards",
        "GiB",
        "shards at the kills",
        "files that differ",
        "tokens/s in peace",
    ]
    line = [
        f"{found['tokens']:,}",
        f"{found['rows']:,}",
        found["shards"],
        f"{found['bytes'] / 2**30:.2f}",
        ", ".join(map(str, found["shards_at_kills"])),
        f"{len(found['files_that_differ'])} of {found['files']}",
        f"{found['tokens_per_second_in_peace']:,.0f}",
    ]
    return "\n\n".join([table(columns, [line]), made_with(said)])


def main() -> int:
    """Print a Markdown table; with --json also write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    where_to(parser, repeats=False)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--every", type=int, default=9, help="At most so many shards between two kills.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-rows", type=int, help="Of the text; all unless told.")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="That there must be.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="killed-") as folder:
        said = document("killed", measured(Path(folder), asked))
    write(asked.json, said)
    print(text(said))
    found = said["results"]
    return int(bool(found["files_that_differ"]) or found["tokens"] < asked.tokens)


if __name__ == "__main__":
    raise SystemExit(main())
