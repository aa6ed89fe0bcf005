"""What a model writes after a prompt, for reports and for `tutelage serve`; nothing else is disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from tutelage.errors import OutOfRange
from tutelage.models.load import LanguageModel, quiet
from tutelage.seeds import drawing_from
from tutelage.text import start_tokens


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
    """Continue rows of tokens until the end token, a stop text, or for so many tokens.

    Args:
        model: writes on the device where it is; its mode and torch's random state stay what they were.
        rows: at least one token each.
        max_new_tokens: at most so many tokens each.
        seed: used where something is drawn; what is drawn for a row depends on the rows beside it.
        temperature: 0 takes the likeliest token each time.
        top_p: draw among the likeliest tokens that make up this share of the probability.
        stop: texts that end a continuation and are not part of it.
        seconds: all rows end where they are after this long.

    Raises:
        OutOfRange: ``temperature``, ``top_p`` or ``max_new_tokens`` mean nothing.
    """
    _in_range(temperature, top_p, max_new_tokens)
    if not rows:
        return []
    tokens, attention = _padded_left(model, rows)
    network: Any = model.model
    tokenizer: Any = model.tokenizer
    training = network.training
    drawing: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        # Neutral top_k: a checkpoint's own generation settings must not change what is compared.
        drawing = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": top_p}
    if stop:
        drawing["stopping_criteria"] = [_Said(tokenizer, tuple(stop), tokens.shape[1])]
    if seconds is not None:
        drawing["max_time"] = seconds
    network.eval()
    try:
        # Quiet: a mask without padding is dropped on the way, and then missed with a warning.
        with quiet(), torch.no_grad(), drawing_from(seed, "text for reports"):
            written = network.generate(
                input_ids=tokens,
                attention_mask=attention,
                max_new_tokens=max_new_tokens,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=model.pad_id,
                **drawing,
            )
    finally:
        network.train(training)
    return [_continuation(tokenizer, row[tokens.shape[1] :].tolist(), stop) for row in written]


class _Said(StoppingCriteria):
    """Ends the rows whose continuation holds one of some texts."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], start: int) -> None:
        self.tokenizer, self.stop, self.start = tokenizer, stop, start

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        texts = [_decoded(self.tokenizer, row[self.start :].tolist()) for row in input_ids]
        said = [any(one in text for one in self.stop) for text in texts]
        return torch.tensor(said, device=input_ids.device)


def _in_range(temperature: float, top_p: float, max_new_tokens: int) -> None:
    if not 0 <= temperature < float("inf"):
        raise OutOfRange(
            f"temperature is {temperature}", expected="0 or more", fix="write 0 for the likeliest text"
        )
    if not 0 < top_p <= 1:
        raise OutOfRange(
            f"top_p is {top_p}", expected="a share above 0, at most 1", fix="write 1 to draw from all tokens"
        )
    if max_new_tokens < 1:
        raise OutOfRange(
            f"max_new_tokens is {max_new_tokens}", expected="at least 1", fix="write for instance 60"
        )


def _padded_left(model: LanguageModel, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), longest), model.pad_id)
    attention = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        tokens[i, longest - len(row) :] = torch.tensor(row)
        attention[i, longest - len(row) :] = 1
    return tokens.to(model.model.device), attention.to(model.model.device)


def _continuation(tokenizer: Any, ids: list[int], stop: Sequence[str]) -> Continuation:
    # Cut at the first end token by place: padding after it may be the same id or another.
    ended = tokenizer.eos_token_id in ids
    if ended:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    text = _decoded(tokenizer, ids)
    found = [text.index(one) for one in stop if one in text]
    if not found:
        return Continuation(tuple(ids), text, ended)
    # The row beside it may have gone on for longer, and padding has filled this one up.
    enough = next(n for n in range(1, len(ids) + 1) if any(s in _decoded(tokenizer, ids[:n]) for s in stop))
    return Continuation(tuple(ids[:enough]), text[: min(found)], True)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
