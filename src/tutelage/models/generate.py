"""What a model writes after a prompt, for reports: seeded, and nothing else is disturbed by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tutelage.errors import OutOfRange
from tutelage.models.load import LanguageModel, quiet
from tutelage.seeds import drawing_from
from tutelage.text import start_tokens


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
    if not 0 <= temperature < float("inf"):
        raise OutOfRange(
            f"temperature is {temperature}", expected="0 or more", fix="write 0 for the likeliest text"
        )
    if max_new_tokens < 1:
        raise OutOfRange(
            f"max_new_tokens is {max_new_tokens}", expected="at least 1", fix="write for instance 60"
        )
    if not prompts:
        return []
    tokens, attention = _padded_left(model, prompts)
    network: Any = model.model
    tokenizer: Any = model.tokenizer
    training = network.training
    drawing = {"do_sample": False}
    if temperature > 0:
        # Neutral top_k and top_p: a checkpoint's own generation settings must not change what is compared.
        drawing = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
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
    return [_until_end(tokenizer, row[tokens.shape[1] :].tolist()) for row in written]


def _padded_left(model: LanguageModel, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    tokenizer: Any = model.tokenizer
    rows = [
        start_tokens(tokenizer) + tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        for prompt in prompts
    ]
    rows = [row or [tokenizer.eos_token_id] for row in rows]
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), longest), model.pad_id)
    attention = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        tokens[i, longest - len(row) :] = torch.tensor(row)
        attention[i, longest - len(row) :] = 1
    return tokens.to(model.model.device), attention.to(model.model.device)


def _until_end(tokenizer: Any, ids: list[int]) -> str:
    # Cut at the first end token by place: padding after it may be the same id or another.
    if tokenizer.eos_token_id in ids:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
