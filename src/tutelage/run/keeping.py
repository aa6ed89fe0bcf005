"""From rows of text to the tensors of a shard: what the teacher says of them, in the form that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tutelage.distribution import Distribution
from tutelage.distribution.base import BucketRows, FullRows, Workspace, coarse
from tutelage.interfaces import Batch, Teacher
from tutelage.run.cache_source import Source
from tutelage.seeds import stream
from tutelage.stores.payload import Form, packed
from tutelage.stores.shards import GOLD
from tutelage.text import Example, collate

TOKENS_AT_A_TIME = 4096
"""Tokens, padding included, in one forward pass of the teacher."""


def in_order(rows: Sequence[Example], shard: range) -> list[int]:
    """Numbers of the rows of a shard, the short ones first, so that little is padded."""
    return sorted(shard, key=lambda row: len(rows[row].tokens))


def tensors_of(source: Source, form: Form, numbers: Sequence[int], device: str) -> dict[str, Tensor]:
    """What the teacher says of some rows, joined in their order.

    Which rows go through the teacher together follows from ``numbers`` alone, so the same numbers give the
    same bytes on one machine.

    Args:
        source: teacher and rows.
        form: how much is kept.
        numbers: of the rows.
        device: where the teacher is.
    """
    parts: dict[str, list[Tensor]] = {}
    for batch, keys in batches_of(source, numbers, device):
        with torch.no_grad():
            told = source.teacher(batch)
            for name, tensor in kept_of(source.teacher, told, batch, form, keys).items():
                parts.setdefault(name, []).append(tensor)
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def batches_of(source: Source, numbers: Sequence[int], device: str) -> list[tuple[Batch, list[bytes]]]:
    """The rows in batches of at most `TOKENS_AT_A_TIME` tokens, with their keys."""
    found, rows = [], list(numbers)
    while rows:
        longest = size = 0
        for number in rows:
            longest = max(longest, len(source.rows[number].tokens))
            if size and longest * (size + 1) > TOKENS_AT_A_TIME:
                break
            size += 1
        taken, rows = rows[:size], rows[size:]
        batch = collate([source.rows[number] for number in taken], source.student.pad_id)
        found.append((batch.to(device), [source.keys[number] for number in taken]))
    return found


def kept_of(
    teacher: Teacher, told: Distribution, batch: Batch, form: Form, keys: Sequence[bytes]
) -> dict[str, Tensor]:
    """The tensors of `tutelage.stores.payload.ARRAYS`, and what was said of the written tokens where those
    do not tell it."""
    if form.kind == "hidden":
        return packed(told, form)
    found = packed(told, form) if form.kind != "sampled" else _drawn_by_row(told, batch, form, keys)
    return {**found, GOLD: _gold(teacher, told, batch, found)}


def _drawn_by_row(told: Distribution, batch: Batch, form: Form, keys: Sequence[bytes]) -> dict[str, Tensor]:
    # Chance is seeded by a row's key: what is drawn depends neither on its neighbours nor on any order.
    parts: dict[str, list[Tensor]] = {}
    start = 0
    for key, count in zip(keys, batch.mask.sum(1).tolist(), strict=True):
        chance = stream(0, f"sampled {key.hex()}")
        for name, tensor in packed(told, form, chance, slice(start, start + count)).items():
            parts.setdefault(name, []).append(tensor)
        start += count
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def _gold(teacher: Teacher, told: Distribution, batch: Batch, found: Mapping[str, Tensor]) -> Tensor:
    """What the teacher says of the tokens that were written, ``[N]`` in nats."""
    known = getattr(teacher, "gold_log_probs", None)
    if known is not None and (stored := known(batch)) is not None:
        return stored.float().cpu()
    gold = batch.gold.cpu()
    same = found["ids"] == gold[:, None]
    logs = found["log_probs"].float().masked_fill(~same, -torch.inf).amax(1)
    # The head is asked again only where the token is not among those that are kept.
    for chunk in (~same.any(1)).nonzero()[:, 0].split(TOKENS_AT_A_TIME):
        place = chunk.to(told.like.device)
        opened = told.open(place, Workspace(told.like))
        assert isinstance(opened, FullRows | BucketRows)
        columns = coarse(opened, batch.gold[place][None], Workspace(told.like))
        logs[chunk] = (columns[0] - columns.logsumexp(0)).float().cpu()
    return logs
