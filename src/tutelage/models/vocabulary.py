"""What token ids mean: the strings, the end token, and the rules by which text is cut into them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.errors import TutelageError


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model by id.

    Attributes:
        tokens: the string of each id as the tokenizer's files have it; None where an id is not assigned.
        rows: rows of the model's embedding table. Those from ``width`` on are padding.
        end: id of the end token.
        name: whose vocabulary it is, for errors.
        rules: how text is cut into tokens, as JSON: normaliser, pre-tokenizer, kind of model, hash of
            its merges or scores. Equal strings with different rules are different tokens.
        added: ids of tokens that were added to the trained ones, such as marks of a chat template.
        tokenizer: the tokenizer itself, used to show where two of them differ.
    """

    tokens: tuple[str | None, ...]
    rows: int
    end: int | None
    name: str
    rules: str
    added: frozenset[int] = frozenset()
    tokenizer: Any = field(default=None, repr=False, compare=False)

    @property
    def width(self) -> int:
        """Ids from 0 to ``width - 1`` may be tokens; beyond are padding rows."""
        return len(self.tokens)

    @property
    def digest(self) -> str:
        """SHA-256 of tokens and rules: losses per token compare only where it is the same."""
        return _hash([self.tokens, self.rules])

    @property
    def unassigned(self) -> tuple[int, ...]:
        """Ids below ``width`` that are no token."""
        return tuple(i for i, token in enumerate(self.tokens) if token is None)

    def told(self) -> dict[str, Any]:
        """All but the tokenizer, as plain JSON values."""
        return {
            "tokens": list(self.tokens),
            "rows": self.rows,
            "end": self.end,
            "name": self.name,
            "rules": self.rules,
            "added": sorted(self.added),
        }

    @classmethod
    def read(cls, told: Mapping[str, Any], tokenizer: Any = None) -> Vocabulary:
        """The vocabulary that `told` described, with a tokenizer that shows where it differs from another."""
        said = {**told, "tokens": tuple(told["tokens"]), "added": frozenset(told["added"])}
        return cls(**said, tokenizer=tokenizer)

    def __repr__(self) -> str:
        return f"Vocabulary({self.name}: {self.width:,} tokens, {self.rows:,} rows)"


def vocabulary_of(tokenizer: Any, rows: int, name: str) -> Vocabulary:
    """The vocabulary of a tokenizer, for a model with so many embedding rows.

    Raises:
        TutelageError: the tokenizer has an id for which the model has no row.
    """
    ids = tokenizer.get_vocab()
    width = max(ids.values()) + 1
    if width > rows:
        outside = min((i, token) for token, i in ids.items() if i >= rows)
        raise TutelageError(
            f"{name}: the token {outside[1]!r} has the id {outside[0]} and the model has {rows:,} rows",
            expected=f"a tokenizer whose ids are all below {rows:,}",
            fix="name the tokenizer that the model was trained with, or resize its embeddings and save it",
        )
    tokens: list[str | None] = [None] * width
    for token, i in ids.items():
        tokens[i] = token
    added = frozenset(int(i) for i in tokenizer.added_tokens_decoder)
    return Vocabulary(tuple(tokens), rows, tokenizer.eos_token_id, name, _rules(tokenizer), added, tokenizer)


def _rules(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps({"kind of tokenizer": type(tokenizer).__name__})
    parts = json.loads(backend.to_str())
    model = parts["model"]
    rules = {
        "normaliser": _plain(parts["normalizer"]),
        "pre-tokenizer": _plain(parts["pre_tokenizer"]),
        "kind of model": model["type"],
    }
    for key in ("byte_fallback", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix"):
        rules[key] = model.get(key) or None
    if "merges" in model:
        rules["merges"] = _hash(model["merges"])
    if model["type"] == "Unigram":
        rules["scores"] = _hash([score for _, score in model["vocab"]])
    return json.dumps(rules, sort_keys=True)


def _plain(part: Any) -> Any:
    # `trim_offsets` says which characters a token is shown to cover; it does not move a boundary.
    if isinstance(part, dict):
        return {key: _plain(value) for key, value in part.items() if key != "trim_offsets"}
    return [_plain(value) for value in part] if isinstance(part, list) else part


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
