"""`tutelage check --conformance` from outside: answers, refusals, a missing extra, an end by a signal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from part import IN_PROCESS, part, room, said

from small_caches import saved_model, stories
from tutelage.cli import answered
from tutelage.conformance.table import IDENTITIES
from tutelage.recipes import load

PATIENCE = 120


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A file with a sound recipe."""
    teacher = saved_model(tmp_path / "teacher", seed=1)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(stories(tmp_path, teacher).resolved()), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_table_names_every_identity_with_its_bound(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As text and as JSON: every identity, with its bound and the reason for it."""
    assert answered(["check", str(recipe), "--conformance"]) == 0
    printed = capsys.readouterr().out
    lines = [(identity, bound) for identity in IDENTITIES for bound in identity.bounds]
    for identity, bound in lines:
        name = f"{identity.name}, {bound.measure}" if bound.measure else identity.name
        assert f"\n{name} " in printed
    assert printed.splitlines()[-1] == f"holds: all {len(lines)} that were checked"
    told = part(load(str(recipe))).to_json()
    assert list(dict.fromkeys(line["identity"] for line in told["lines"])) == list(IN_PROCESS)
    assert all(line["why"] and line["compares"] and line["bound"] > 0 for line in told["lines"])


def test_what_is_wrong_with_a_recipe_is_said_in_three_lines(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, before anything is measured."""
    for change in ("divergence=reverse_kll", "teacher=nowhere"):
        assert answered(["check", str(recipe), "--conformance", change]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "to fix" in said.err
        assert "checking" not in said.err


def test_without_the_extra_its_line_says_what_to_install(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where uvicorn is not installed the other lines are measured."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [one for one in sys.modules if one.startswith("tutelage.conformance.served")]:
        monkeypatch.delitem(sys.modules, name)
    found = part(load(str(recipe)), "served = local", "padding")
    assert [line.answer for line in found.lines] == ["not checked", "ok", "ok"]
    assert "tutelage[serve]" in said(found)["served = local"]
    assert found.exit_status == 0


def test_nothing_is_left_behind(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside the recipe nor among the temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    before = room(tmp_path)
    assert part(load(str(recipe)), *IN_PROCESS).exit_status == 0
    assert room(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("during", ["cached = local", "processes"])
def test_an_end_by_a_signal_leaves_nothing_behind(
    recipe: Path, tmp_path: Path, sent: signal.Signals, status: int, during: str
) -> None:
    """Temporary files are gone, and so are the processes that it had started."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "tutelage", "check", str(recipe), "--conformance"]
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.strip() == f"checking {during}":
                break
        until = time.monotonic() + PATIENCE
        while during == "processes" and time.monotonic() < until:
            if len(_workers(temporary)) == 2:
                break
            time.sleep(0.02)
        assert room(temporary), "there is nothing to be left behind yet"
        running.send_signal(sent)
        out, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == status
    assert "Traceback" not in out
    assert room(temporary) == []
    assert _workers(temporary) == []


def _workers(temporary: Path) -> list[int]:
    """Process ids of those that were started with a folder among these temporary files."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "tutelage.conformance.worker" in words and words[-1].startswith(str(temporary)):
                found.append(process.pid)
    return found
