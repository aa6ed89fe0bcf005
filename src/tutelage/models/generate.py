"""Writing: rows of tokens are continued in a batch, each with chance of its own; nothing else is disturbed.

A row's text is a function of its tokens, its seed and the weights: the rows beside it change no more than
the rounding of a batch does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tutelage.errors import OutOfRange
from tutelage.models.drawing import Drawing, drawn
from tutelage.models.load import LanguageModel, quiet
from tutelage.models.reader import Reader
from tutelage.models.shared import Shared
from tutelage.numerics import times_log
from tutelage.seeds import stream_seed
from tutelage.text import start_tokens


class Reads(Protocol):
    """Rows being read, token by token, such as `Reader`."""

    logits: Tensor

    def step(self, said: Tensor, on: Tensor) -> None: ...


Beside = Callable[[Sequence[Sequence[int]], Shared | None], Reads]
"""Begins to read rows of tokens, saying only shared ids."""


@dataclass(frozen=True, eq=False)
class Written:
    """What was written after rows of tokens.

    Attributes:
        tokens: ids, ``[B, L]``, padded on the right; an end token that was said is there.
        mask: true at what was written, ``[B, L]``.
        log_probs: of every token under the sampling distribution, ``[B, L]``, natural; 0 at padding.
        ended: true where the row ended by itself, ``[B]``: with the end token or a stop text.
        own: of every token under the model as it is (no temperature, nothing cut off), ``[B, L]``; zeros
            where only another one was read.
        others: the same under the one that was read beside it, or None without one.
        entropy: of the sampling distribution at every token, in nats, ``[B, L]``.
    """

    tokens: Tensor
    mask: Tensor
    log_probs: Tensor
    ended: Tensor
    own: Tensor
    others: Tensor | None
    entropy: Tensor

    def row(self, number: int) -> list[int]:
        """The ids of one row, without padding."""
        return self.tokens[number][self.mask[number]].tolist()


@dataclass(frozen=True)
class Continuation:
    """What was written after a prompt.

    Attributes:
        tokens: without the end token; with a stop text they end with the token that completed it.
        text: the same as text, without the stop text.
        ended: whether it ended by itself or at a stop text, and not for want of room.
    """

    tokens: tuple[int, ...]
    text: str
    ended: bool


def continued(
    model: LanguageModel,
    rows: Sequence[Sequence[int]],
    *,
    most: int | Sequence[int],
    seeds: Sequence[int],
    drawing: Drawing | None = None,
    shared: Shared | None = None,
    stop: Sequence[str] = (),
    seconds: float | None = None,
    beside: Beside | None = None,
    share: float = 0.0,
) -> Written:
    """Continue rows of tokens until the end token, a stop text, or for so many tokens.

    With another one ``beside`` the model every token is drawn from a mixture of both sampling
    distributions: ``share`` of the other's probabilities, the rest of the model's.

    Args:
        model: writes in evaluation mode on the device where it is; its mode is put back afterwards.
        rows: at least one token each.
        most: new tokens at most, for all rows or for each.
        seeds: one a row: what is drawn for it depends on nothing else.
        drawing: the sampling distribution; None is the model's own.
        shared: ids that may be said; None allows every token of the model's vocabulary.
        stop: texts that end a row.
        seconds: all rows end where they are after this long.
        beside: begins to read the same rows in another model, or None.
        share: of the other in the mixture; at 1 the model itself is not run at all.

    Raises:
        OutOfRange: ``most`` is below 1, or ``share`` is no share.
    """
    if not 0 <= share <= 1 or (share > 0 and beside is None):
        raise OutOfRange(
            f"a share of {share} for {'nobody' if beside is None else 'another model'}",
            expected="a share from 0 to 1, and another model if it is above 0",
            fix="pass `beside=`, or a share of 0",
        )
    limits = torch.tensor([most] * len(rows) if isinstance(most, int) else list(most)).long()
    if len(limits) and int(limits.min()) < 1:
        raise OutOfRange(
            f"max_new_tokens is {int(limits.min())}", expected="at least 1", fix="write for instance 60"
        )
    room = int(limits.max()) if len(limits) else 0
    tokens = torch.full((len(rows), room), model.pad_id)
    mask = torch.zeros(len(rows), room, dtype=torch.bool)
    kept = torch.zeros(4, len(rows), room)
    ended = torch.zeros(len(rows), dtype=torch.bool)
    if rows:
        drawing, until = drawing or Drawing(), None if seconds is None else time.monotonic() + seconds
        chance = torch.stack([_chance(seed, room) for seed in seeds])
        network: Any = model.model
        training = network.training
        network.eval()
        try:
            with quiet(), torch.no_grad():
                pair, alive = _Pair(model, rows, shared, beside, share), torch.arange(len(rows))
                for place in range(room):
                    logs = pair.log_probs(drawing)
                    said = drawn(logs, chance[alive, place].to(logs.device))
                    tokens[alive, place] = said.cpu()
                    kept[:, alive, place] = torch.stack(
                        [_at(logs, said), *pair.of(said), _entropy(logs)]
                    ).cpu()
                    mask[alive, place] = True
                    ended[alive] = _ended(model, tokens[alive, : place + 1], stop)
                    on = ~ended[alive] & (place + 1 < limits[alive])
                    if not bool(on.any()) or (until is not None and time.monotonic() > until):
                        break
                    alive = alive[on]
                    pair.step(said, on.to(said.device))
        finally:
            network.train(training)
    longest = int(mask.sum(1).max()) if rows else 0
    log_probs, own, others, entropy = kept[:, :, :longest]
    told = others if beside is not None and share > 0 else None
    return Written(tokens[:, :longest], mask[:, :longest], log_probs, ended, own, told, entropy)


class _Pair:
    """The model and whoever reads beside it, each with what it has read.

    Args:
        model: the model.
        rows: at least one token each.
        shared: ids that may be said.
        beside: begins to read the same rows in another model, or None.
        share: of the other in the mixture.
    """

    def __init__(
        self,
        model: LanguageModel,
        rows: Sequence[Sequence[int]],
        shared: Shared | None,
        beside: Beside | None,
        share: float,
    ) -> None:
        self.share = share
        self.own = Reader(model, rows, shared) if share < 1 else None
        self.other = beside(rows, shared) if beside is not None and share > 0 else None

    def log_probs(self, drawing: Drawing) -> Tensor:
        """Natural logs ``[B, V]`` of the sampling distribution."""
        if self.other is None:
            assert self.own is not None
            return drawing.log_probs(self.own.logits)
        theirs = drawing.log_probs(self.other.logits)
        if self.own is None:
            return theirs
        ours = drawing.log_probs(self.own.logits)
        width = min(ours.shape[1], theirs.shape[1])  # beyond it nothing is shared
        mixed = [ours[:, :width] + math.log1p(-self.share), theirs[:, :width] + math.log(self.share)]
        return torch.logaddexp(*mixed)

    def of(self, said: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities ``[B]`` of tokens under both as they are; zeros for who is not there."""
        nobody = torch.zeros(said.shape, device=said.device)
        own, other = (
            nobody if one is None else _at(one.logits.log_softmax(1), said) for one in (self.own, self.other)
        )
        return own, other

    def step(self, said: Tensor, on: Tensor) -> None:
        """Read one token more in the rows that go on."""
        for one in (self.own, self.other):
            if one is not None:
                one.step(said, on)


def _at(logs: Tensor, tokens: Tensor) -> Tensor:
    return logs.gather(1, tokens[:, None])[:, 0]


def _entropy(logs: Tensor) -> Tensor:
    return -times_log(logs.exp(), logs).sum(1)


def write(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    seed: int,
    temperature: float = 0.0,
) -> list[str]:
    """Continue each prompt until the end token, or for so many tokens.

    A prompt begins with the start token, as the prompts and texts of training do. The model's mode
    and torch's random state are what they were when this returns.

    Args:
        model: writes on the device where it is.
        prompts: texts, which may be empty.
        max_new_tokens: at most so many tokens each.
        seed: of the run; used where something is drawn.
        temperature: 0 takes the likeliest token each time; 1 draws from the model's own distribution.

    Returns:
        What was written after each prompt, without it and without the end token.

    Raises:
        OutOfRange: ``temperature`` is negative or ``max_new_tokens`` below 1.
    """
    rows = [prompt_tokens(model, prompt) for prompt in prompts]
    written = continue_rows(model, rows, max_new_tokens=max_new_tokens, seed=seed, temperature=temperature)
    return [one.text for one in written]


def prompt_tokens(model: LanguageModel, prompt: str) -> list[int]:
    """The tokens of a prompt, with the start token (the end token where nothing else is there)."""
    tokenizer: Any = model.tokenizer
    row = start_tokens(tokenizer) + tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    return row or [tokenizer.eos_token_id]


def continue_rows(
    model: LanguageModel,
    rows: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seed: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    stop: Sequence[str] = (),
    seconds: float | None = None,
) -> list[Continuation]:
    """Continue rows of tokens, as text; see `continued`.

    Args:
        model: writes on the device where it is.
        rows: at least one token each.
        max_new_tokens: at most so many tokens each.
        seed: the n-th row draws from a stream of its own of this seed.
        temperature: 0 takes the likeliest token each time.
        top_p: draw among the likeliest tokens that make up this share of the probability.
        stop: texts that end a continuation and are not part of it.
        seconds: all rows end where they are after this long.

    Raises:
        OutOfRange: ``temperature``, ``top_p`` or ``max_new_tokens`` mean nothing.
    """
    said = continued(
        model,
        rows,
        most=max_new_tokens,
        seeds=[stream_seed(seed, "text for reports", number) for number in range(len(rows))],
        drawing=Drawing(temperature, top_p=top_p),
        stop=stop,
        seconds=seconds,
    )
    return [_as_text(model, said.row(number), bool(said.ended[number]), stop) for number in range(len(rows))]


def _chance(seed: int, draws: int) -> Tensor:
    return torch.rand(draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _ended(model: LanguageModel, tokens: Tensor, stop: Sequence[str]) -> Tensor:
    """Rows ``[B]`` whose last token ends them, or in whose text a stop text stands."""
    tokenizer: Any = model.tokenizer
    end = tokenizer.eos_token_id
    over = torch.zeros(len(tokens), dtype=torch.bool) if end is None else tokens[:, -1].eq(end)
    if stop:
        texts = [_decoded(tokenizer, row.tolist()) for row in tokens]
        over |= torch.tensor([any(one in text for one in stop) for text in texts])
    return over


def _as_text(model: LanguageModel, ids: list[int], ended: bool, stop: Sequence[str]) -> Continuation:
    tokenizer: Any = model.tokenizer
    if ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    text = _decoded(tokenizer, ids)
    found = [text.index(one) for one in stop if one in text]
    return Continuation(tuple(ids), text[: min(found)] if found else text, ended)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
