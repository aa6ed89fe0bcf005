"""Every recipe of the library runs from the command line, on instructions instead of stories."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from small_runs import COMMAND, environment, same, whole_lines

from tutelage.cli import answered
from tutelage.recipes.shelf import library
from tutelage.samples import TABLE as SAMPLES

DOLLY = Path(__file__).parents[2] / "data" / "dolly" / "dev.jsonl.gz"
LAYOUT = ["Instruction:\n{instruction}\n\nResponse:\n", "{output}"]
RELATIVES = ("f_distill_kl", "f_distill_rkl", "f_distill_tvd", "taid_linear", "distillm_2")
"""Run by `make long`: each has the words of another one."""

OWN_CHECKPOINTS = {
    # Stands in for the fine-tuned teacher that its first command makes.
    "delta_kd": {
        "teacher.aligned": "package:demo/teacher",
        "teacher.base": "package:demo/student",
        "arms.kd.teacher": "package:demo/teacher",
    }
}


def on_dolly(name: str, out: Path, steps: int) -> list[str]:
    """What is written behind a recipe's name: dolly, the package's models, few steps, one seed."""
    words = yaml.safe_load(library()[name].load().read_text(encoding="utf-8"))
    changes = {
        "out": str(out),
        "samples.data": str(DOLLY),
        "samples.prompt": json.dumps(LAYOUT[0]),
        "samples.completion": json.dumps(LAYOUT[1]),
        "samples.max_length": "96",
        "samples.long": "cut",
        "samples.max_rows": "24",
        "evaluation.data": str(DOLLY),
        "evaluation.max_rows": "2",
        "evaluation.prompts": "[]",
        "training.per_device_train_batch_size": "2",
        "training.max_steps": str(steps),
        "training.save_steps": "1",
        "training.logging_steps": "1",
        **OWN_CHECKPOINTS.get(name, {}),
    }
    if SAMPLES[words["samples"]["kind"]].writers - {"dataset"}:
        changes["samples.max_new_tokens"] = "16"
    if "seeds" in words:
        changes["seeds"] = "[0]"
    return [f"{key}={value}" for key, value in changes.items()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in RELATIVES else ())
        for name in library()
        if name != "demo"
    ],
)
def test_it_runs_on_dolly(name: str, tmp_path: Path) -> None:
    """Held-out nats are in the results, and there is a report."""
    assert answered(["run", name, *on_dolly(name, tmp_path / "run", 2)]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "student_nats" in json.dumps(results)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["delta_kd", "taid", "taid_linear", "dkd", "adaptive_kl", "ctkd", "standardised", "self_distillation"],
)
def test_killed_and_gone_on_with_it_ends_the_same(name: str, tmp_path: Path) -> None:
    """SIGKILL at a random step of a random arm: every student's weights, bit for bit (law 6)."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*COMMAND, name, *on_dolly(name, whole, 6)], env=environment(), check=True)
    students = sorted(path.relative_to(whole) for path in whole.rglob("student/model.safetensors"))
    arm = random.Random(time.time_ns()).choice(students).parent.parent
    kill_at(killed / arm / "metrics.jsonl", [*COMMAND, name, *on_dolly(name, killed, 6)])
    subprocess.run([*COMMAND, name, *on_dolly(name, killed, 6)], env=environment(), check=True)
    for student in students:
        assert same(load_file(whole / student), load_file(killed / student)), student


def kill_at(metrics: Path, command: list[str]) -> None:
    """Start a run and SIGKILL it once a random step of the arm whose metrics those are was made."""
    step = random.Random(time.time_ns()).randint(1, 5)
    process = subprocess.Popen(command, env=environment(), start_new_session=True)
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        if metrics.exists() and any(json.loads(line)["step"] >= step for line in whole_lines(metrics)):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.01)
    raise AssertionError(f"was not killed at step {step}")


def test_the_demo_is_run_by_its_own_tests() -> None:
    """What is left out above is there."""
    assert "demo" in library()
