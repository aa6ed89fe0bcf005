"""The E2E test bed: prompts and vocabulary, and every measure against values computed by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tutelage.errors import TutelageError
from tutelage.reproductions import e2e
from tutelage.reproductions.e2e import (
    MARKS,
    SLOTS,
    pairs,
    prompt_of,
    slots_found,
    spread,
    tokenizer,
    values_of,
)
from tutelage.reproductions.e2e_measures import asked_of, by_row, held_out, of_text
from tutelage.text import Layout, examples_of, read_rows

EAGLE = (
    "name[The Eagle], eatType[coffee shop], food[French], priceRange[£20-25], area[riverside], "
    "near[Burger King]"
)


def test_a_meaning_becomes_marks_and_words() -> None:
    """Lower case, pound sign and hyphen apart, as the tokenised texts have them."""
    assert prompt_of(EAGLE) == (
        "<name> the eagle <eat-type> coffee shop <food> french <price-range> £ 20 - 25 <area> riverside "
        "<near> burger king"
    )


def test_the_data_are_what_the_test_bed_was_planned_for() -> None:
    """42,061 pairs, 390 held-out references, 150 different prompts, none of them taught."""
    train, dev = pairs("train"), held_out(12)
    assert len(train) == 42_061
    assert len(dev) == 390
    asked = asked_of(150)
    assert len(set(asked)) == 150
    taught = {pair.meaning for pair in train}
    assert not taught & {*asked, *(meaning for meaning, _ in dev)}
    assert all(set(values_of(pair.meaning)) <= set(MARKS) for pair in train[::50])


def test_the_vocabulary_has_a_thousand_tokens_and_knows_every_prompt() -> None:
    """No prompt of either part has an unknown word; special tokens are all different."""
    train = pairs("train")
    made = tokenizer(pair.text for pair in train)
    assert len(made) == 1000
    assert len({made.pad_token_id, made.bos_token_id, made.eos_token_id, made.unk_token_id}) == 4
    meanings = {pair.meaning for pair in (*train, *pairs("dev"))}
    ids = made([prompt_of(meaning) for meaning in meanings], add_special_tokens=False).input_ids
    assert not any(made.unk_token_id in row for row in ids)


def test_a_recipe_reads_a_row_back(tmp_path: Any) -> None:
    """Start, prompt, text, end: the text and the end count."""
    made = tokenizer(["the eagle is french ."] * 5 + ["burger king"] * 5)
    (tmp_path / "x.jsonl").write_text(
        '{"prompt": "<name> the eagle", "completion": "the eagle is french ."}\n'
    )
    (example,) = examples_of(read_rows(str(tmp_path / "x.jsonl")), made, Layout(max_length=20)).examples
    assert made.convert_ids_to_tokens(example.tokens) == [
        *("<start>", "<name>", "the", "eagle"),
        *("the", "eagle", "is", "french", ".", "<end>"),
    ]
    assert example.counted == [False] * 4 + [True] * 6


def test_data_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """With where they should be."""
    monkeypatch.setattr(e2e, "HOME", tmp_path)
    with pytest.raises(TutelageError, match=r"train.jsonl.gz is not there"):
        pairs("train")


def test_slot_values_are_found_as_whole_words_in_a_row() -> None:
    """Four of the attributes count; a word inside another one, or words apart, are not the value."""
    assert set(SLOTS) == {"name", "near", "food", "area"}
    assert slots_found(EAGLE, "the eagle serves french food near burger king in riverside") == (4, 4)
    assert slots_found(EAGLE, "the red eagle serves frenchfood near king burger riverside") == (1, 4)
    assert slots_found("name[Aromi], priceRange[cheap]", "cheap") == (0, 1)


def test_spread_takes_evenly_and_no_more_than_there_is() -> None:
    """The first is among them."""
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread(range(3), 5) == [0, 1, 2]


def logs(*row: float) -> torch.Tensor:
    return torch.tensor([row]).log()


def test_every_measure_of_a_row_is_what_it_is_by_hand() -> None:
    """Twenty tokens: the student has 1/2 on the first and 1/38 on the others, the teacher 1/20 on each."""
    q = logs(0.5, *[0.5 / 19] * 19)
    p = logs(*[0.05] * 20)
    found = {name: float(value) for name, value in by_row(q, p, torch.tensor([0])).items()}
    assert found["ce"] == pytest.approx(math.log(2))
    forward = 0.05 * math.log(0.05 / 0.5) + 0.95 * math.log(0.05 / (0.5 / 19))
    reverse = 0.5 * math.log(0.5 / 0.05) + 0.5 * math.log(0.5 / 19 / 0.05)
    assert found["forward_kl"] == pytest.approx(forward, abs=1e-6)
    assert found["reverse_kl"] == pytest.approx(reverse, abs=1e-6)
    assert found["tail"] == pytest.approx(4 * 0.5 / 19)  # a fifth of twenty


def test_head_is_by_the_teachers_order_and_tail_by_the_students() -> None:
    """The teacher prefers tokens 10 to 19, the student 0 to 9: its mass there is little, and its tail too."""
    p = logs(*[0.01] * 10, *[0.09] * 10)
    q = logs(*[0.09] * 10, *[0.01] * 10)
    found = by_row(q, p, torch.tensor([3]))
    assert float(found["head"]) == pytest.approx(0.1)
    assert float(found["tail"]) == pytest.approx(0.04)
    assert float(found["ce"]) == pytest.approx(-math.log(0.09))
    assert float(by_row(p, p, torch.tensor([3]))["head"]) == pytest.approx(0.9)


def test_texts_are_scored_by_prompt() -> None:
    """Nats over all tokens, slots over all values, 4-grams pooled; the ends count as tokens."""
    words = ["the", "eagle", "french", "<end>"]
    spelling = SimpleNamespace(convert_ids_to_tokens=lambda row: [words[number] for number in row])
    meanings = ["name[The Eagle], food[French]", "name[The Eagle]"]
    said = [[0, 1, 2, 3], [0, 1, 2, 3, 3]]
    found = of_text(meanings, said, [4.0, 14.0], spelling)
    assert found.numbers == pytest.approx({"nats": 2.0, "slots": 1.0, "distinct_4": 2 / 3, "length": 4.5})
    once = torch.ones(1, 2, dtype=torch.float64)
    for name, score in found.scores.items():
        assert float(score.resampled(once)) == pytest.approx(found.numbers[name])
    apart = of_text(meanings, [[0, 2, 1, 3], [2, 0, 1]], [1.0, 1.0], spelling)
    assert apart.numbers["slots"] == pytest.approx(2 / 3)  # a word between the two of a name
