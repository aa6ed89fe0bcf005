"""Checkpoints of a run: safetensors and JSON, written whole or not at all, checked when read.

A checkpoint is a folder ``state/step-N``. It is written beside its place, flushed to the disk and
renamed, so that a run killed at any moment finds either the old state or the new one. Its manifest
holds a hash of every file. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tutelage.errors import Damaged
from tutelage.files import cannot_write, flush

PREFIX = "step-"
TEACHER = "teacher.safetensors"
GO_ON = (
    "make room, or write elsewhere (`out:`); the last good state is untouched and the same command goes on"
)


@dataclass(frozen=True)
class Checkpoint:
    """What resuming needs.

    Attributes:
        step: optimiser steps done.
        weights: trained and buffered tensors by name.
        optimizer: the optimiser's tensors, ``<parameter>//<key>``.
        values: everything else, as plain JSON values (counters, state of samples and schedules).
        teacher: tensors of a teacher that moves with the student, such as averaged weights.
    """

    step: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    values: Mapping[str, Any]
    teacher: Mapping[str, Tensor] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write ``folder/step-N``, then forget all but the newest ``keep``.

    Raises:
        TutelageError: the disk is full or the folder cannot be written; what was there stays.
    """
    target = folder / f"{PREFIX}{checkpoint.step:08d}"
    with writing(target) as temporary:
        save_file(_plain(checkpoint.weights), temporary / "weights.safetensors")
        save_file(_plain(checkpoint.optimizer), temporary / "optimizer.safetensors")
        if checkpoint.teacher:
            save_file(_plain(checkpoint.teacher), temporary / TEACHER)
        state = {"step": checkpoint.step, "values": checkpoint.values}
        (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        hashes = {path.name: file_hash(path) for path in sorted(temporary.iterdir())}
        (temporary / "manifest.json").write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    for old in _saved(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is what was written; None if there is none.

    A damaged one is passed over for the one before it.

    Raises:
        Damaged: there are checkpoints and none of them is whole.
    """
    saved = _saved(folder)
    faults = []
    for path in reversed(saved):
        try:
            return read_checkpoint(path)
        except Damaged as fault:
            faults.append(fault)
    if faults:
        raise faults[0]
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read ``state/step-N`` and check every file against its hash.

    Raises:
        Damaged: a file is missing or is not what was written.
    """
    try:
        hashes = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, expected in hashes.items():
            if file_hash(path / name) != expected:
                raise _damaged(path / name, "its hash is not the one in manifest.json")
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        return Checkpoint(
            step=state["step"],
            weights=load_file(path / "weights.safetensors"),
            optimizer=load_file(path / "optimizer.safetensors"),
            values=state["values"],
            teacher=load_file(path / TEACHER) if TEACHER in hashes else {},
        )
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise _damaged(path, str(error)) from error


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each once (a tied head is saved with its embedding)."""
    named = dict(module.named_parameters())
    named |= {name: value for name, value in module.named_buffers() if name in module.state_dict()}
    return {name: tensor.detach() for name, tensor in named.items()}


def restore_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put saved weights back, exactly."""
    current = weights_of(module)
    if current.keys() != weights.keys():
        names = sorted(current.keys() ^ weights.keys())
        raise Damaged(
            f"the saved state and the student have different weights ({names[0]}, ...)",
            expected="a state saved by this very recipe",
            fix="choose another `out:` folder, or remove its `state/`",
        )
    with torch.no_grad():
        for name, tensor in current.items():
            tensor.copy_(weights[name])


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: ``<parameter>//<key>``."""
    return {
        f"{name}//{key}": torch.as_tensor(value).detach()
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Put the optimiser's saved state back."""
    parameters = dict(module.named_parameters())
    for path, tensor in tensors.items():
        name, _, key = path.partition("//")
        parameter = parameters[name]
        # Adam counts its steps in a tensor on the CPU; moments live beside their weights.
        place = "cpu" if tensor.dim() == 0 else parameter.device
        optimizer.state[parameter][key] = tensor.to(place)


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place when the block ends well.

    Raises:
        TutelageError: the disk is full or the folder cannot be written; ``target`` is untouched.
    """
    temporary = target.with_name(f".{target.name}.writing")
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                flush(path)
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
        flush(target.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise cannot_write(target, error, GO_ON) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _saved(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(
        f"{path}: damaged ({why})",
        expected="the state as it was written, file for file",
        fix="remove this folder; the run goes on from the state before it, or from the start",
    )
