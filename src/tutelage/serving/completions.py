"""Completions: text is continued by the one model that is served, and scored like any other row.

The shape of the answer is OpenAI's, with vLLM's `prompt_logprobs`: for every prompt token but the first
the likeliest tokens and the token itself, by id. All log-probabilities are the teacher's own, before
temperature and `top_p`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.errors import TutelageError
from tutelage.models.generate import Continuation, continue_rows, prompt_tokens
from tutelage.serving.answers import Answer, Scores
from tutelage.serving.batching import Batcher
from tutelage.serving.offer import Offer
from tutelage.serving.request import CompletionRequest
from tutelage.stores.wire import Limits, too_large
from tutelage.text import Example

NEVER = -9999.0
"""Stands for the log of zero, which JSON does not have; vLLM writes the same."""

BYTES_A_LOGPROB = 80
NOTHING = Continuation((), "", False)


@dataclass(frozen=True)
class Row:
    """One choice before it is written down.

    Attributes:
        prompt: tokens that were given.
        shown: the prompt as it is echoed.
        said: what was written after it.
        scores: of all tokens that were asked about, prompt first.
    """

    prompt: list[int]
    shown: str
    said: Continuation
    scores: Answer | None = None


async def complete(
    request: CompletionRequest, offer: Offer, batcher: Batcher, limits: Limits, seconds: float
) -> dict[str, Any]:
    """The document that answers a request.

    Raises:
        TutelageError: the teacher cannot do what is asked. Busy: not now.
    """
    rows = [row for row in _prompts(request, offer, limits) for _ in range(request.n)]
    if request.max_tokens:
        rows = await _continued(rows, request, offer, batcher, seconds)
    k = max(request.logprobs or 0, request.prompt_logprobs or 0)
    if request.logprobs is not None or request.prompt_logprobs is not None:
        rows = await _scored(rows, request, k, batcher, limits, seconds)
    written = sum(len(row.said.tokens) for row in rows)
    read = sum(len(row.prompt) for row in rows[:: request.n])
    return {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": offer.name,
        "choices": [_choice(i, row, request, offer) for i, row in enumerate(rows)],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def _prompts(request: CompletionRequest, offer: Offer, limits: Limits) -> list[Row]:
    rows = []
    for prompt in request.prompts:
        if isinstance(prompt, str):
            tokens = _tokens(prompt, offer)
            rows.append(Row(tokens, prompt, NOTHING))
        else:
            wrong = [token for token in prompt if token >= offer.vocabulary.width]
            if wrong:
                raise TutelageError(
                    f"the prompt has the token id {wrong[0]}",
                    expected=f"ids from 0 to {offer.vocabulary.width - 1}",
                    fix="use the tokenizer of the served model",
                )
            rows.append(Row(prompt, _text(prompt, offer) if request.echo else "", NOTHING))
    longest = max(len(row.prompt) for row in rows) + request.max_tokens
    if longest > limits.row_tokens:
        raise too_large(longest, limits.row_tokens, "tokens in a prompt with its continuation")
    total = request.n * sum(len(row.prompt) + request.max_tokens for row in rows)
    if total > limits.request_tokens:
        raise too_large(total, limits.request_tokens, "tokens in all prompts and continuations")
    return rows


async def _continued(
    rows: list[Row], request: CompletionRequest, offer: Offer, batcher: Batcher, seconds: float
) -> list[Row]:
    writer = offer.writer
    if writer is None:
        raise TutelageError(
            f"`max_tokens` is {request.max_tokens}, and '{offer.name}' is not one model that can write",
            expected="`max_tokens: 0`, with `echo` or `prompt_logprobs`, for several models as one",
            fix="serve one of its models to have text written",
        )
    seed = secrets.randbits(62) if request.seed is None else request.seed

    def written() -> list[Continuation]:
        return continue_rows(
            writer,
            [row.prompt for row in rows],
            max_new_tokens=request.max_tokens,
            seed=seed,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=request.stops,
            seconds=seconds,
        )

    said = await batcher.called(written, seconds)
    return [Row(row.prompt, row.shown, one) for row, one in zip(rows, said, strict=True)]


async def _scored(
    rows: list[Row], request: CompletionRequest, k: int, batcher: Batcher, limits: Limits, seconds: float
) -> list[Row]:
    whole = request.prompt_logprobs is not None or request.echo
    examples = []
    for row in rows:
        first = 1 if whole else len(row.prompt)
        tokens = [*row.prompt, *row.said.tokens]
        examples.append(Example(tokens, [i >= first for i in range(len(tokens))]))
    size = BYTES_A_LOGPROB * (k + 1) * sum(sum(example.counted) for example in examples)
    if size > limits.response_bytes:
        raise too_large(size, limits.response_bytes, "bytes of log-probabilities, about")
    asked = [i for i, example in enumerate(examples) if any(example.counted)]
    found: dict[int, Answer] = {}
    if asked:
        answers = await batcher.answers([examples[i] for i in asked], Scores(k), size, seconds)
        found = dict(zip(asked, answers, strict=True))
    return [Row(row.prompt, row.shown, row.said, found.get(i, {})) for i, row in enumerate(rows)]


def _choice(index: int, row: Row, request: CompletionRequest, offer: Offer) -> dict[str, Any]:
    whole = request.prompt_logprobs is not None or request.echo
    entries = _entries(row, whole)
    choice: dict[str, Any] = {
        "index": index,
        "text": (row.shown if request.echo else "") + row.said.text,
        "logprobs": None,
        "finish_reason": "stop" if row.said.ended else "length",
    }
    if request.logprobs is not None:
        shown = entries if request.echo else entries[len(row.prompt) :] if whole else entries
        choice["logprobs"] = _logprobs(shown, request.logprobs, request.return_tokens_as_token_ids, offer)
    if request.prompt_logprobs is not None:
        choice["prompt_logprobs"] = [
            None if entry.logprob is None else _by_id(entry, request.prompt_logprobs, offer)
            for entry in entries[: len(row.prompt)]
        ]
    return choice


@dataclass(frozen=True)
class _Entry:
    token: int
    logprob: float | None
    likeliest: Sequence[tuple[int, float]] = ()


def _entries(row: Row, whole: bool) -> list[_Entry]:
    """One entry a token that was asked about; the first token of a prompt has no probability."""
    scores = row.scores or {}
    tokens = [*row.prompt, *row.said.tokens] if whole else list(row.said.tokens)
    gold = scores["gold"].tolist() if scores else []
    ids = scores["ids"].tolist() if "ids" in scores else [[] for _ in gold]
    logs = scores["log_probs"].tolist() if "ids" in scores else [[] for _ in gold]
    best = [
        [(token, _finite(log)) for token, log in zip(*pair, strict=True) if token >= 0]
        for pair in zip(ids, logs, strict=True)
    ]
    first = [_Entry(tokens[0], None)] if whole else []
    rest = tokens[len(first) :]
    if not scores:
        return [*first, *(_Entry(token, None) for token in rest)]
    return [
        *first,
        *(_Entry(token, _finite(g), likeliest) for token, g, likeliest in zip(rest, gold, best, strict=True)),
    ]


def _logprobs(entries: Sequence[_Entry], k: int, as_ids: bool, offer: Offer) -> dict[str, Any]:
    def name(token: int) -> str:
        return f"token_id:{token}" if as_ids else offer.spell(token)

    offsets, at, said = [], 0, [offer.spell(entry.token) for entry in entries]
    for text in said:
        offsets.append(at)
        at += len(text)
    likeliest = []
    for entry in entries:
        # Two ids may read the same; the likelier one, which comes first, keeps the name.
        best: dict[str, float] = {}
        for token, log in [
            *entry.likeliest[:k],
            *([] if entry.logprob is None else [(entry.token, entry.logprob)]),
        ]:
            best.setdefault(name(token), log)
        likeliest.append(None if entry.logprob is None else best)
    return {
        "text_offset": offsets,
        "token_logprobs": [entry.logprob for entry in entries],
        "tokens": [name(entry.token) for entry in entries],
        "top_logprobs": likeliest,
    }


def _by_id(entry: _Entry, k: int, offer: Offer) -> dict[str, dict[str, Any]]:
    best = {
        str(token): {"logprob": log, "rank": rank, "decoded_token": offer.spell(token)}
        for rank, (token, log) in enumerate(entry.likeliest[:k], start=1)
    }
    # Its rank is not known where it is not among the likeliest: counting it would be another walk.
    own = {"logprob": entry.logprob, "rank": None, "decoded_token": offer.spell(entry.token)}
    return {str(entry.token): own} | best if str(entry.token) not in best else best


def _tokens(prompt: str, offer: Offer) -> list[int]:
    if offer.writer is not None:
        return prompt_tokens(offer.writer, prompt)
    tokenizer = offer.vocabulary.tokenizer
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return start + tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]


def _text(tokens: Sequence[int], offer: Offer) -> str:
    return offer.vocabulary.tokenizer.decode(
        list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )


def _finite(log: float) -> float:
    return max(log, NEVER)
