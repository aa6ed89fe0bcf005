"""Text written by whoever speaks OpenAI's completions: our own server, vLLM, SGLang."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tutelage.clients.http import Line
from tutelage.errors import TutelageError
from tutelage.models import Drawing

ROWS_AT_A_TIME = 16
BYTES_A_TOKEN = 512
ID = "token_id:"


def written_over(
    line: Line,
    model: str,
    vocabulary: Any,
    rows: Sequence[Sequence[int]],
    most: int,
    seed: int,
    drawing: Drawing,
) -> list[tuple[list[int], bool]]:
    """Continue rows of tokens: what was written after each, and whether it ended by itself.

    Tokens are asked for by id (`return_tokens_as_token_ids`), so that no text is cut into tokens anew. The
    end token, which such servers do not show, is put back where a row ended by itself.

    Args:
        line: to the server.
        model: what it calls its model.
        vocabulary: what the token ids mean (`tutelage.models.Vocabulary`).
        rows: at least one token each.
        most: new tokens at most.
        seed: of the request; the server says what it makes of it.
        drawing: the sampling distribution.

    Raises:
        TutelageError: the server refuses, does not name tokens by id, or cannot draw so.
    """
    if drawing.top_k is not None:
        raise TutelageError(
            f"`top_k: {drawing.top_k}` for text that a server writes",
            expected="`temperature` and `top_p`, which all such servers know",
            fix="delete `top_k:` under `samples:`",
        )
    said: list[tuple[list[int], bool]] = []
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        part = [list(row) for row in rows[start : start + ROWS_AT_A_TIME]]
        asked = {
            "model": model,
            "prompt": part,
            "max_tokens": most,
            "temperature": drawing.temperature,
            "top_p": drawing.top_p,
            "seed": (seed + start) % 2**31,
            "logprobs": 0,
            "return_tokens_as_token_ids": True,
        }
        room = (1 << 20) + BYTES_A_TOKEN * most * len(part)
        reply = line.post("/v1/completions", json.dumps(asked).encode(), "application/json", most_bytes=room)
        said += _read(reply.content, len(part), vocabulary.end, line.url)
    return said


def _read(content: bytes, rows: int, end: int | None, url: str) -> list[tuple[list[int], bool]]:
    try:
        choices = sorted(json.loads(content)["choices"], key=lambda choice: choice["index"])
        made = []
        for choice in choices:
            names = choice["logprobs"]["tokens"]
            tokens = [int(name.removeprefix(ID)) for name in names if name.startswith(ID)]
            if len(tokens) < len(names):
                raise ValueError("tokens by text")
            ended = choice["finish_reason"] == "stop"
            if ended and end is not None and tokens[-1:] != [end]:
                tokens.append(end)
            made.append((tokens, ended))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TutelageError(
            f"{url}: the text that it wrote cannot be read ({type(error).__name__}: {error})",
            expected="a completion with its tokens by id under `logprobs.tokens`",
            fix="use a server that knows `return_tokens_as_token_ids` (tutelage serve, vLLM), or another "
            "writer",
        ) from None
    if len(made) != rows or not all(tokens for tokens, _ in made):
        raise TutelageError(
            f"{url}: it answered {rows} prompts with {len(made)} texts, or with an empty one",
            expected="one text a prompt, of a token at least",
            fix="look at what the server says in its log",
        )
    return made
