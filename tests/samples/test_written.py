"""Samples in which somebody writes: who, how often, from what distribution, and what is kept."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from small_caches import STORIES, TINY, TOKENIZER, saved_model
from tutelage.errors import OutOfRange, TutelageError
from tutelage.interfaces import BEHAVIOUR, OWN, TEACHER, Batch, Machine, Writers
from tutelage.models import LanguageModel, continued, new_model, prove_shared
from tutelage.samples import MixtureSamples, ReplaySamples, StudentSamples, TeacherSamples
from tutelage.samples.writing import OpenWritten, WrittenSamples
from tutelage.teachers import MixtureTeacher, ModelTeacher

KINDS: dict[str, dict[str, Any]] = {
    "student": {"on_policy": 0.5, "teacher_tokens": 0.3},
    "collections": {"inner_epochs": 2, "steps_per_rollout": 2, "teacher_tokens": 0.2},
    "teacher": {"copies": 2},
    "mixture": {"teacher": 0.25, "student": 0.5, "teacher_tokens": 0.2},
    "replay": {"fresh": 0.4, "capacity": 10},
    "collections of replay": {"fresh": 0.4, "capacity": 10, "inner_epochs": 2, "steps_per_rollout": 2},
}
CLASSES = {
    "student": StudentSamples,
    "collections": StudentSamples,
    "teacher": TeacherSamples,
    "mixture": MixtureSamples,
    "replay": ReplaySamples,
    "collections of replay": ReplaySamples,
}


@pytest.fixture(scope="module")
def student() -> LanguageModel:
    """A new GPT-2."""
    return new_model(TINY, TOKENIZER, seed=1, machine=Machine())


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> ModelTeacher:
    """Another one, with opinions."""
    folder = saved_model(tmp_path_factory.mktemp("teacher") / "t", seed=3, initializer_range=0.3)
    return ModelTeacher(str(folder)).open(Machine())


def opened(words: WrittenSamples, writers: Writers, **handed: Any) -> OpenWritten:
    """Rows of a few stories, shared out over four rows a step."""
    found = words.open(writers.student.tokenizer)
    made = found.shared_out(**{"seed": 0, "micro_rows": 4, "micro_steps": 1, **handed})
    assert isinstance(made, OpenWritten)
    return made.written_with(writers)


def described(kind: str, **changes: Any) -> WrittenSamples:
    """A description of each kind, on twelve stories."""
    words = {"max_rows": 12, "max_length": 40, "long": "cut", "max_new_tokens": 8, **KINDS[kind], **changes}
    return CLASSES[kind](str(STORIES / "train.txt.gz"), **words)


def rows(batches: list[Batch]) -> list[tuple[str, tuple[int, ...]]]:
    """Writer and tokens of every row, without padding."""
    return [
        (writer, tuple(tokens[real].tolist()))
        for batch in batches
        for writer, tokens, real in zip(batch.writers, batch.tokens, batch.attention, strict=True)
    ]


def writers(student: LanguageModel, teacher: ModelTeacher, folder: Path | None = None) -> Writers:
    return Writers(student, prove_shared(student.vocabulary, teacher.vocabulary), teacher, {"is": 3}, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_change_no_row(student: LanguageModel, teacher: ModelTeacher, kind: str) -> None:
    """Four rows at once or four times one: the same writers and texts in every step."""
    whole = opened(described(kind), writers(student, teacher))
    single = opened(described(kind), writers(student, teacher), micro_rows=1, micro_steps=4)
    for step in range(5):
        assert rows(whole.micro_batches(step)) == rows(single.micro_batches(step))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_kept_goes_on_as_if_nothing_had_happened(
    student: LanguageModel, teacher: ModelTeacher, kind: str, tmp_path: Path
) -> None:
    """State saved after any step, as JSON, and taken up by new samples: the same rows, the same records."""
    whole = opened(described(kind), writers(student, teacher, tmp_path / "one"))
    for stop in range(4):
        whole.micro_batches(stop)
        state = json.loads(json.dumps(whole.state_dict()))
        again = opened(described(kind), writers(student, teacher, tmp_path / "one"))
        again.load_state_dict(state)
        beside = opened(described(kind), writers(student, teacher, tmp_path / "one"))
        for step in range(stop + 1):
            beside.micro_batches(step)
        for step in range(stop + 1, 6):
            found, expected = again.micro_batches(step), beside.micro_batches(step)
            assert rows(found) == rows(expected)
            for one, other in zip(found, expected, strict=True):
                assert one.recorded.keys() == other.recorded.keys()
                assert all(torch.equal(one.recorded[name], other.recorded[name]) for name in one.recorded)


def test_writers_take_turns_by_their_shares(student: LanguageModel, teacher: ModelTeacher) -> None:
    """Of any sixteen rows in a row, each writer has its share give or take two."""
    samples = opened(described("mixture"), writers(student, teacher))
    wrote = [samples.writer_of(place) for place in range(64)]
    for start in range(0, 48, 3):
        counts = Counter(wrote[start : start + 16])
        assert abs(counts["teacher"] - 4) <= 2
        assert abs(counts["student"] - 8) <= 2
        assert abs(counts["dataset"] - 4) <= 2


def test_more_than_all_rows_are_refused() -> None:
    """Shares of 0.7 and 0.5 are not shares of one thing."""
    with pytest.raises(OutOfRange, match=r"more than 1 together"):
        described("mixture", teacher=0.7, student=0.5)


def test_what_is_recorded_is_what_the_models_say(student: LanguageModel, teacher: ModelTeacher) -> None:
    """Log-probabilities of drawn tokens under student, teacher and their mixture, by whole forward passes."""
    samples = opened(described("student", on_policy=1.0), writers(student, teacher))
    (batch,) = samples.micro_batches(0)
    assert teacher.loaded is not None
    student.model.eval()
    with torch.no_grad():
        logs = [
            model.model(batch.tokens, attention_mask=batch.attention.long()).logits[:, :-1].log_softmax(-1)
            for model in (student, teacher.loaded)
        ]
    own, theirs = (said.gather(2, batch.tokens[:, 1:, None])[:, :, 0][batch.mask[:, 1:]] for said in logs)
    mixed = torch.logaddexp(own + torch.tensor(0.7).log(), theirs + torch.tensor(0.3).log())
    for name, expected in ((OWN, own), (TEACHER, theirs), (BEHAVIOUR, mixed)):
        found = batch.recorded_at(name)
        assert found is not None
        assert float((found - expected).abs().max()) < 1e-4
    assert bool((batch.recorded[OWN][~batch.mask] == 0).all())


def test_tokens_are_drawn_from_the_mixture(student: LanguageModel, teacher: ModelTeacher) -> None:
    """First tokens of 2,000 rows: their mean probability is the mixture's within five standard errors."""
    prompt = [[0, 5, 9]] * 2000
    found = continued(student, prompt, most=1, seeds=list(range(2000)), beside=teacher.reader, share=0.4)
    assert teacher.loaded is not None
    with torch.no_grad():
        p, q = (
            m.model(torch.tensor(prompt[:1])).logits[0, -1].softmax(-1) for m in (teacher.loaded, student)
        )
    mixture = (0.4 * p + 0.6 * q).double()
    drawn = mixture[found.tokens[:, 0]]
    mean, spread = (
        float(mixture.pow(2).sum()),
        float((mixture.pow(3).sum() - mixture.pow(2).sum() ** 2).sqrt()),
    )
    assert abs(float(drawn.mean()) - mean) < 5 * spread / 2000**0.5


def test_a_collection_is_gone_through_as_often_as_asked(
    student: LanguageModel, teacher: ModelTeacher
) -> None:
    """Two steps a pass, two passes: the second in another order, then new text."""
    samples = opened(described("collections"), writers(student, teacher))
    steps = [rows(samples.micro_batches(step)) for step in range(8)]
    first, second = steps[0] + steps[1], steps[2] + steps[3]
    assert first != second
    assert Counter(first) == Counter(second)
    assert not set(first) & set(steps[4] + steps[5])


def test_a_teacher_writes_once_for_everybody(
    student: LanguageModel, teacher: ModelTeacher, tmp_path: Path
) -> None:
    """Other seeds and new processes read what is there; another teacher has another folder."""
    samples = opened(described("teacher", copies=1), writers(student, teacher, tmp_path))
    texts = {row for step in range(3) for row in rows(samples.micro_batches(step))}
    files = sorted(tmp_path.rglob("part-*.jsonl"))
    assert len(files) == 1
    assert len(files[0].read_text().splitlines()) == 1 + 12
    again = opened(described("teacher", copies=1), writers(student, teacher, tmp_path), seed=5)
    assert {row for step in range(3) for row in rows(again.micro_batches(step))} == texts
    assert sorted(tmp_path.rglob("part-*.jsonl")) == files
    other = dataclasses.replace(writers(student, teacher, tmp_path), told={"is": 4})
    opened(described("teacher", copies=1), other).micro_batches(0)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_of_ones_own_is_used_by_runs_and_by_nobody_who_keeps_nothing(
    student: LanguageModel, teacher: ModelTeacher, tmp_path: Path
) -> None:
    """`store` instead of the run's folder; `check`, which keeps nothing, leaves it alone."""
    words = described("teacher", store=str(tmp_path / "mine"))
    opened(words, writers(student, teacher)).micro_batches(0)
    assert not (tmp_path / "mine").exists()
    opened(words, writers(student, teacher, tmp_path / "run")).micro_batches(0)
    assert len(list((tmp_path / "mine").rglob("part-*.jsonl"))) == 1
    assert not (tmp_path / "run").exists()


def test_a_line_cut_short_by_a_kill_is_written_again(
    student: LanguageModel, teacher: ModelTeacher, tmp_path: Path
) -> None:
    """Half a line at the end of the file changes no row."""
    whole = rows(opened(described("teacher"), writers(student, teacher, tmp_path)).micro_batches(0))
    (file,) = tmp_path.rglob("part-*.jsonl")
    text = file.read_text()
    file.write_text(text[: len(text) - len(text.splitlines()[-1]) // 2])
    assert rows(opened(described("teacher"), writers(student, teacher, tmp_path)).micro_batches(0)) == whole


def test_copies_are_other_texts_after_the_same_prompts(student: LanguageModel, teacher: ModelTeacher) -> None:
    """The second pass has texts of its own, the third those of the first."""
    samples = opened(described("teacher", shuffle=False), writers(student, teacher))
    passes = [
        {row for step in range(3 * n, 3 * n + 3) for row in rows(samples.micro_batches(step))}
        for n in range(3)
    ]
    assert passes[0] == passes[2]
    assert len(passes[0] & passes[1]) < 3


def test_kept_rows_are_recent_and_few(student: LanguageModel, teacher: ModelTeacher) -> None:
    """The buffer holds no more than its capacity; what is too old is not used; ages are told."""
    samples = opened(described("replay", fresh=0.3, capacity=6, oldest=2), writers(student, teacher))
    seen: dict[tuple[str, tuple[int, ...]], int] = {}
    for step in range(12):
        for row in rows(samples.micro_batches(step)):
            assert step - seen.setdefault(row, step) <= 2
        assert len(samples.state_dict()["buffer"]) <= 6
        assert samples.noted.get("own_age", 1.0) <= 2
    assert len(seen) < 48


def test_a_mixture_of_teachers_writes_too(
    student: LanguageModel, teacher: ModelTeacher, tmp_path: Path
) -> None:
    """Token by token from the mean of its members; one with all the weight writes what it writes alone."""
    other = ModelTeacher(str(saved_model(tmp_path / "other", seed=9, initializer_range=0.3)))
    sure = MixtureTeacher((ModelTeacher(teacher.model), other), weights=(1.0, 0.0)).open(Machine())
    words = described("teacher")
    alone = rows(opened(words, writers(student, teacher)).micro_batches(0))
    assert rows(opened(words, writers(student, sure)).micro_batches(0)) == alone  # type: ignore[arg-type]
    even = MixtureTeacher((ModelTeacher(teacher.model), other)).open(Machine())
    assert rows(opened(words, writers(student, even)).micro_batches(0)) != alone  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["teacher", "mixture", "student"])
def test_whoever_cannot_write_is_refused(student: LanguageModel, teacher: ModelTeacher, kind: str) -> None:
    """No teacher at all, or one that is routed by a column."""
    alone = Writers(student, prove_shared(student.vocabulary, student.vocabulary))
    with pytest.raises(TutelageError, match="the teacher is to write, and the recipe has none"):
        opened(described(kind), alone)
    routed = MixtureTeacher((teacher, teacher), route="who")
    with pytest.raises(TutelageError, match="a MixtureTeacher cannot write"):
        opened(described(kind), dataclasses.replace(alone, teacher=routed))
