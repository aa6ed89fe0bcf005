"""How text looks that was written during a run, and whether it has collapsed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tutelage.text import Example
from tutelage.text.grams import repeated

ENDED = "own_text_ended"
"""Column of rows that were written during the run: whether they ended with the end token."""

ENTROPY = "entropy"
"""What is recorded of a drawn token: the entropy of the distribution that it was drawn from, in nats."""

GRAM = 4


def health(rows: Sequence[Example]) -> dict[str, float]:
    """How a student's own text looks, for ``metrics.jsonl``.

    Returns:
        ``own_length``: tokens written, mean; ``own_truncated``: share of rows that did not end by
        themselves; ``own_repeated``: share of 4-grams that stood in their row before; ``own_entropy``: of the
        distributions that its tokens were drawn from, mean in nats, where it was recorded. Empty without
        rows.
    """
    if not rows:
        return {}
    said = [[t for t, counts in zip(row.tokens, row.counted, strict=True) if counts] for row in rows]
    tokens, again = sum(map(len, said)), repeated(said, GRAM)
    told = {
        "own_length": tokens / len(said),
        "own_truncated": sum(not row.columns[ENDED] for row in rows) / len(rows),
        "own_repeated": 0.0 if math.isnan(again) else again,
    }
    if all(ENTROPY in row.recorded for row in rows):
        told["own_entropy"] = sum(sum(row.recorded[ENTROPY]) for row in rows) / max(tokens, 1)
    return told


def collapsed(now: Mapping[str, float], then: Mapping[str, float]) -> str | None:
    """What is wrong with a student's own text, in words; None if nothing is.

    Args:
        now: `health` of late.
        then: `health` of its first text in this run.
    """
    if not now or not then:
        return None
    if now["own_repeated"] > max(0.6, 2 * then["own_repeated"]):
        return f"{now['own_repeated']:.0%} of its 4-grams stood in their row before"
    if now["own_length"] < 0.25 * then["own_length"]:
        return f"its text is {now['own_length']:.1f} tokens long, and was {then['own_length']:.1f}"
    if now["own_truncated"] > 0.95 and then["own_truncated"] < 0.5:
        return f"{now['own_truncated']:.0%} of its text does not end any more"
    if now.get("own_entropy", 1.0) < 0.1 * then.get("own_entropy", 0.0):
        return f"its entropy is {now['own_entropy']:.3f} nats, and was {then['own_entropy']:.3f}"
    return None
