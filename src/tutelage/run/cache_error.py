"""How much a cache loses: what it gives back, compared with its teacher on text that is kept aside."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution import Distribution
from tutelage.distribution.base import FullRows, Workspace
from tutelage.divergences import TABLE
from tutelage.evaluation.held_out import compared
from tutelage.evaluation.intervals import over_rows
from tutelage.run.cache_source import Source
from tutelage.run.keeping import batches_of
from tutelage.run.learner import meet, said_by
from tutelage.stores.cache import Cache
from tutelage.stores.payload import unpacked

ROWS_AT_A_TIME = 128
READ_ROWS = 256


def measured(source: Source, cache: Cache, device: str) -> dict[str, Any]:
    """Means per token with 95 % intervals over rows of text, in nats; plain JSON values.

    ``kl_nats`` is KL(teacher || what the cache gives back), ``gap_nats`` how far the recipe's student is
    from the teacher less how far the cache says it is (a bound's gap, or an estimate's error), and
    ``spread_nats`` the standard deviation of that gap over tokens. What cannot be compared is left out: a
    drawn distribution is no distribution, and a teacher that is itself cut has no full rows.
    """
    found: dict[str, list[Tensor]] = {}
    tokens: list[Tensor] = []
    for batch, keys in batches_of(source, source.measured, device):
        with torch.no_grad():
            live, student = source.teacher(batch), said_by(source.student.model.eval(), batch)
            tensors = cache.rows(cache.index.find(keys))
            frame = replace(cache.frame, layer={k: v.to(device) for k, v in cache.frame.layer.items()})
            kept = unpacked({name: t.to(device) for name, t in tensors.items()}, frame)
            values = _values(meet(live, source.shared), kept, meet(kept, source.shared), student, source)
        rows = batch.positions[0].cpu()
        count = len(batch.writers)
        tokens.append(torch.bincount(rows, minlength=count).double())
        for name, value in values.items():
            sums = torch.zeros(count, dtype=torch.float64).index_add(0, rows, value)
            found.setdefault(name, []).append(sums)
    counts = torch.cat(tokens)
    numbers: dict[str, Any] = {"where": source.where, "rows": len(counts), "tokens": int(counts.sum())}
    sums = {name: torch.cat(parts) for name, parts in found.items()}
    for name in ("kl", "gap"):
        if name in sums:
            numbers[f"{name}_nats"] = _plain(asdict(over_rows(sums[name], counts)))
    if "squared" in sums:
        mean = float(sums["gap"].sum() / counts.sum())
        numbers["spread_nats"] = math.sqrt(max(0.0, float(sums["squared"].sum() / counts.sum()) - mean**2))
    return numbers


def read_speed(cache: Cache) -> dict[str, float]:
    """Tokens and bytes a second with which rows are read in random order, from a warm page cache."""
    order = torch.randperm(len(cache.index), generator=torch.Generator().manual_seed(0))[:READ_ROWS]
    cache.rows([int(place) for place in order[:8]])
    began = time.perf_counter()
    read = [cache.rows([int(place) for place in places]) for places in order.split(8)]
    seconds = max(time.perf_counter() - began, 1e-9)
    size = sum(t.numel() * t.element_size() for tensors in read for t in tensors.values())
    tokens = sum(len(next(iter(tensors.values()))) for tensors in read)
    return {"tokens_per_second": tokens / seconds, "bytes_per_second": size / seconds}


def _values(
    live: Distribution, kept: Distribution, met: Distribution, student: Distribution, source: Source
) -> Mapping[str, Tensor]:
    """Every measure at every position ``[N]``, float64."""
    kl = TABLE.load("forward_kl")
    student = meet(student, source.shared)
    parts: dict[str, list[Tensor]] = {}
    if not isinstance(live.open(slice(0, 1), Workspace(live.like)), FullRows):
        return {}
    for start in range(0, live.positions, ROWS_AT_A_TIME):
        rows = slice(start, min(start + ROWS_AT_A_TIME, live.positions))
        log_p, log_q = live.log_probs(rows), student.log_probs(rows)
        value = {}
        if kept.needs is None:
            value["kl"] = kl(met.log_probs(rows), log_p)
        gap = kl(log_q, log_p) - compared(log_q, met, kl, rows)
        value |= {"gap": gap, "squared": gap.double() ** 2}
        for name, one in value.items():
            parts.setdefault(name, []).append(one.double().cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def _plain(interval: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in interval.items()}
