"""Samples that the student writes: whose rows, what counts, and what they are a function of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from small_caches import STORIES, TINY, TOKENIZER
from tutelage.errors import TutelageError
from tutelage.interfaces import Machine, Writers
from tutelage.models import LanguageModel, new_model, prove_shared
from tutelage.samples.health import ENDED, health
from tutelage.samples.student import StudentSamples
from tutelage.samples.writing import OpenWritten


@pytest.fixture(scope="module")
def student() -> LanguageModel:
    """A new GPT-2."""
    return new_model(TINY, TOKENIZER, seed=1, machine=Machine())


def opened(student: LanguageModel, data: Path = STORIES / "train.txt.gz", **changes: Any) -> OpenWritten:
    """Twelve rows, shared out over four rows a step."""
    words = {"max_rows": 12, "max_length": 40, "long": "cut", "max_new_tokens": 10, **changes}
    handed = {"seed": words.pop("seed", 0), "micro_rows": words.pop("micro_rows", 4)}
    handed |= {key: words.pop(key) for key in ("processes", "process") if key in words}
    handed["micro_steps"] = words.pop("micro_steps", 1)
    found = StudentSamples(str(data), **words).open(student.tokenizer)
    shared = prove_shared(student.vocabulary, student.vocabulary)
    made = found.shared_out(**handed).written_with(Writers(student, shared))
    assert isinstance(made, OpenWritten)
    return made


def rows(samples: OpenWritten, step: int) -> list[list[int]]:
    """Tokens of every row of a step, without padding."""
    return [
        tokens[real].tolist()
        for batch in samples.micro_batches(step)
        for tokens, real in zip(batch.tokens, batch.attention, strict=True)
    ]


def test_what_the_student_wrote_counts_and_its_prompt_does_not(student: LanguageModel) -> None:
    """Prompts are the first tokens of the data's rows; all that follows is counted, the end token too."""
    samples = opened(student, prompt_tokens=6)
    (batch,) = samples.micro_batches(0)
    assert batch.writers == ("student",) * 4
    begun = {tuple(example.tokens[:6]) for example in samples.examples}
    for tokens, real, counts in zip(batch.tokens, batch.attention, batch.mask, strict=True):
        assert tuple(tokens[:6].tolist()) in begun
        assert not bool(counts[:6].any())
        assert bool((counts[6:] == real[6:]).all())
        assert 1 <= int(counts.sum()) <= 10


def test_prompts_of_pairs_stay_whole(student: LanguageModel, tmp_path: Path) -> None:
    """Of a prompt with a completion the student is given the prompt, however long."""
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"prompt": "Once upon a time there was a", "completion": " dog."}\n' * 2, encoding="utf-8"
    )
    samples = opened(student, path, prompt_tokens=2, max_rows=2)
    example = samples.examples[0]
    assert samples.prompt(example) == example.tokens[: example.counted.index(True)]
    (batch,) = samples.micro_batches(0)
    assert not bool(batch.mask[:, : example.counted.index(True)].any())


def test_text_is_a_function_of_seed_place_and_weights(student: LanguageModel) -> None:
    """The same step gives the same text; another seed, step or weight another one."""
    first = rows(opened(student), 1)
    assert first == rows(opened(student), 1)
    assert first != rows(opened(student, seed=1), 1)
    assert first != rows(opened(student), 4), "the same prompts again, an epoch later"
    weight = student.model.get_output_embeddings().weight
    with torch.no_grad():
        before = weight.clone()
        weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    assert first != rows(opened(student), 1)
    with torch.no_grad():
        weight.copy_(before)
    assert first == rows(opened(student), 1)


def test_micro_batches_and_processes_change_no_row(student: LanguageModel) -> None:
    """Four rows at once, four times one, or two processes with two each: the same texts."""
    whole = rows(opened(student, on_policy=0.5), 2)
    assert rows(opened(student, on_policy=0.5, micro_rows=1, micro_steps=4), 2) == whole
    halves = [
        rows(opened(student, on_policy=0.5, micro_rows=2, processes=2, process=process), 2)
        for process in (0, 1)
    ]
    assert halves[0] + halves[1] == whole


def test_a_share_of_the_rows_stays_the_data_sets(student: LanguageModel) -> None:
    """Of 400 rows about 30 % are the student's (six standard errors); the others are as they were read."""
    samples = opened(student, on_policy=0.3, max_new_tokens=1)
    own = 0
    read = {tuple(example.tokens) for example in samples.examples}
    for step in range(100):
        (batch,) = samples.micro_batches(step)
        for writer, tokens, real in zip(batch.writers, batch.tokens, batch.attention, strict=True):
            own += writer == "student"
            assert writer == "student" or tuple(tokens[real].tolist()) in read
    assert abs(own / 400 - 0.3) < 6 * (0.3 * 0.7 / 400) ** 0.5
    assert {
        w for step in range(5) for b in opened(student, on_policy=0.0).micro_batches(step) for w in b.writers
    } == {"dataset"}


def test_the_longest_row_is_told_before_anything_is_written(student: LanguageModel) -> None:
    """Prompt and continuation together, so that models with fewer positions are refused at once."""
    samples = opened(student, prompt_tokens=6, max_new_tokens=50)
    assert samples.longest == 56


def test_without_a_student_nobody_writes(student: LanguageModel) -> None:
    """The error says what to call."""
    samples = StudentSamples(str(STORIES / "train.txt.gz"), max_rows=4).open(student.tokenizer)
    with pytest.raises(TutelageError, match="no student to write it"):
        samples.shared_out(seed=0, micro_rows=2, micro_steps=1).micro_batches(0)


def test_health_counts_length_truncation_and_repetition(student: LanguageModel) -> None:
    """A row of one token over and over repeats itself; a text that ended was not truncated."""
    from tutelage.text import Example

    stuck = Example([1, *[7] * 12], [False, *[True] * 12], {ENDED: False})
    fine = Example([1, 2, 3, 4, 5], [False, *[True] * 4], {ENDED: True})
    assert health([stuck, fine]) == {"own_length": 8.0, "own_truncated": 0.5, "own_repeated": 8 / 10}
    assert health([]) == {}
    samples = opened(student)
    samples.micro_batches(0)
    assert samples.noted["own_length"] <= 10
