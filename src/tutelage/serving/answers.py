"""What a teacher says about rows of tokens: forward passes over rows of like length, answers row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Hidden, kept
from tutelage.distribution.base import BucketRows, FullRows, Workspace, coarse
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch
from tutelage.stores.payload import Form, Kind, packed
from tutelage.text import Example, collate

PAD_ID = 0
"""Any id will do: what is padding is told by lengths."""


@dataclass(frozen=True)
class Scores:
    """Asks for the log-probability of each counted token itself, and of the likeliest ones.

    Attributes:
        k: how many of the likeliest; 0 for none.
    """

    k: int = 0


Wanted = Form | Scores
Answer = dict[str, Tensor]
"""Named tensors whose first axis are counted positions."""


def answered(
    teacher: Callable[[Batch], Distribution],
    rows: Sequence[Example],
    wanted: Wanted,
    batch_tokens: int,
    device: str = "cpu",
) -> list[Answer]:
    """What the teacher says about each row, in the order of the rows.

    Rows are sorted by length and joined into forward passes of at most ``batch_tokens`` tokens, padding
    included (a longer row has one for itself). What stands beside a row changes its answer in rounding only.

    Args:
        teacher: what says something about a batch.
        rows: at least one.
        wanted: what is wanted at each counted token.
        batch_tokens: tokens of one forward pass.
        device: where the teacher is.
    """
    answers: list[Answer] = [{} for _ in rows]
    with torch.no_grad():
        for group in passes([len(row.tokens) for row in rows], batch_tokens):
            batch = collate([rows[i] for i in group], PAD_ID).to(device)
            said = _read(teacher(batch), batch, wanted)
            sizes = batch.mask.sum(1).tolist()
            parts = {name: tensor.split(sizes) for name, tensor in said.items()}
            for place, i in enumerate(group):
                answers[i] = {name: split[place] for name, split in parts.items()}
    return answers


def joined(answers: Sequence[Answer]) -> Answer:
    """The answers of several rows as one."""
    return {name: torch.cat([answer[name] for answer in answers]) for name in answers[0]}


def passes(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of rows that go through the model together, the shortest first."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted, so that the new row is the longest and all others are padded to it.
        if group and lengths[i] * (len(group) + 1) > batch_tokens:
            yield group
            group = []
        group.append(i)
    yield group


def kinds(distribution: Distribution) -> tuple[Kind, ...]:
    """In which forms a teacher's distributions can be sent, judged by one of them; the best first."""
    opened = distribution.open(slice(0, 1), Workspace(distribution.like))
    if isinstance(opened, FullRows):
        return ("hidden", "top_k", "dense") if isinstance(distribution, Hidden) else ("top_k", "dense")
    # Of k kept tokens and the rest only those can be sent on; of drawn tokens nothing exact.
    return ("top_k",) if isinstance(opened, BucketRows) else ()


def answer_bytes(form: Form, positions: int, vocab_size: int, width: int) -> int:
    """How many bytes the tensors of an answer are; ``width`` is that of hidden states."""
    number = form.dtype.itemsize
    one = {"hidden": width * number, "dense": vocab_size * number}.get(form.kind, form.k * (4 + number) + 4)
    return positions * one


def _read(distribution: Distribution, batch: Batch, wanted: Wanted) -> Answer:
    if isinstance(wanted, Form):
        return packed(distribution, wanted)
    return _scored(distribution, batch.gold, wanted.k)


def _scored(distribution: Distribution, gold: Tensor, k: int) -> Answer:
    workspace = Workspace(distribution.like)
    opened = distribution.open(slice(None), workspace)
    if not isinstance(opened, FullRows):
        raise TutelageError(
            "this teacher knows only some tokens at each position and cannot score a text",
            expected="a teacher with a probability for every token",
            fix="ask for `top_k` through /v1/distributions",
        )
    columns = coarse(opened, gold[None], workspace)
    said = {"gold": (columns[0] - columns.logsumexp(0)).float().cpu()}
    if k:
        best = kept(distribution, k)
        said |= {"ids": best.ids.cpu(), "log_probs": best.log_probs_kept.float().cpu()}
    return said
