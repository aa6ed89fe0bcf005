"""How varied texts are: distinct and repeated n-grams (MiniLLM's Dist-4), on tokens of any kind."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.text.grams import T, n_grams, repeated

__all__ = ["distinct", "n_grams", "repeated"]


def distinct(rows: Sequence[Sequence[T]], n: int = 4) -> float:
    """Distinct n-grams as a share of all n-grams, pooled over rows: from ``1 / count`` to 1.

    Rows are not joined: no n-gram spans two of them. The share falls as more text is pooled, so compare
    equal amounts only.

    Args:
        rows: token ids or words, one list a text.
        n: tokens in an n-gram.

    Returns:
        NaN where no row has ``n`` tokens.

    Raises:
        OutOfRange: ``n`` is below 1.

    Source: Li et al. 2016, arXiv:1510.03055 (distinct-n); Gu et al. 2024, MiniLLM, arXiv:2306.08543 (n = 4).
    """
    grams = [gram for row in rows for gram in n_grams(row, n)]
    return len(set(grams)) / len(grams) if grams else float("nan")
