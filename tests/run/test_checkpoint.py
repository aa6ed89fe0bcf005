"""Checkpoints are written whole or not at all, and damage is noticed."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import Damaged, TutelageError
from tutelage.run.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
    weights_of,
)


def checkpoint(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    return Checkpoint(
        step,
        {"w": torch.randn(3, 4, generator=generator), "half": torch.randn(2, generator=generator).bfloat16()},
        {"w//exp_avg": torch.randn(3, 4, generator=generator)},
        {"samples": {"cursor": step}, "counted_tokens": 7},
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    """Bit for bit, types included."""
    written = checkpoint(4)
    read = read_checkpoint(save_checkpoint(tmp_path, written, keep=2))
    assert read.step == 4
    assert read.values == written.values
    for mine, theirs in ((read.weights, written.weights), (read.optimizer, written.optimizer)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[k], theirs[k]) and mine[k].dtype == theirs[k].dtype for k in mine)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    """`save_total_limit` of them."""
    for step in (1, 2, 3, 10):
        save_checkpoint(tmp_path, checkpoint(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000010"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 10


@given(place=st.floats(0, 1, exclude_max=True), name=st.sampled_from(["weights", "optimizer", "state"]))
def test_a_flipped_byte_anywhere_is_noticed_and_the_state_before_is_used(
    tmp_path_factory: pytest.TempPathFactory, place: float, name: str
) -> None:
    """A damaged checkpoint is passed over; when none is whole, it is an error with a way out."""
    folder = tmp_path_factory.mktemp("state")
    save_checkpoint(folder, checkpoint(1), keep=2)
    newest = save_checkpoint(folder, checkpoint(2), keep=2)
    path = next(newest.glob(f"{name}.*"))
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged):
        read_checkpoint(newest)
    found = newest_checkpoint(folder)
    assert found is not None
    assert found.step == 1
    (folder / "step-00000001" / "manifest.json").unlink()
    with pytest.raises(Damaged, match="damaged"):
        newest_checkpoint(folder)


def test_a_half_written_checkpoint_is_not_one(tmp_path: Path) -> None:
    """What a kill leaves behind is neither read nor in the way."""
    (tmp_path / ".step-00000005.writing").mkdir(parents=True)
    (tmp_path / ".step-00000005.writing" / "weights.safetensors").write_bytes(b"half")
    assert newest_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, checkpoint(5), keep=2)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 5


def test_a_full_disk_leaves_the_last_good_state(tmp_path: Path) -> None:
    """The system refuses to write more (a limit on file sizes): three lines, and the old state stays."""
    save_checkpoint(tmp_path, checkpoint(1), keep=1)
    script = (
        "import resource, signal, torch\n"
        "from pathlib import Path\n"
        "from tutelage.errors import TutelageError\n"
        "from tutelage.run.checkpoint import Checkpoint, save_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        f"    save_checkpoint(Path({str(tmp_path)!r}), "
        "Checkpoint(2, {'w': torch.zeros(10000)}, {}, {}), keep=1)\n"
        "except TutelageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "the disk is full" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert read_checkpoint(tmp_path / "step-00000001").step == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_an_unwritable_folder_gives_three_lines(tmp_path: Path) -> None:
    """Even for root: a folder cannot be made inside a file."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(TutelageError, match="cannot be written") as caught:
        save_checkpoint(tmp_path / "file" / "state", checkpoint(1), keep=1)
    assert len(str(caught.value).splitlines()) == 3


def test_optimiser_and_tied_weights_go_there_and_back() -> None:
    """A tied head is saved once and is still tied; AdamW goes on as if nothing had happened."""

    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = torch.nn.ModuleDict({"embed": torch.nn.Embedding(5, 3), "head": torch.nn.Linear(3, 5)})
        module["head"].weight = module["embed"].weight
        return module, torch.optim.AdamW(module.parameters(), lr=0.1)

    def step(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        module["head"](module["embed"](torch.tensor([1, 2]))).square().sum().backward()
        optimizer.step()

    one, by_one = made()
    step(one, by_one)
    saved, moments = weights_of(one), optimizer_tensors(by_one, one)
    assert len(saved) == 2
    saved, moments = ({k: v.clone() for k, v in d.items()} for d in (saved, moments))
    other, by_other = made()
    restore_weights(other, saved)
    restore_optimizer(by_other, other, moments)
    for module, optimizer in ((one, by_one), (other, by_other)):
        step(module, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert other["head"].weight is other["embed"].weight
