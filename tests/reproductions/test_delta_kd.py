"""The Delta-KD test bed: who reads what, measures on models that are known, claims on planted numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.distribution import Dense, Distribution
from tutelage.interfaces import Batch, Machine
from tutelage.models import LanguageModel, new_model
from tutelage.reproductions.claims import NOT_REPRODUCED, REPRODUCED, TOO_SMALL, Claim, judged
from tutelage.reproductions.delta_kd import beats_kd, keeps_student, keeps_teacher, lengthy
from tutelage.reproductions.delta_measures import Held, of_text, on_references, on_stories, saying
from tutelage.reproductions.delta_text import (
    END,
    IDS,
    PADDING,
    REFERENCES,
    SEPARATOR,
    SHARES,
    WINDOW,
    Question,
    asking,
    halves,
    held_out_stories,
    questions,
    row,
    sources,
    task,
    tokenizer,
    windows,
)
from tutelage.reproductions.e2e import Pair, pairs
from tutelage.reproductions.paired import Ratio, Scores
from tutelage.text import Layout, examples_of, read_rows

TEXTS = ["the eagle is french .", "the mill is cheap .", "a pub near the mill .", "café ' £ 20"] * 30


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    """What everybody is pretrained on."""
    return sources()


@pytest.fixture(scope="module")
def spelling(texts: dict[str, list[str]]) -> Any:
    """The vocabulary of a sample of it."""
    return tokenizer([*(text for known in texts.values() for text in known[::40]), *TEXTS])


@pytest.fixture
def nobody(spelling: Any, tmp_path: Path) -> LanguageModel:
    """A model that knows nothing: every token is as likely as any other."""
    spelling.save_pretrained(tmp_path / "tokenizer")
    shape = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 160}
    model = new_model(shape, str(tmp_path / "tokenizer"), seed=0, machine=Machine())
    with torch.no_grad():
        for weights in model.model.parameters():
            weights.zero_()
    return model


def test_the_task_says_nothing_about_what_was_pretrained_on() -> None:
    """4,000 pairs, every meaning representation in one half only, held-out ones in neither."""
    train = pairs("train")
    first, second = halves(train)
    learnt, held = task(4000), questions(150)
    assert len(first) + len(second) == len(train)
    assert len(learnt) == 4000
    assert len({one.meaning for one in held}) == 150
    assert all(len(one.references) >= len(one.pairs) == REFERENCES for one in held)
    taught, seen = ({pair.meaning for pair in some} for some in (learnt, second))
    assert not taught & seen
    assert not {one.meaning for one in held} & (taught | seen)


def test_pretraining_text_has_no_meaning_representations(texts: dict[str, list[str]]) -> None:
    """Texts of all three sources, none empty, and no control token inside one."""
    assert set(texts) == set(SHARES)
    assert math.fsum(SHARES.values()) == pytest.approx(1)
    for known in texts.values():
        assert min(map(len, known)) > 0
        assert not any(mark in text for text in known for mark in ("<name>", PADDING, END, SEPARATOR))
    stories = set(texts["stories"])
    assert not stories & set(held_out_stories().split(END))


def test_windows_are_drawn_by_the_shares_of_their_sources() -> None:
    """Ninety-six words each; a share is off by more than 4 errors once in 16,000 draws."""
    words = {"stories": "1", "reviews": "2", "sentences": "3"}
    drawn = windows({name: [" ".join([word] * 50)] * 9 for name, word in words.items()}, 4000)
    assert {len(window.split(" ")) for window in drawn} == {WINDOW}
    assert any(END in window for window in drawn)
    for name, share in SHARES.items():
        found = sum(words[name] in window for window in drawn) / len(drawn)
        assert found == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / len(drawn)))
    assert drawn == windows({name: [" ".join([word] * 50)] * 9 for name, word in words.items()}, 4000)


def test_the_vocabulary_spells_everything(texts: dict[str, list[str]], spelling: Any) -> None:
    """1,023 ids, three of control; any text comes back; a window has tokens enough to be cut."""
    assert len(spelling) == IDS
    assert spelling.bos_token_id is None
    assert len({*spelling.convert_tokens_to_ids([PADDING, END, SEPARATOR])}) == 3
    for text in ("naïve £ 20 - 25 日本", f"one{END}two"):
        assert spelling.decode(spelling(text).input_ids) == text
    assert spelling(f"one{END}two").input_ids.count(spelling.eos_token_id) == 1
    assert min(len(ids) for ids in spelling(windows(texts, 300)).input_ids) >= WINDOW


def test_a_recipe_reads_a_pair_back(spelling: Any, tmp_path: Path) -> None:
    """Meaning representation, separator, sentence, end: the last two count."""
    pair = Pair("name[The Eagle], food[French]", "the eagle is french .")
    (tmp_path / "x.jsonl").write_text(json.dumps(row(pair)) + "\n")
    (example,) = examples_of(read_rows(tmp_path / "x.jsonl"), spelling, Layout(max_length=160)).examples
    assert spelling.decode(example.tokens) == f"{asking(pair.meaning)}{pair.text}{END}"
    said = [token for token, counts in zip(example.tokens, example.counted, strict=True) if counts]
    assert spelling.decode(said) == f"{pair.text}{END}"
    assert example.tokens[len(example.tokens) - len(said) - 1] == spelling.convert_tokens_to_ids(SEPARATOR)


def held(tmp_path: Path, **further: Any) -> Held:
    """Two meaning representations with three and two sentences."""
    asked = [
        Question("name[The Eagle]", ("the eagle is french .", "the eagle .", "eagle")),
        Question("name[The Mill]", ("the mill is cheap .", "a mill .")),
    ]
    lines = [json.dumps(row(pair)) for one in asked for pair in one.pairs]
    (tmp_path / "dev.jsonl").write_text("\n".join(lines) + "\n")
    return Held(str(tmp_path / "dev.jsonl"), asked, asked, story_ids=2 * WINDOW, **further)


def saying_first(share: float) -> Any:
    """Gives the first id so much, and all others the same."""

    def said(batch: Batch) -> Distribution:
        row = torch.full((IDS,), math.log((1 - share) / (IDS - 1)), dtype=torch.float64)
        row[0] = math.log(share)
        return Dense(row.expand(batch.counted, IDS))

    return said


def test_likelihood_and_nearness_are_what_they_are_by_hand(nobody: LanguageModel, tmp_path: Path) -> None:
    """A model that knows nothing, beside one that gives one token a half, and beside itself."""
    told = held(tmp_path, aligned=saying_first(0.5), base=saying(nobody))
    found = on_references(saying(nobody), told, nobody)
    apart = 0.5 * math.log(0.5 * IDS) + 0.5 * math.log(0.5 * IDS / (IDS - 1))
    assert found.numbers == pytest.approx({"gold": math.log(IDS), "kl": apart, "kl_base": 0.0}, abs=1e-5)
    scores: dict[str, Any] = dict(found.scores)
    counts = [
        sum(len(nobody.tokenizer(pair.text).input_ids) + 1 for pair in one.pairs) for one in told.questions
    ]
    assert list(scores["gold"].weights) == counts
    once = torch.ones(1, 2, dtype=torch.float64)
    for name, score in scores.items():
        assert float(score.resampled(once)) == pytest.approx(found.numbers[name])


def test_story_nats_count_every_token_of_a_window_but_the_first(nobody: LanguageModel) -> None:
    """Of a model that knows nothing they are the log of the vocabulary."""
    found = on_stories(nobody, 2 * WINDOW)
    assert found.numbers["story"] == pytest.approx(math.log(IDS), abs=1e-5)
    score = found.scores["story"]
    assert isinstance(score, Ratio)
    assert score.weights == (WINDOW - 1, WINDOW - 1)


def test_a_reference_itself_is_the_best_text() -> None:
    """100 for a text that is one of the references, less for half of it, 0 for nothing; words are counted."""
    pytest.importorskip("rouge_score")
    asked = [Question("a", ("the eagle is french .", "an eagle ."))] * 3
    found = of_text(["the eagle is french .", "the eagle", ""], asked)
    score = found.scores["rouge_l"]
    assert isinstance(score, Ratio)
    # Two words of two, and two of four, a mark of punctuation being no word.
    assert score.sums == pytest.approx((100, 200 / 3, 0))
    assert found.numbers == pytest.approx(
        {"rouge_l": 500 / 9, "words": 7 / 3, "reference_words": 4.0}, abs=1e-9
    )


SEEDS = (0, 1, 2)
PROMPTS = 40


def planted(
    rouge: float, *, words: float = 20.0, kl: float = 0.0, story: float = 0.0, broken: bool = False
) -> tuple[dict[int, Any], dict[int, Any]]:
    """Delta-KD ahead of KD in ROUGE-L by so much; its KL and story nats so much higher."""
    found: dict[int, Any] = {}
    scores: dict[int, dict[str, Scores]] = {}
    for seed in SEEDS:
        arms = {
            name: {
                "gold": 2.0,
                "rouge_l": 40.0,
                "words": 20.0,
                "reference_words": 22.0,
                "kl": 1.0,
                "story": 5.0,
            }
            for name in ("A/kd", "A/kd_sft", "A/delta", "A/delta_sft", "A/untouched", "teachers/base")
        }
        arms["teachers/aligned"] = dict(arms["A/kd"], rouge_l=30.0 if broken else 60.0, gold=1.5)
        arms["teachers/base"]["rouge_l"] = 35.0
        arms["A/untouched"] |= {"gold": 4.0, "rouge_l": 10.0}
        for name in ("A/delta", "A/delta_sft"):
            arms[name] |= {"rouge_l": 40 + rouge, "words": words, "kl": 1 + kl, "story": 5 + story}
        found[seed] = arms
        scores[seed] = {
            name: {one: Ratio((value,) * PROMPTS, (1.0,) * PROMPTS) for one, value in numbers.items()}
            for name, numbers in arms.items()
        }
    return found, scores


def told(claim: Claim, **how: Any) -> str:
    """The verdict on planted numbers."""
    return judged(claim, *planted(**how)).verdict


@pytest.mark.parametrize("share", ["lambda 0", "lambda 0.5"])
def test_the_first_rule_that_applies_is_the_verdict(share: str) -> None:
    """A broken set-up before a wrong sign, a wrong sign before lengths, lengths before reproduced."""
    claim = beats_kd(share)
    assert told(claim, rouge=2.0) == REPRODUCED
    assert told(claim, rouge=-2.0) == told(claim, rouge=0.0) == NOT_REPRODUCED
    assert told(claim, rouge=2.0, words=10.0) == told(claim, rouge=2.0, words=40.0) == TOO_SMALL
    assert told(claim, rouge=-2.0, words=10.0) == NOT_REPRODUCED
    assert told(claim, rouge=2.0, broken=True) == told(claim, rouge=-2.0, broken=True) == TOO_SMALL


@pytest.mark.parametrize("share", ["lambda 0", "lambda 0.5"])
def test_nearness_and_forgetting_do_not_ask_for_length(share: str) -> None:
    """Lower is better in both."""
    assert told(keeps_teacher(share), rouge=0.0, kl=-0.1, words=5.0) == REPRODUCED
    assert told(keeps_teacher(share), rouge=0.0, kl=0.1) == NOT_REPRODUCED
    assert told(keeps_student(share), rouge=0.0, story=-0.1, words=5.0) == REPRODUCED
    assert told(keeps_student(share), rouge=0.0, story=0.1) == NOT_REPRODUCED


def test_length_fits_between_seven_and_thirteen_tenths() -> None:
    """The margin is in words, and lowest outside."""
    for words, margin in {20.0: 6.0, 14.0: 0.0, 26.0: 0.0, 30.0: -4.0, 10.0: -4.0}.items():
        found = {"a": {"words": words, "reference_words": 20.0}}
        assert lengthy("a")(found) == pytest.approx(margin)
