"""How varied a student's texts are, and how they end: Dist-n, self-BLEU, repetition, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch

from tutelage.errors import MissingExtra
from tutelage.evaluation.diversity import distinct, n_grams
from tutelage.evaluation.evidence import Evidence
from tutelage.evaluation.found import Mean, Pooled
from tutelage.evaluation.needs import TEXTS, needing


@needing(TEXTS, unit="share of n-grams", better="higher")
def dist(evidence: Evidence, *, n: Annotated[int, "[1, inf)"] = 4) -> Pooled:
    """Distinct n-grams of tokens as a share of all, pooled over the texts of a seed (Dist-n).

    Args:
        n: tokens in an n-gram.
    """
    every = [texts.tokens for texts in evidence.texts]

    def of(seed: int, rows: Sequence[int]) -> float:
        return distinct([every[seed][row] for row in rows], n)

    return Pooled(of, len(every), len(every[0]))


@needing(TEXTS, unit="0 to 100", better="lower", library="sacrebleu")
def self_bleu(evidence: Evidence, *, most: Annotated[int, "[2, inf)"] = 100) -> Mean:
    """BLEU of every text against the other texts of its seed: 100 where they are all the same.

    Args:
        most: so many texts of a seed are compared, from the beginning: the cost grows with their square.
    """
    return Mean.of_rows([self_bleu_of(texts.texts[:most]) for texts in evidence.texts])


@needing(TEXTS, unit="share of n-grams", better="lower")
def repetition(evidence: Evidence, *, n: Annotated[int, "[1, inf)"] = 4) -> Mean:
    """Share of n-grams of tokens that stood earlier in the same text.

    Args:
        n: tokens in an n-gram.
    """
    grams = [[list(n_grams(row, n)) for row in texts.tokens] for texts in evidence.texts]
    again = [[float(len(row) - len(set(row))) for row in rows] for rows in grams]
    every = [[float(len(row)) for row in rows] for rows in grams]
    return Mean(torch.tensor(again, dtype=torch.float64), torch.tensor(every, dtype=torch.float64))


@needing(TEXTS, unit="tokens")
def length(evidence: Evidence) -> Mean:
    """Tokens of a text, the end token included."""
    return Mean.of_rows([[float(len(row)) for row in texts.tokens] for texts in evidence.texts])


@needing(TEXTS, unit="share of texts")
def end_rate(evidence: Evidence) -> Mean:
    """Texts that the student ended by itself, with the end token."""
    return Mean.of_rows([list(map(float, texts.ended)) for texts in evidence.texts])


@needing(TEXTS, unit="share of texts")
def truncation_rate(evidence: Evidence) -> Mean:
    """Texts that were cut off at `max_new_tokens`."""
    return Mean.of_rows([[float(not one) for one in texts.ended] for texts in evidence.texts])


@needing(TEXTS, unit="share of texts", better="lower")
def empty_rate(evidence: Evidence) -> Mean:
    """Texts with nothing in them but the end token and white space."""
    return Mean.of_rows([[float(not text.strip()) for text in texts.texts] for texts in evidence.texts])


def self_bleu_of(texts: Sequence[str]) -> list[float]:
    """BLEU of every text against all the others, from 0 to 100; 0 for one text alone.

    Source: Zhu et al. 2018, Texygen, arXiv:1802.01886.
    """
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise MissingExtra("sacrebleu", "evaluation") from error
    if len(texts) < 2:
        return [0.0] * len(texts)
    metric = BLEU(effective_order=True)
    return [
        metric.sentence_score(text, [other for j, other in enumerate(texts) if j != i]).score
        for i, text in enumerate(texts)
    ]
