"""Every benchmark runs at a tiny size, prints a table and says where it was measured; no timing is judged."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"

TINY = {
    "fused": "--rows 64 --vocab 500 --widths 32 --repeats 1 --divergences forward_kl --dense-way forward_kl",
    "fused_gpu": "--device cpu --rows 64 --vocab 500 --widths 32 --repeats 1 --divergences forward_kl "
    "--dense-way forward_kl --dtypes float32",
    "train": "--settings demo --no-trl --steps 3 --warm 1 --rows 2 --repeats 1",
    "cache": '--settings demo --kinds "hidden, bfloat16" --steps 3 --warm 1 --rows 2 --text-rows 8 '
    "--repeats 1",
    "serve": "--kinds completions --clients 2 --seconds 1 --bad 2 --repeats 1",
    "tails": "--k 8 --rows 2",
    "moving": "--rows 64 --vocab 500 --widths 32 --repeats 1",
    "on_policy": "--settings demo --rows 2 --new 4 --repeats 1",
    "plan": "seqkd --steps 2 --repeats 1",
}

LONG = ("train", "fused_gpu", "cache", "plan", "serve")


def ran(name: str, tmp_path: Path) -> tuple[str, dict]:
    """What a benchmark printed and wrote."""
    written = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *shlex.split(TINY[name]), "--json", str(written)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, json.loads(written.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in TINY],
)
def test_a_benchmark_prints_a_table_and_says_where_it_ran(name: str, tmp_path: Path) -> None:
    """Results beside machine, versions, commit and command, without a path of this machine."""
    printed, said = ran(name, tmp_path)
    assert "\n|---|" in printed
    assert said["benchmark"] == name
    assert said["versions"]["torch"]
    assert said["machine"]["threads"] == 1
    assert said["results"]
    assert str(tmp_path) not in json.dumps(said)
    for one in said["results"]["crowds"] if name == "serve" else ():
        assert one["requests"] > 0
        assert one["errors"] == {}
        assert all(name.split()[-1][0] == "4" for name in one["bad_requests"])


def test_every_benchmark_has_its_line_in_the_readme() -> None:
    """What can be run is told, with its command."""
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    helpers = {"common", "contestants", "child", "peers", "tables", "train_trl", "whole_runs"}
    for script in FOLDER.glob("*.py"):
        if script.stem not in helpers:
            assert f"`{script.name}`" in told
            assert f"python benchmarks/{script.name}" in told


def test_the_tables_are_what_the_files_say() -> None:
    """README.md is made from the JSON files beside it."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / "tables.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
