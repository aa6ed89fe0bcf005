"""`tutelage cache` as a user meets it: what it prints, where, and with which status it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from small_caches import TOKENIZER, cache_of, saved_model, stories
from tutelage.cli import answered

VERBS = ("build", "verify", "info", "import")

QUICK = """
import sys
from tutelage.cli import answered
status = answered(sys.argv[1:])
heavy = {"torch", "transformers", "numpy", "fsspec", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
sys.exit(status)
"""


def quick(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that fails if anything heavy was imported."""
    command = [sys.executable, "-c", QUICK, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and the cache that was built from it."""
    folder = tmp_path_factory.mktemp("bench")
    teacher = saved_model(folder / "teacher", seed=3, n_embd=24)
    recipe = stories(folder, teacher)
    words = {key: value for key, value in recipe.resolved().items() if value is not None}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(words))
    cache_of(recipe, folder / "cache")
    return folder


@pytest.mark.parametrize("arguments", [["cache", "--help"], *(["cache", verb, "--help"] for verb in VERBS)])
def test_help_needs_nothing_heavy(arguments: list[str]) -> None:
    """Every verb explains itself at once."""
    told = quick(*arguments)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("Usage: tutelage cache")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["build", "no.yaml", "--out", "x"], "no.yaml: no such recipe"),
        (["build", "demo", "--out", "x", "--k", "3"], "`--k` for a cache of the kind `hidden`"),
        (["build", "demo", "--out", "x", "--kind", "top_k", "--draws", "3"], "`--draws` for a cache"),
        (
            ["build", "demo", "--out", "x", "samples.max_row=3"],
            "samples.max_row=3 (command line): unknown key 'max_row'",
        ),
        (["build", "demo"], "tutelage cache build: Missing parameter: out"),
        (["biuld"], "tutelage cache: No such command 'biuld'"),
        (["import", "x.jsonl", "--out", "y", "--format", "axolotl"], "an import with neither a recipe"),
    ],
)
def test_a_slip_is_told_in_three_lines_before_anything_heavy_is_loaded(
    arguments: list[str], problem: str
) -> None:
    """Status 2, on standard error."""
    told = quick("cache", *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith(problem)
    assert len(told.stderr.splitlines()) == 3


def test_info_says_what_is_in_it(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people, and as one JSON document."""
    assert answered(["cache", "info", str(bench / "cache")]) == 0
    said = capsys.readouterr().out
    for part in ("hidden, precision bfloat16", "15 rows", "bytes per token", "KL(teacher || cache)", "95 %"):
        assert part in said
    assert answered(["cache", "info", str(bench / "cache"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["rows"]) == ("hidden", 15)
    assert found["measured"]["kl_nats"]["mean"] < 1e-3
    assert found["recorded"]["teacher"] == str(bench / "teacher")


def test_verify_answers_with_its_status(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 where all is well; 3 with the file's name; 2 where there is no cache."""
    assert answered(["cache", "verify", str(bench / "cache")]) == 0
    assert "as they were written" in capsys.readouterr().out
    layer = bench / "cache" / "layer.safetensors"
    whole = layer.read_bytes()
    layer.write_bytes(whole[:-1] + b"!")
    assert answered(["cache", "verify", str(bench / "cache")]) == 3
    assert "layer.safetensors: its SHA-256 is not the one" in capsys.readouterr().out
    assert answered(["cache", "verify", str(bench / "cache"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["damage"][0].startswith("layer.safetensors")
    layer.write_bytes(whole)
    assert answered(["cache", "verify", str(bench / "teacher")]) == 2
    assert "no cache there" in capsys.readouterr().err


def test_an_import_by_its_verb(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row, without a recipe."""
    row = {"input_ids": [1, 2], "target_token_ids": [[0, 1], [2, 3]], "target_logprobs": [[-1, -2], [-1, -2]]}
    (tmp_path / "kd.jsonl").write_text(json.dumps(row) + "\n")
    words = ["cache", "import", str(tmp_path / "kd.jsonl"), "--out", str(tmp_path / "cache")]
    words += ["--format", "axolotl", "--tokenizer", str(TOKENIZER)]
    assert answered(words) == 0
    said = capsys.readouterr().out
    assert "1 rows were read, 1 kept" in said
    assert "not measured: the teacher was not asked" in said


@pytest.mark.slow
def test_build_prints_what_a_token_costs_and_what_is_lost(bench: Path, tmp_path: Path) -> None:
    """Progress goes to standard error, the answer to standard output; then a run and an evaluation use it."""
    run = [sys.executable, "-m", "tutelage"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    built = subprocess.run(
        [
            *run,
            "cache",
            "build",
            "recipe.yaml",
            "--kind",
            "top_k",
            "--k",
            "8",
            "--out",
            str(tmp_path / "c"),
            "--json",
        ],
        cwd=bench,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    told = json.loads(built.stdout)
    assert told["form"] == {"kind": "top_k", "precision": "float16", "k": 8}
    assert told["measured"]["gap_nats"]["mean"] > 0
    assert told["speed"]["tokens_per_second"] > 0
    assert "shard 1/1" in built.stderr
    teacher = f"teacher={{kind: cached, cache: {tmp_path / 'c'}, of: teacher}}"
    done = subprocess.run(
        [*run, "run", "recipe.yaml", f"out={tmp_path / 'run'}", teacher],
        cwd=bench,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    data = yaml.safe_load((bench / "recipe.yaml").read_text())["evaluation"]["data"]
    words = ["evaluate", str(tmp_path / "run" / "student"), "--teacher", str(tmp_path / "c"), "--data", data]
    found = subprocess.run(
        [*run, *words, "--max-rows", "3", "--json"], env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    (measures,) = json.loads(found.stdout)["students"].values()
    names = {"student_nats", "teacher_nats", "forward_kl_nats", "agreement", "calibration_error"}
    assert names == set(measures)
