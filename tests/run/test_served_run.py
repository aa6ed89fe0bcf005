"""A run that asks a server ends where a run with the same teacher in process ends."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_runs import ROOT, lines

from live_servers import ServeProcess, free_port, served, tiny_teacher
from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.recipes import load
from tutelage.report import write_report
from tutelage.run import check, distil
from tutelage.teachers import ModelTeacher

NATS = 1e-6


def losses(folder: Path) -> list[float]:
    """The loss of every step, in nats; a line that is being written is not there yet."""
    text = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    whole = [json.loads(line) for line in text if line.endswith("}\n")]
    return [line["loss_nats"] for line in whole if "loss_nats" in line]


def recipe_with(path: Path, **changes: Any) -> str:
    """The recipe file, changed."""
    words = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**words, **changes}))
    return str(path)


@pytest.mark.parametrize(
    "way",
    [
        {},
        pytest.param({"payload": "dense"}, marks=pytest.mark.slow),
        pytest.param(
            {"protocol": "openai", "tokenizer": "recipes/demo/tokenizer", "k": 32}, marks=pytest.mark.slow
        ),
    ],
)
def test_a_run_with_a_served_teacher_is_the_run_with_the_teacher(
    recipe_file: Path, teacher: Path, tmp_path: Path, way: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """Step by step to a millionth of a nat in float32; against k tokens and the rest no higher."""
    monkeypatch.chdir(ROOT)
    local = distil(load(str(recipe_file), [f"out={tmp_path / 'local'}"]))
    with served(ModelTeacher(str(teacher)).open(Machine())) as url:
        words = recipe_with(recipe_file, teacher={"kind": "server", "url": url, **way})
        remote = distil(load(words, [f"out={tmp_path / 'remote'}"]))
    ours, theirs = losses(remote), losses(local)
    assert len(ours) == len(theirs) == 6
    if "protocol" in way:
        assert ours[0] <= theirs[0] + NATS
    else:
        assert ours == pytest.approx(theirs, abs=NATS)
    told = json.loads((remote / "run.json").read_text())
    assert told["teacher"]["url"] == url
    assert told["teacher"]["repeats_nats"] < NATS
    assert told["sentence"]["teacher"] == f"the server at {url}"
    assert url in write_report(remote).read_text()


def test_check_and_evaluate_speak_to_a_server(recipe_file: Path, teacher: Path, tmp_path: Path):
    """The same numbers as in process, and a line about who answers."""
    local = check(load(str(recipe_file)))
    with served(ModelTeacher(str(teacher)).open(Machine())) as url:
        remote = check(load(recipe_with(recipe_file, teacher={"kind": "server", "url": url})))
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            words = ["evaluate", str(teacher), "--data", str(ROOT / "data" / "tinystories" / "valid.txt.gz")]
            assert (
                answered([*words, "--teacher", url, "--max-rows", "2", "--max-length", "32", "--json"]) == 0
            )
    assert "repeats itself to" in remote.findings["teacher"]
    assert remote.verdict == local.verdict
    nats = remote.numbers["teacher_nats"]["mean"]
    assert nats == pytest.approx(local.numbers["teacher_nats"]["mean"], abs=1e-5)
    (measured,) = json.loads(said.getvalue())["students"].values()
    assert abs(measured["forward_kl_nats"]["mean"]) < NATS
    assert measured["agreement"]["mean"] == 1


def test_rows_that_are_too_long_for_the_server_are_refused_before_the_first_step(
    recipe_file: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
):
    """With the line of the recipe, and nothing written."""
    with served(ModelTeacher(str(teacher)).open(Machine()), request_tokens=40) as url:
        words = recipe_with(recipe_file, teacher={"kind": "server", "url": url})
        assert answered(["run", words]) == 2
    assert "rows of 48 tokens for 'tiny', which has 40 positions" in capsys.readouterr().err
    assert not Path(yaml.safe_load(recipe_file.read_text())["out"]).exists()


@pytest.mark.slow
def test_a_run_survives_a_server_that_is_killed_and_started_again(
    recipe_file: Path, teacher: Path, tmp_path: Path
):
    """From the command line, SIGKILL after the second step; the losses are those without it."""
    local = distil(load(str(recipe_file), [f"out={tmp_path / 'local'}", "training.max_steps=40"]))
    with ServeProcess(str(teacher)) as process:
        words = recipe_with(recipe_file, teacher={"kind": "server", "url": process.url, "retries": 14})
        out = tmp_path / "remote"
        command = [sys.executable, "-m", "tutelage", "run", words, f"out={out}", "training.max_steps=40"]
        run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        until = time.monotonic() + 300
        while run.poll() is None and time.monotonic() < until:
            if (out / "metrics.jsonl").exists() and len(losses(out)) >= 2:
                break
            time.sleep(0.002)
        process.kill()
        seen = len(losses(out))
        again = threading.Thread(target=process.start)
        again.start()
        _, errors = run.communicate(timeout=300)
        again.join()
    assert run.returncode == 0, errors
    assert seen < 40, "the run was over before the server was killed"
    assert losses(out) == pytest.approx(losses(local), abs=NATS)


def test_another_teacher_at_the_same_address_stops_a_run_and_nothing_is_lost(
    recipe_file: Path, teacher: Path, tmp_path: Path
):
    """Once the third step is done somebody else answers; with the right teacher back, the run goes on."""
    right = ModelTeacher(str(teacher)).open(Machine())
    wrong = ModelTeacher(tiny_teacher(tmp_path / "other", seed=9, n_positions=128)).open(Machine())
    port, out, over = free_port(), Path(yaml.safe_load(recipe_file.read_text())["out"]), threading.Event()
    server = {"kind": "server", "url": f"http://127.0.0.1:{port}", "retries": 14}
    words = recipe_with(recipe_file, teacher=server)
    recipe = load(words, ["training.max_steps=50", "training.eval_steps=50"])
    ready = threading.Event()

    def swapped() -> None:
        with served(right, port=port):
            ready.set()
            while not over.is_set() and not ((out / "metrics.jsonl").exists() and len(losses(out)) >= 3):
                time.sleep(0.002)
        with served(wrong, port=port):
            over.wait(60)

    swap = threading.Thread(target=swapped)
    swap.start()
    ready.wait(60)
    try:
        with pytest.raises(TutelageError, match="another teacher answers there than at the beginning"):
            distil(recipe)
    finally:
        over.set()
        swap.join()
    assert 3 <= len(losses(out)) < 50
    with served(right, port=port):
        distil(recipe)
    assert [line["step"] for line in lines(out) if "loss_nats" in line] == list(range(1, 51))
