"""The verbs that train and measure, as a user meets them: processes of their own, real files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "data" / "tinystories"
TOKENIZER = ROOT / "recipes" / "demo" / "tokenizer"
SIZES = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Path:
    """A folder with a teacher, a student and a recipe for one step, of a model of random weights."""
    folder = tmp_path_factory.mktemp("bench")
    for seed, name in enumerate(("teacher", "student")):
        save_student(new_model(SIZES, TOKENIZER, seed=seed, machine=Machine()), folder / name)
    words = {
        "out": "run",
        "student": "student",
        "teacher": "teacher",
        "divergence": "forward_kl",
        "samples": {
            "kind": "dataset",
            "data": str(STORIES / "train.txt.gz"),
            "max_rows": 8,
            "max_length": 32,
            "long": "cut",
        },
        "training": {"max_steps": 1, "per_device_train_batch_size": 4, "logging_steps": 1},
        "evaluation": {"data": str(STORIES / "valid.txt.gz"), "max_rows": 4, "prompts": ["Once"]},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(words))
    return folder


def tutelage(bench: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in the bench's folder."""
    command = [sys.executable, "-m", "tutelage", *arguments]
    return subprocess.run(command, cwd=bench, capture_output=True, text=True, timeout=300)


def test_run_ends_with_the_folder_and_report_writes_its_page_again(bench):
    """Standard output is the folder alone, so that a script can use it."""
    told = tutelage(bench, "run", "recipe.yaml")
    assert told.returncode == 0, told.stderr
    assert told.stdout == "run\n"
    for name in ("student", "metrics.jsonl", "run.json", "report.html", "state"):
        assert (bench / "run" / name).exists(), name
    record = json.loads((bench / "run" / "run.json").read_text())
    assert record["command"] == "tutelage run recipe.yaml"
    (bench / "run" / "report.html").unlink()
    told = tutelage(bench, "report", "run")
    assert told.stdout == "run/report.html\n", told.stderr
    assert (bench / "run" / "report.html").read_text().startswith("<!doctype html>")
    told = tutelage(bench, "cite", "run")
    assert "hinton2015distilling" in told.stdout


def test_check_answers_no_with_status_3_and_one_json_document(bench):
    """A teacher of random weights adds nothing; that is an answer, not an error."""
    told = tutelage(bench, "check", "recipe.yaml", "out=never", "--json")
    assert told.returncode == 3, told.stderr
    answer = json.loads(told.stdout)
    assert answer["verdict"] != "go"
    assert answer["exit_status"] == 3
    assert not (bench / "never").exists()
    told = tutelage(bench, "check", "recipe.yaml", "out=never")
    assert told.returncode == 3
    assert answer["verdict"] in told.stdout


def test_evaluate_measures_every_student(bench):
    """One JSON document with each student's numbers and intervals."""
    rows = ["--data", str(STORIES / "valid.txt.gz"), "--max-rows", "3", "--max-length", "48"]
    told = tutelage(bench, "evaluate", "student", "teacher", *rows, "--json")
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert set(answer["students"]) == {"student", "teacher"}
    told = tutelage(bench, "evaluate", "student", "--teacher", "teacher", *rows)
    assert told.returncode == 0, told.stderr
    assert "student" in told.stdout
    (bench / "asked.jsonl").write_text('{"question": "Who?", "answer": "She."}\n' * 3)
    rows = ["--data", "asked.jsonl", "--prompt", "{question}\\n", "--completion", "{answer}"]
    told = tutelage(bench, "evaluate", "student", *rows, "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["rows"] == 3


def test_ctrl_c_stops_a_run_and_the_same_command_finishes_it(bench):
    """Status 130, the command to go on with, and nothing lost."""
    command = [sys.executable, "-m", "tutelage", "run", "recipe.yaml", "out=stopped"]
    command += ["training.max_steps=400", "training.save_steps=20"]
    with subprocess.Popen(command, cwd=bench, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list((bench / "stopped").glob("state/*")) and time.monotonic() < deadline:
            assert process.poll() is None, "the run ended before it could be stopped"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "the same command goes on from the last checkpoint" in told
    finished = subprocess.run(command, cwd=bench, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    lines = (bench / "stopped" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(steps)
    assert steps[-1] == 400
