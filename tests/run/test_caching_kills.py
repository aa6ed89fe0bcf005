"""Builds and runs that are killed, and builds by several processes: the same bytes in the end."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from small_caches import cache_of, contents, saved_model, stories
from tutelage.recipes import load
from tutelage.run import distil
from tutelage.run.caching import build_cache
from tutelage.stores.manifest import SHARDS
from tutelage.stores.payload import Form
from tutelage.stores.places import WRITING
from tutelage.stores.verify import verify

pytestmark = pytest.mark.slow

PYTHON = [sys.executable, "-m", "tutelage"]
KINDS = {"hidden": [], "sampled": ["--kind", "sampled", "--draws", "20"]}


def environment() -> dict[str, str]:
    """One thread, no hub."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe on 160 stories with a teacher that takes a moment."""
    folder = tmp_path_factory.mktemp("killed")
    teacher = saved_model(folder / "teacher", seed=3, n_embd=96, n_layer=3, n_head=4)
    words = stories(folder, teacher, samples={"max_rows": 160, "max_length": 64}).resolved()
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in words.items() if value is not None}))
    return path


def build(recipe: Path, out: Path, kind: str) -> list[str]:
    return [*PYTHON, "cache", "build", str(recipe), "--out", str(out), "--shard-tokens", "500", *KINDS[kind]]


def built_here(recipe: Path, out: Path, kind: str) -> Path:
    """The same build, uninterrupted, in this process."""
    form = Form("hidden") if kind == "hidden" else Form("sampled", draws=20)
    build_cache(load(str(recipe)), str(out), form, shard_tokens=500)
    return out


def started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def shards(out: Path) -> int:
    return len(list((out / SHARDS).glob("*.safetensors"))) if (out / SHARDS).is_dir() else 0


def killed_at(command: list[str], out: Path, count: int) -> bool:
    """Start a build and SIGKILL it once so many shards are there; False if it ended before."""
    process = started(command)
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        if shards(out) >= count:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    assert process.poll() is not None, "the build neither went on nor ended"
    return False


@pytest.mark.parametrize("kind", [pytest.param("hidden", marks=pytest.mark.long), "sampled"])
def test_a_build_killed_three_times_gives_the_bytes_of_an_uninterrupted_one(
    recipe: Path, tmp_path: Path, kind: str
) -> None:
    """SIGKILL at any moment, the same command again; what was finished is kept, nothing is left over."""
    whole, killed = built_here(recipe, tmp_path / "whole", kind), tmp_path / "killed"
    number = shards(whole)
    assert number > 15
    points = sorted(random.Random(time.time_ns()).sample(range(1, number), 3))
    kept = []
    for point in points:
        assert killed_at(build(recipe, killed, kind), killed, point), f"was not killed at {points}"
        kept.append({path.name: path.stat().st_mtime_ns for path in (killed / SHARDS).iterdir()})
    subprocess.run(build(recipe, killed, kind), env=environment(), check=True, capture_output=True)
    assert contents(killed) == contents(whole), f"killed at {points}"
    assert verify(str(killed)).exit_status == 0
    last = {path.name: path.stat().st_mtime_ns for path in (killed / SHARDS).iterdir()}
    assert all(before.items() <= last.items() for before in kept)
    assert not list(killed.glob(f"{WRITING}*"))


@pytest.mark.parametrize("how", ["torchrun", pytest.param("by hand", marks=pytest.mark.long)])
def test_two_processes_build_what_one_builds(recipe: Path, tmp_path: Path, how: str) -> None:
    """Started by torchrun, or twice by hand in the same moment; one of them may be killed."""
    one, two = built_here(recipe, tmp_path / "one", "hidden"), tmp_path / "two"
    if how == "torchrun":
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
        command += ["-m", "tutelage", *build(recipe, two, "hidden")[3:]]
        subprocess.run(command, env=environment(), check=True, capture_output=True)
    else:
        first, second = (started(build(recipe, two, "hidden")) for _ in range(2))
        while shards(two) < 3 and first.poll() is None:
            time.sleep(0.002)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        assert second.wait(timeout=300) == 0
    assert contents(two) == contents(one)


def test_a_run_from_a_cache_that_is_killed_ends_with_the_same_weights(recipe: Path, tmp_path: Path) -> None:
    """Bit for bit (law 6), with the teacher on disk."""
    build_cache(load(str(recipe)), str(tmp_path / "cache"), Form("top_k", k=16))
    teacher = f"teacher={{kind: cached, cache: {tmp_path / 'cache'}}}"
    words = [teacher, "training.max_steps=12", "training.save_steps=2"]

    def run(name: str) -> list[str]:
        return [*PYTHON, "run", str(recipe), f"out={tmp_path / name}", *words]

    distil(load(str(recipe), [f"out={tmp_path / 'whole'}", *words]))
    metrics = tmp_path / "killed" / "metrics.jsonl"
    for lines in (3, 9):
        process = started(run("killed"))
        while process.poll() is None:
            if metrics.exists() and metrics.read_text().count("loss_nats") >= lines:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.002)
        assert process.returncode == -signal.SIGKILL
    subprocess.run(run("killed"), env=environment(), check=True, capture_output=True)
    one, other = (load_file(tmp_path / n / "student" / "model.safetensors") for n in ("whole", "killed"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_killed_process_was_writing_is_swept_and_a_live_ones_is_not(
    recipe: Path, tmp_path: Path
) -> None:
    """A folder of a process that is gone blocks nothing; one of a process that lives is left alone."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    teacher = saved_model(tmp_path / "teacher", seed=1)
    cache_of(stories(tmp_path, teacher), tmp_path / "cache")
    (tmp_path / "cache" / "manifest.json").unlink()
    rooms = [
        tmp_path / "cache" / f"{WRITING}{socket.gethostname()}-{pid}" for pid in (dead.pid, os.getppid())
    ]
    for room in rooms:
        room.mkdir()
        (room / "0.safetensors").write_bytes(b"half")
    cache_of(stories(tmp_path, teacher), tmp_path / "cache")
    assert [room.exists() for room in rooms] == [False, True]
    assert verify(str(tmp_path / "cache")).exit_status == 0
