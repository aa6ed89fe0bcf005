"""What the tests of runs share: where things are, a tiny config, the lines of a run's metrics."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from tutelage.recipes import load
from tutelage.run import distil

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "data" / "tinystories"
TOKENIZER = ROOT / "recipes" / "demo" / "tokenizer"
COMMAND = [sys.executable, "-m", "tutelage", "run"]


def tiny_config(**changes: Any) -> dict[str, Any]:
    """A GPT-2 of two layers without dropout."""
    config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}
    return {**config, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, **changes}


def lines(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def environment() -> dict[str, str]:
    """One thread, no hub."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "student" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def killed_after(path: Path, step: int, *changes: str) -> bool:
    """Start the run and SIGKILL it once ``metrics.jsonl`` has reached ``step``; False if it ended before."""
    process = subprocess.Popen(
        [*COMMAND, str(path), *changes],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    metrics = Path(yaml.safe_load(path.read_text())["out"]) / "metrics.jsonl"
    if changes:
        metrics = Path(changes[0].removeprefix("out=")) / "metrics.jsonl"
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        if metrics.exists() and any(json.loads(s)["step"] >= step for s in whole_lines(metrics)):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    assert process.poll() is not None, "the run neither went on nor ended"
    return False


def ends_the_same_when_killed(path: Path, folder: Path) -> bool:
    """Whether a run in ``folder``, SIGKILLed at a random step and gone on with, ends like a whole one."""
    subprocess.run([*COMMAND, str(path)], env=environment(), check=True, capture_output=True)
    step = random.Random(time.time_ns()).randint(1, 5)
    assert killed_after(path, step, f"out={folder}"), f"was not killed at {step}"
    subprocess.run([*COMMAND, str(path), f"out={folder}"], env=environment(), check=True, capture_output=True)
    return same(weights(Path(yaml.safe_load(path.read_text())["out"])), weights(folder))


def whole_lines(path: Path) -> list[str]:
    """All lines that are complete: the last may be in the middle of being written."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]


def trained(recipe_file: Path, out: Path, *changes: str) -> dict[str, torch.Tensor]:
    distil(load(str(recipe_file), [f"out={out}", *changes]))
    return load_file(out / "student" / "model.safetensors")


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], rtol=1e-4, atol=2e-5) for name in one
    )


def run_by_two(recipe_file: Path, port: int, *changes: str) -> None:
    """``tutelage run`` by two processes that meet at a port."""
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    subprocess.run(
        [sys.executable, *torchrun, "-m", "tutelage", "run", str(recipe_file), *changes],
        env=environment(),
        check=True,
        capture_output=True,
        timeout=300,
    )
