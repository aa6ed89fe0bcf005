"""How much of a reference stands in what the student writes: ROUGE-L, BLEU, chrF, by their libraries."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.errors import MissingExtra
from tutelage.evaluation.evidence import Evidence
from tutelage.evaluation.found import Mean, Pooled
from tutelage.evaluation.needs import REFERENCES, TEXTS, needing

References = Sequence[Sequence[str]]


@needing(TEXTS, REFERENCES, unit="0 to 100", better="higher", library="rouge_score")
def rouge_l(evidence: Evidence) -> Mean:
    """ROUGE-L in MiniLLM's way: F-measure on stems, the best of the references, mean over texts, x 100."""
    references = evidence.questions.references or ()
    return Mean.of_rows([rouge_of(texts.texts, references) for texts in evidence.texts], scale=100)


@needing(TEXTS, REFERENCES, unit="0 to 100", better="higher", library="sacrebleu")
def bleu(evidence: Evidence) -> Pooled:
    """BLEU of all texts as one corpus, by sacrebleu with its defaults."""
    references = evidence.questions.references or ()
    counts = [bleu_counts(texts.texts, references) for texts in evidence.texts]
    return Pooled(
        lambda seed, rows: bleu_of([counts[seed][row] for row in rows]), len(counts), len(references)
    )


@needing(TEXTS, REFERENCES, unit="0 to 100", better="higher", library="sacrebleu")
def chrf(evidence: Evidence) -> Pooled:
    """chrF of all texts as one corpus, by sacrebleu with its defaults (characters up to six)."""
    references = evidence.questions.references or ()
    every = [texts.texts for texts in evidence.texts]

    def of(seed: int, rows: Sequence[int]) -> float:
        return chrf_of([every[seed][row] for row in rows], [references[row] for row in rows])

    return Pooled(of, len(every), len(references))


def rouge_of(texts: Sequence[str], references: References) -> list[float]:
    """ROUGE-L of every text, from 0 to 1: F-measure on stems, the best of its references.

    Raises:
        MissingExtra: `rouge-score` is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer  # 1.5 seconds
    except ImportError as error:
        raise MissingExtra("rouge-score", "evaluation") from error
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return [
        float(max(scorer.score(reference, text)["rougeL"].fmeasure for reference in known))
        for text, known in zip(texts, references, strict=True)
    ]


def bleu_counts(texts: Sequence[str], references: References) -> list[tuple[int, ...]]:
    """What BLEU adds up, for every text: lengths of it and of its reference, 4 hits, 4 n-grams."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise MissingExtra("sacrebleu", "evaluation") from error
    metric = BLEU(effective_order=True)  # of single texts; it changes no count
    scores = [metric.sentence_score(text, list(known)) for text, known in zip(texts, references, strict=True)]
    return [(one.sys_len, one.ref_len, *one.counts, *one.totals) for one in scores]


def bleu_of(counts: Sequence[tuple[int, ...]]) -> float:
    """BLEU of a corpus from the counts of its texts."""
    from sacrebleu.metrics import BLEU

    length, wanted, *rest = (sum(column) for column in zip(*counts, strict=True))
    return BLEU.compute_bleu(rest[:4], rest[4:], length, wanted, smooth_method="exp").score


def chrf_of(texts: Sequence[str], references: References) -> float:
    """chrF of a corpus."""
    try:
        from sacrebleu.metrics import CHRF
    except ImportError as error:
        raise MissingExtra("sacrebleu", "evaluation") from error
    most = max(map(len, references))
    # One list for the n-th reference of every text; a text with fewer names one of them again.
    by_number = [[known[min(i, len(known) - 1)] for known in references] for i in range(most)]
    return CHRF().corpus_score(list(texts), by_number).score
