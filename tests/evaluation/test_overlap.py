"""ROUGE-L, BLEU and chrF: what their own libraries say of whole corpora, and what can be said by hand."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.measures.overlap import bleu_counts, bleu_of, chrf_of, rouge_of
from tutelage.evaluation.measures.variety import self_bleu_of
from tutelage.text import read_rows

pytest.importorskip("rouge_score", reason="the extra `evaluation` is not installed")
sacrebleu = pytest.importorskip("sacrebleu", reason="the extra `evaluation` is not installed")

DATA = Path(__file__).parents[2] / "data"
WORDS = ["a", "the", "cat", "dog", "sat", "ran", "on", "under", "mat", "mats"]
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)


@pytest.fixture(scope="module")
def answers() -> list[str]:
    """Answers that people wrote."""
    return [row["output"] for row in read_rows(DATA / "dolly" / "eval.jsonl.gz", max_rows=40).rows]


def test_rouge_l_by_hand() -> None:
    """Stems of the longest common subsequence: `cat sat on` is 3 of 5 and 3 of 6; F is 6 / 11."""
    assert rouge_of(["cats sitting on a mat"], [["the cat sat on the mats"]]) == [pytest.approx(6 / 11)]
    two = [["nothing of it", "the cat sat on the mats"]]
    assert rouge_of(["cats sitting on a mat"], two) == [pytest.approx(6 / 11)]


@given(texts=st.lists(SENTENCES, min_size=1, max_size=4))
def test_a_text_is_its_own_best_reference(texts: list[str]) -> None:
    """F is 1 against itself and symmetric; a second reference never hurts."""
    for text in texts:
        assert rouge_of([text], [[text]]) == [1.0 if text else 0.0]
        for other in texts:
            one = rouge_of([text], [[other]])[0]
            assert one == pytest.approx(rouge_of([other], [[text]])[0])
            assert rouge_of([text], [[other, texts[0]]])[0] >= one


def test_bleu_from_counts_of_texts_is_that_of_the_corpus(answers: list[str]) -> None:
    """Real answers against the next one, with one reference and with two."""
    texts, once, twice = answers[:-2], answers[1:-1], answers[2:]
    for references in ([once], [once, twice]):
        known = list(zip(*references, strict=True))
        ours = bleu_of(bleu_counts(texts, known))
        assert ours == pytest.approx(sacrebleu.corpus_bleu(texts, references).score, abs=1e-9)
    assert bleu_of(bleu_counts(texts, [[text] for text in texts])) == pytest.approx(100)


def test_chrf_is_that_of_the_library_and_takes_uneven_references(answers: list[str]) -> None:
    """A text with fewer references than another is not punished for it."""
    texts, references = answers[:-2], [answers[1:-1], answers[2:]]
    known = list(zip(*references, strict=True))
    assert chrf_of(texts, known) == pytest.approx(sacrebleu.corpus_chrf(texts, references).score)
    uneven = [[text] if i % 2 else [text, "something else"] for i, text in enumerate(texts)]
    assert chrf_of(texts, uneven) == pytest.approx(100)


def test_the_order_of_texts_changes_no_corpus(answers: list[str]) -> None:
    """BLEU and chrF are of the pairs, not of their order."""
    pairs = list(itertools.pairwise(answers))
    shuffled = random.Random(0).sample(pairs, len(pairs))
    values = []
    for those in (pairs, shuffled):
        texts, references = [one for one, _ in those], [[other] for _, other in those]
        values.append((bleu_of(bleu_counts(texts, references)), chrf_of(texts, references)))
    assert values[0] == pytest.approx(values[1])


def test_texts_that_are_all_the_same_have_a_self_bleu_of_100(answers: list[str]) -> None:
    """Unlike texts have less, one alone has none to be compared with."""
    assert self_bleu_of(["the cat sat on the mat"] * 3) == pytest.approx([100] * 3)
    assert max(self_bleu_of(answers[:6])) < 60
    assert self_bleu_of(["alone"]) == [0]
