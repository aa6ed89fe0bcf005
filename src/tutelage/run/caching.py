"""Build a cache: run a recipe's teacher over a recipe's text once and keep what it said."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from tutelage.errors import OutOfRange
from tutelage.recipes import Recipe
from tutelage.run.built import CacheTold
from tutelage.run.cache_error import measured, read_speed
from tutelage.run.cache_source import Source, opened_source, vocabulary_files
from tutelage.run.keeping import batches_of, in_order, tensors_of
from tutelage.run.opened import Shelf
from tutelage.run.study import make_accelerator
from tutelage.run.told import told_tokenizer
from tutelage.stores.building import Plan, begun, fill, finish
from tutelage.stores.cache import Cache, open_cache
from tutelage.stores.manifest import LAYER, Description
from tutelage.stores.payload import Form, Frame, framed
from tutelage.stores.places import folder_at
from tutelage.stores.shards import planned
from tutelage.teachers.fingerprint import fingerprint

SHARD_TOKENS = 32_768
"""Counted tokens in a shard at most: the work that a kill can lose."""


def build_cache(recipe: Recipe, place: str, form: Form, *, shard_tokens: int = SHARD_TOKENS) -> CacheTold:
    """Keep what a recipe's teacher says about a recipe's text, held-out text included.

    A build that was killed goes on with the shards that are not there. Several processes with the same
    recipe and place, started by `torchrun` or by hand, build one cache together.

    Args:
        recipe: whose teacher and text.
        place: folder or address; new, empty, or one in which this very build began.
        form: how much of each distribution is kept.
        shard_tokens: counted tokens in a shard at most.

    Raises:
        TutelageError: something cannot be used, or the place holds something else; nothing is written over.
    """
    _check(form, shard_tokens)
    accelerator = make_accelerator(recipe)
    shelf = Shelf(accelerator)
    folder = folder_at(place)
    source = opened_source(recipe, shelf)
    device = shelf.machine.device
    plan, orders = _planned(source, form, shard_tokens, shelf)
    speed: dict[str, float] = {}
    manifest = begun(folder, plan)
    if manifest is None:
        screen = _Screen(place, plan)
        fill(
            folder,
            plan,
            lambda number: tensors_of(source, form, orders[number], device),
            share=(accelerator.process_index, accelerator.num_processes),
            wrote=screen.wrote,
        )
        speed = screen.speed()
        if accelerator.is_main_process:
            manifest = finish(folder, plan, lambda cache: measured(source, cache, device))
            folder.close()
        accelerator.wait_for_everyone()
    if manifest is None:
        return CacheTold(place, plan.description, open_cache(place).manifest)
    return CacheTold(place, plan.description, manifest, speed | read_speed(Cache(folder, manifest)))


def cache_info(place: str) -> CacheTold:
    """What is in a cache, from its description and its manifest."""
    cache = open_cache(place)
    return CacheTold(place, cache.description, cache.manifest)


def layer_file(frame: Frame) -> bytes:
    """The output layer as a file; float32 weights that bfloat16 holds exactly are kept in bfloat16."""
    return save({name: _narrow(tensor) for name, tensor in frame.layer.items()})


def form_told(form: Form) -> dict[str, Any]:
    """A form as plain JSON values, without the options of other kinds."""
    own = {"top_k": ("k",), "sampled": ("draws", "power")}.get(form.kind, ())
    precision = str(form.dtype).removeprefix("torch.")
    return {"kind": form.kind, "precision": precision} | {name: asdict(form)[name] for name in own}


def _check(form: Form, shard_tokens: int) -> None:
    if shard_tokens < 1:
        raise OutOfRange(
            f"{shard_tokens} tokens in a shard", expected="a number from 1 up", fix="leave it out"
        )
    if form.kind == "sampled" and (form.draws < 1 or not 0 < form.power <= 1):
        raise OutOfRange(
            f"{form.draws} draws from p^{form.power:g}",
            expected="at least one draw and a power above 0, at most 1",
            fix="write `--draws 50 --power 1`",
        )


def _planned(source: Source, form: Form, shard_tokens: int, shelf: Shelf) -> tuple[Plan, list[list[int]]]:
    """The plan of a cache, and for every shard the numbers of its rows in their order."""
    (batch, _), *_ = batches_of(source, [0], shelf.machine.device)
    with torch.no_grad():
        frame = framed(source.teacher(batch), form)
    counts = [sum(row.counted[1:]) for row in source.rows]
    orders = [in_order(source.rows, shard) for shard in planned(counts, shard_tokens)]
    dtype = shelf.dtype
    description = Description(
        form=form_told(form),
        frame=frame.told(),
        teacher=fingerprint(source.teacher, dtype),
        dtype=dtype,
        tokenizer=told_tokenizer(source.student.vocabulary),
        text=source.text,
        columns=source.columns,
        shard_tokens=shard_tokens,
    )
    layer = {LAYER: layer_file(frame)} if frame.layer else {}
    beside = vocabulary_files(source.teacher.vocabulary, source.recorded["teacher"]) | layer
    shards = [[(source.keys[row], counts[row]) for row in order] for order in orders]
    return Plan(description, beside, shards, source.recorded), orders


def _narrow(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu().contiguous()
    short = plain.to(torch.bfloat16)
    return short if torch.equal(short.to(plain.dtype), plain) else plain


class _Screen:
    """Tells on standard error how far a build is; the first process of several speaks."""

    def __init__(self, place: str, plan: Plan) -> None:
        self._place, self._plan = place, plan
        self._began = time.monotonic()
        self._tokens = 0
        self._quiet = os.environ.get("RANK", "0") != "0"

    def wrote(self, number: int, left: int) -> None:
        """One shard more."""
        self._tokens += sum(count for _, count in self._plan.shards[number])
        if not self._quiet:
            shards = len(self._plan.shards)
            rate = self._tokens / max(time.monotonic() - self._began, 1e-9)
            print(
                f"{self._place}  shard {shards - left + 1}/{shards}  {rate:,.0f} tokens/s",
                file=sys.stderr,
                flush=True,
            )

    def speed(self) -> dict[str, float]:
        """Tokens a second of this process, if it wrote any."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        return {"built_tokens_per_second": self._tokens / seconds} if self._tokens else {}
