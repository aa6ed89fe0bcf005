"""What a text is, as plain values that two runs can compare: hashes, layout, tokenizer; no paths."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tutelage.models import Vocabulary
from tutelage.recipes import SamplesWord

NOT_CONTENT = ("data", "shuffle")
"""Options of samples that do not change their rows: where the file lies, and the order."""


def told_text(word: SamplesWord, samples: Any) -> dict[str, Any]:
    """What was read and how it was laid out.

    Args:
        word: the samples of a recipe.
        samples: the same, open.
    """
    options = {key: value for key, value in word.options.items() if key not in NOT_CONTENT}
    return {"kind": word.kind, "sha256": samples.source.sha256, **options, "rows": len(samples.examples)}


def told_tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    """With which tokens, rules, end token and chat template a text was laid out; mostly hashes."""
    return {
        "tokens": _hash(list(vocabulary.tokens)),
        "rules": _hash(vocabulary.rules),
        "end": None if vocabulary.end is None else vocabulary.tokens[vocabulary.end],
        "template": _hash(getattr(vocabulary.tokenizer, "chat_template", None)),
    }


def _hash(value: Any) -> str | None:
    return None if value is None else hashlib.sha256(json.dumps(value).encode()).hexdigest()
