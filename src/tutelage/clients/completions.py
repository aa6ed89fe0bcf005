"""The client of whatever speaks OpenAI's completions (vLLM, SGLang, our own server): k tokens and the rest.

A text that exists already is scored, not written: by vLLM's `prompt_logprobs`, whose entries name tokens by
id, or else by `echo` with `logprobs`, whose entries name them by text. A text that several ids share is not
guessed at: its mass goes to the rest, and a divergence from it stays a lower bound.

Source: the public references of OpenAI's completions, vLLM's and SGLang's OpenAI-compatible servers.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tutelage.clients.http import Line, Refusal
from tutelage.distribution import Distribution, TopK
from tutelage.errors import TutelageError, listed
from tutelage.interfaces import Batch
from tutelage.models import load_tokenizer, vocabulary_of
from tutelage.stores.question import rows_of_batch
from tutelage.text import Example

ROWS_AT_A_TIME = 16
NEVER = -9000.0
"""Below this a log-probability stands for the log of zero, which JSON does not have."""

TOO_MUCH = 0.05
"""Nats by which the probabilities of a row may sum to more than one: rounding of a server in bfloat16."""

MISREAD = 0.1
"""Share of tokens that may read otherwise than here; pieces of characters have no spelling of their own."""

BYTES_A_LOGPROB = 256
ID = "token_id:"


class CompletionsClient:
    """A line to a server that speaks OpenAI's completions.

    Args:
        line: to the server.
        device: where distributions are put.
        k: how many of the likeliest tokens are asked for.
        model: what the server calls its model; None takes the only one it has.
        tokenizer: folder or hub name of that model's tokenizer.

    Attributes:
        name: what the server calls its model.
        vocabulary: what the token ids mean, by the tokenizer.
        longest: tokens of a row at most, where the server says it.
        by_id: whether it answers with `prompt_logprobs`; None until it was asked.

    Raises:
        TutelageError: it has no such model, or cuts text into other tokens.
    """

    columns: Mapping[str, Any] = {}
    answers_anything = True

    def __init__(self, line: Line, device: str, k: int, model: str | None, tokenizer: str) -> None:
        self._line = line
        self._device = device
        self._k = k
        entry = self._model(model)
        self.name: str = entry["id"]
        longest = entry.get("max_model_len")
        # One token has to be written, whether it is wanted or not.
        self.longest = longest - 1 if isinstance(longest, int) and longest > 1 else None
        self._tokenizer: Any = load_tokenizer(tokenizer)
        self.vocabulary = vocabulary_of(
            self._tokenizer, max(self._tokenizer.get_vocab().values()) + 1, self.name
        )
        self.by_id: bool | None = None

    def __call__(self, batch: Batch) -> Distribution:
        """What the server says at the counted positions of a batch: k tokens each, and the rest.

        Raises:
            TutelageError: it refuses, is gone for good, or its answer does not fit.
        """
        rows = rows_of_batch(batch)
        best: list[list[tuple[int, float]]] = []
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            part = rows[start : start + ROWS_AT_A_TIME]
            for row, choice in zip(part, self._choices(part), strict=True):
                best += self._read(row, choice)
        width = max([1, *map(len, best)])
        filled = [row + [(-1, -math.inf)] * (width - len(row)) for row in best]
        ids = torch.tensor([[token for token, _ in row] for row in filled]).long().reshape(-1, width)
        logs = torch.tensor([[log for _, log in row] for row in filled]).float().reshape(-1, width)
        # A server in half precision may say a little more than one in all.
        over = logs.logsumexp(-1, keepdim=True).clamp(min=0.0) if len(best) else logs[:, :1]
        if len(best) and float(over.max()) > TOO_MUCH:
            raise self._odd(f"the probabilities of a token sum to {float(over.max().exp()):.3f}")
        logs = (logs - over).clamp(max=0.0) if len(best) else logs
        return TopK(ids.to(self._device), logs.to(self._device), self.vocabulary.width)

    def prove_tokens(self, batch: Batch) -> None:
        """Compare how the server spells the tokens of a batch with how the tokenizer does.

        Raises:
            TutelageError: they differ, so that ids would mean something else there.
        """
        rows = rows_of_batch(batch)
        wrong = read = 0
        shown = ("", "")
        for row, choice in zip(rows, self._choices(rows), strict=True):
            for token, theirs in self._spelt(row, choice):
                ours = self._tokenizer.decode([token])
                if theirs is None or "\ufffd" in ours + theirs:
                    continue
                read += 1
                if ours.strip() != theirs.strip():
                    wrong += 1
                    shown = (ours, theirs)
        if wrong > MISREAD * read:
            raise self._odd(
                f"it reads {wrong} of {read} tokens otherwise than the tokenizer here, such as "
                f"{shown[1]!r} instead of {shown[0]!r}",
                expected="the tokenizer of the model that is served",
                fix="name that tokenizer under `tokenizer:`",
            )

    def _choices(self, rows: Sequence[Example]) -> list[dict[str, Any]]:
        """One choice a row, in order; finds out by trying which way of scoring the server has."""
        k = self._k
        # vLLM does not score without writing at least one token, SGLang and we do.
        by_id = {"prompt_logprobs": k, "max_tokens": 1}
        echo = {"echo": True, "logprobs": k, "max_tokens": 0, "return_tokens_as_token_ids": True}
        if self.by_id is not None:
            return self._scored(rows, by_id if self.by_id else echo)
        refusal = None
        try:
            choices = self._scored(rows, by_id)
        except Refusal as error:
            choices, refusal = [], error
        # Whoever does not know the word ignores it, or refuses it.
        self.by_id = bool(choices) and all(isinstance(one.get("prompt_logprobs"), list) for one in choices)
        if self.by_id:
            return choices
        try:
            return self._scored(rows, echo)
        except Refusal as error:
            raise refusal or error from None

    def _scored(self, rows: Sequence[Example], how: dict[str, Any]) -> list[dict[str, Any]]:
        asked = {"model": self.name, "prompt": [row.tokens for row in rows], "temperature": 0, **how}
        most = (1 << 20) + BYTES_A_LOGPROB * (self._k + 2) * sum(len(row.tokens) + 1 for row in rows)
        content = json.dumps(asked).encode()
        reply = self._line.post("/v1/completions", content, "application/json", most_bytes=most)
        try:
            choices = sorted(json.loads(reply.content)["choices"], key=lambda choice: choice["index"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._odd("its answer is no completion") from None
        if len(choices) != len(rows):
            raise self._odd(f"it answers {len(rows)} prompts with {len(choices)} choices")
        return choices

    def _read(self, row: Example, choice: dict[str, Any]) -> list[list[tuple[int, float]]]:
        """The likeliest tokens at every counted token of a row, each id once."""
        try:
            entries = self._by_id(row, choice) if self.by_id else self._by_text(row, choice)
            return [
                [(token, float(log)) for token, log in entries[i].items() if float(log) > NEVER]
                for i, counted in enumerate(row.counted)
                if counted
            ]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise self._odd(f"its log-probabilities cannot be read ({type(error).__name__})") from None

    def _by_id(self, row: Example, choice: dict[str, Any]) -> list[dict[int, float]]:
        found = choice["prompt_logprobs"]
        entries = [{int(i): one["logprob"] for i, one in (entry or {}).items()} for entry in found]
        if len(entries) != len(row.tokens):
            raise self._odd(f"it answers {len(row.tokens)} tokens with {len(entries)}")
        for token, entry in zip(row.tokens[1:], entries[1:], strict=True):
            if token not in entry:
                raise self._odd(f"it does not score the token {token} that was sent")
        return [{i: log for i, log in entry.items() if 0 <= i < self.vocabulary.width} for entry in entries]

    def _by_text(self, row: Example, choice: dict[str, Any]) -> list[dict[int, float]]:
        likeliest = choice["logprobs"]["top_logprobs"]
        # Behind the prompt there may be what was written.
        if len(likeliest) < len(row.tokens):
            raise self._odd(f"it answers {len(row.tokens)} tokens with {len(likeliest)}")
        entries: list[dict[int, float]] = []
        for entry in likeliest[: len(row.tokens)]:
            known = {self._id(text): log for text, log in (entry or {}).items()}
            known.pop(None, None)
            entries.append({i: log for i, log in known.items() if i is not None})
        return entries

    def _id(self, text: str) -> int | None:
        if text.startswith(ID) and text[len(ID) :].isdecimal():
            token = int(text[len(ID) :])
            return token if token < self.vocabulary.width else None
        return self._ids.get(text)

    @functools.cached_property
    def _ids(self) -> dict[str, int | None]:
        """Token ids by their text; None where several ids share it."""
        found: dict[str, int | None] = {}
        known = [i for i, token in enumerate(self.vocabulary.tokens) if token is not None]
        for i in known:
            text = self._tokenizer.decode([i])
            found[text] = None if text in found else i
        return found

    def _spelt(self, row: Example, choice: dict[str, Any]) -> list[tuple[int, str | None]]:
        """The tokens of a row with the server's spelling, where it says one."""
        try:
            if self.by_id:
                entries = choice["prompt_logprobs"][1:]
                pairs = zip(row.tokens[1:], entries, strict=True)
                return [(token, entry[str(token)].get("decoded_token")) for token, entry in pairs]
            texts = choice["logprobs"]["tokens"][: len(row.tokens)]
            said = [
                self._tokenizer.decode([int(text[len(ID) :])]) if text.startswith(ID) else text
                for text in texts
            ]
            return list(zip(row.tokens, said, strict=True))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise self._odd(f"its tokens cannot be read ({type(error).__name__})") from None

    def _model(self, wanted: str | None) -> dict[str, Any]:
        reply = self._line.get("/v1/models", most_bytes=1 << 20)
        try:
            entries = {str(one["id"]): one for one in json.loads(reply.content)["data"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._odd("its list of models cannot be read") from None
        if wanted is None and len(entries) == 1:
            return next(iter(entries.values()))
        if wanted not in entries:
            raise self._odd(
                "it has several models" if wanted is None else f"it has no model '{wanted}'",
                expected=listed(entries) if entries else "a model",
                fix="write one of these names under `served_model:`",
            )
        return entries[wanted]

    def _odd(self, problem: str, expected: str | None = None, fix: str | None = None) -> TutelageError:
        return TutelageError(
            f"{self._line.url}: {problem}",
            expected=expected or "a server that speaks OpenAI's completions and scores a given text",
            fix=fix
            or "check `url:` and the server's version; for `tutelage serve` write `protocol: tutelage`",
        )
