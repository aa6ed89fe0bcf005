"""Every recipe of the library runs from the command line, on instructions instead of stories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tutelage.cli import answered
from tutelage.recipes.shelf import library
from tutelage.samples import TABLE as SAMPLES

DOLLY = Path(__file__).parents[2] / "data" / "dolly" / "dev.jsonl.gz"
LAYOUT = ["Instruction:\n{instruction}\n\nResponse:\n", "{output}"]
OWN_CHECKPOINTS = {
    # Stands in for the fine-tuned teacher that its first command makes.
    "delta_kd": {
        "teacher.aligned": "package:demo/teacher",
        "teacher.base": "package:demo/student",
        "arms.kd.teacher": "package:demo/teacher",
    }
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in library() if name != "demo"])
def test_it_runs_on_dolly(name: str, tmp_path: Path) -> None:
    """With the package's GPT-2-style models: held-out nats in the results, every line of metrics a number."""
    words = yaml.safe_load(library()[name].load().read_text(encoding="utf-8"))
    changes = {
        "out": str(tmp_path / "run"),
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
        "training.max_steps": "2",
        "training.logging_steps": "1",
        **OWN_CHECKPOINTS.get(name, {}),
    }
    if SAMPLES[words["samples"]["kind"]].writers - {"dataset"}:
        changes["samples.max_new_tokens"] = "16"
    if "seeds" in words:
        changes["seeds"] = "[0]"
    assert answered(["run", name, *(f"{key}={value}" for key, value in changes.items())]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "student_nats" in json.dumps(results)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_the_demo_is_run_by_its_own_tests() -> None:
    """What is left out above is there."""
    assert "demo" in library()
