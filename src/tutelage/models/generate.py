"""Writing: rows of tokens are continued in a batch, each with chance of its own; nothing else is disturbed.

A row's text is a function of its tokens, its seed and the weights: the rows beside it change no more than
the rounding of a batch does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import OutOfRange
from tutelage.models.drawing import Drawing, drawn
from tutelage.models.load import LanguageModel, quiet
from tutelage.models.reader import Reader
from tutelage.models.shared import Shared
from tutelage.seeds import stream_seed
from tutelage.text import start_tokens


@dataclass(frozen=True, eq=False)
class Written:
    """What was written after rows of tokens.

    Attributes:
        tokens: ids, ``[B, L]``, padded on the right; an end token that was said is there.
        mask: true at what was written, ``[B, L]``.
        log_probs: of every token under the sampling distribution, ``[B, L]``, natural; 0 at padding.
        ended: true where the row ended by itself, ``[B]``: with the end token or a stop text.
    """

    tokens: Tensor
    mask: Tensor
    log_probs: Tensor
    ended: Tensor

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
) -> Written:
    """Continue rows of tokens until the end token, a stop text, or for so many tokens.

    Args:
        model: writes in evaluation mode on the device where it is; its mode is put back afterwards.
        rows: at least one token each.
        most: new tokens at most, for all rows or for each.
        seeds: one a row: what is drawn for it depends on nothing else.
        drawing: the sampling distribution; None is the model's own.
        shared: ids that may be said; None allows every token of the model's vocabulary.
        stop: texts that end a row.
        seconds: all rows end where they are after this long.

    Raises:
        OutOfRange: ``most`` is below 1.
    """
    limits = torch.tensor([most] * len(rows) if isinstance(most, int) else list(most)).long()
    if len(limits) and int(limits.min()) < 1:
        raise OutOfRange(
            f"max_new_tokens is {int(limits.min())}", expected="at least 1", fix="write for instance 60"
        )
    room = int(limits.max()) if len(limits) else 0
    tokens = torch.full((len(rows), room), model.pad_id)
    mask = torch.zeros(len(rows), room, dtype=torch.bool)
    log_probs, ended = torch.zeros(len(rows), room), torch.zeros(len(rows), dtype=torch.bool)
    if not rows:
        return Written(tokens, mask, log_probs, ended)
    drawing, until = drawing or Drawing(), None if seconds is None else time.monotonic() + seconds
    chance = torch.stack([_chance(seed, room) for seed in seeds])
    network: Any = model.model
    training = network.training
    network.eval()
    try:
        with quiet(), torch.no_grad():
            reader, alive = Reader(model, rows, shared), torch.arange(len(rows))
            for place in range(room):
                logs = drawing.log_probs(reader.logits)
                said = drawn(logs, chance[alive, place].to(logs.device))
                tokens[alive, place] = said.cpu()
                log_probs[alive, place] = logs.gather(1, said[:, None])[:, 0].cpu()
                mask[alive, place] = True
                ended[alive] = _ended(model, tokens[alive, : place + 1], stop)
                on = ~ended[alive] & (place + 1 < limits[alive])
                if not bool(on.any()) or (until is not None and time.monotonic() > until):
                    break
                alive = alive[on]
                reader.step(said, on.to(said.device))
    finally:
        network.train(training)
    longest = int(mask.sum(1).max())
    return Written(tokens[:, :longest], mask[:, :longest], log_probs[:, :longest], ended)


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
