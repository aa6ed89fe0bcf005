"""A teacher on disk says what the live one says, whatever the order, the batch or the padding."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from small_caches import STORIES, TOKENIZER, cache_of, saved_model, stories
from tutelage.distribution import Distribution, Hidden, Sampled, TopK, kept
from tutelage.divergences import forward_kl, loss
from tutelage.errors import Damaged, NotShared, TutelageError
from tutelage.interfaces import Batch, Machine
from tutelage.models import load_model, load_tokenizer, prove_shared, rows_of
from tutelage.recipes import read
from tutelage.samples import DatasetSamples
from tutelage.stores.manifest import SHARDS
from tutelage.teachers import CachedTeacher, MixtureTeacher, ModelTeacher
from tutelage.text import Example, collate

KINDS: dict[str, dict[str, Any]] = {
    "hidden": {"precision": "float32"},
    "top_k": {"k": 16},
    "sampled": {"draws": 8},
}

FIELDS = {
    "hidden": ("hidden",),
    "top_k": ("ids", "log_probs_kept", "log_tail"),
    "sampled": ("ids", "log_probs_drawn", "weights"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher: two layers, random weights large enough that it has opinions."""
    folder = tmp_path_factory.mktemp("cached") / "teacher"
    return saved_model(folder, seed=3, n_embd=24, initializer_range=0.3)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, str]:
    """One cache of each kind, of the same teacher and text."""
    folder = tmp_path_factory.mktemp("caches")
    recipe = stories(folder, model)
    for kind, options in KINDS.items():
        cache_of(recipe, folder / kind, kind, **options)
    cache_of(recipe, folder / "bfloat16", "hidden")
    return {name: str(folder / name) for name in (*KINDS, "bfloat16")}


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """The rows of the recipe's training text."""
    samples = DatasetSamples(data=str(STORIES / "train.txt.gz"), max_rows=12, max_length=40, long="cut")
    return list(samples.open(load_tokenizer(TOKENIZER)).examples)


@pytest.fixture(scope="module")
def live(model: Path) -> ModelTeacher:
    return ModelTeacher(str(model)).open(Machine())


def opened(place: str, **options: Any) -> CachedTeacher:
    return CachedTeacher(place, **options).open(Machine())


def shuffled(examples: list[Example], seed: int, rows: int) -> Batch:
    """Some rows in an order of their own, padded as they come."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    return collate([examples[i] for i in order[:rows]], 0)


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_hidden_states_in_float32_are_the_live_teacher(
    caches: dict[str, str], live: ModelTeacher, examples: list[Example], rows: int
) -> None:
    """Whatever was padded with what, then and now."""
    batch = shuffled(examples, rows, rows)
    told, said = opened(caches["hidden"])(batch).log_probs(), live(batch).log_probs()
    assert float(forward_kl(told, said).abs().max()) < 1e-6
    torch.testing.assert_close(told, said, rtol=0, atol=1e-5)


def test_hidden_states_in_bfloat16_lose_less_than_a_thousandth_of_a_nat(
    caches: dict[str, str], live: ModelTeacher, examples: list[Example]
) -> None:
    """Per token, on every row."""
    batch = shuffled(examples, 0, 12)
    said = live(batch).log_probs()
    lost = forward_kl(opened(caches["bfloat16"])(batch).log_probs(), said)
    assert 0 < float(lost.mean()) < 1e-3
    assert float((said.exp() * -said).sum(1).mean()) < 7  # nats of entropy; 7.6 if it had no opinion


def test_top_k_keeps_the_likeliest_tokens_and_the_mass_of_the_rest(
    caches: dict[str, str], live: ModelTeacher, examples: list[Example]
) -> None:
    """Up to the rounding of float16."""
    batch = shuffled(examples, 1, 5)
    told, said = opened(caches["top_k"])(batch), kept(live(batch), 16)
    assert isinstance(told, TopK)
    torch.testing.assert_close(told.log_probs_kept, said.log_probs_kept, rtol=1e-3, atol=0)
    torch.testing.assert_close(told.log_tail, said.log_tail, rtol=1e-4, atol=1e-5)
    ours, theirs = (
        torch.zeros(told.positions, 2048).scatter(1, one.ids, one.log_probs_kept) for one in (told, said)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0)


def test_what_is_drawn_for_a_row_depends_on_the_row_alone(
    caches: dict[str, str], model: Path, examples: list[Example], tmp_path: Path
) -> None:
    """Another cut into shards, other neighbours, the same tokens; and they are the teacher's."""
    short = stories(tmp_path, model, samples={"max_rows": 5})
    cache_of(short, tmp_path / "short", "sampled", **KINDS["sampled"])
    batch = collate(examples[:5], 0)
    one, other = (opened(place)(batch) for place in (caches["sampled"], str(tmp_path / "short")))
    assert isinstance(one, Sampled)
    assert isinstance(other, Sampled)
    assert torch.equal(one.ids, other.ids)
    torch.testing.assert_close(one.weights.sum(1), torch.ones(one.positions), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_rows_and_how_they_are_batched_change_nothing(
    caches: dict[str, str], examples: list[Example], kind: str
) -> None:
    """Bit for bit: rows are looked up one by one."""
    teacher = opened(caches[kind])
    apart = [teacher(collate([example], 0)) for example in examples]
    for order, pad in ((1, 0), (-1, 5)):
        joint = teacher(collate(examples[::order], pad))
        for name in FIELDS[kind]:
            parts = [getattr(one, name) for one in apart[::order]]
            assert torch.equal(getattr(joint, name), torch.cat(parts))


@pytest.mark.parametrize("kind", ["top_k", "sampled"])
def test_what_was_said_of_the_written_tokens_is_kept(
    caches: dict[str, str], live: ModelTeacher, examples: list[Example], kind: str
) -> None:
    """So the teacher's own nats per token are known although most tokens are not."""
    batch = shuffled(examples, 2, 6)
    expected = live(batch).log_probs().gather(1, batch.gold[:, None])[:, 0]
    found = opened(caches[kind]).gold_log_probs(batch)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_student_that_is_its_teacher_has_no_loss_through_a_cache(
    caches: dict[str, str], model: Path, examples: list[Example]
) -> None:
    """Zero loss and zero gradient along this way too (law 2)."""
    student = load_model(model, machine=Machine())
    batch = shuffled(examples, 4, 6)
    hidden, layer = rows_of(student, batch)
    for divergence in ("forward_kl", "reverse_kl", "jensen_shannon"):
        student.model.zero_grad()
        value = loss(hidden, layer.weight, opened(caches["hidden"])(batch), divergence)
        value.backward(retain_graph=True)
        assert abs(float(value.detach())) < 1e-9
        assert all(float(p.grad.abs().max()) < 1e-7 for p in student.model.parameters() if p.grad is not None)


def test_k_columns_and_the_rest_bound_the_whole_divergence_from_below(
    caches: dict[str, str], live: ModelTeacher, examples: list[Example]
) -> None:
    """By data processing; the cache rounds to float16, so the bound may be missed by that."""
    batch = shuffled(examples, 5, 6)
    student = Hidden(torch.randn(batch.counted, 8), torch.randn(2048, 8))
    cut, whole = (
        float(loss(student.hidden, student.weight, teacher(batch), "forward_kl"))
        for teacher in (opened(caches["top_k"]), live)
    )
    assert 0 < cut <= whole + 1e-3


def test_the_vocabulary_proves_what_the_ids_mean(caches: dict[str, str], live: ModelTeacher) -> None:
    """As if the teacher itself were there; another tokenizer is refused with the first difference."""
    teacher = opened(caches["top_k"])
    assert prove_shared(live.vocabulary, teacher.vocabulary).tokens == 2048
    assert teacher.vocabulary.rules == live.vocabulary.rules
    other = dataclasses.replace(live.vocabulary, tokens=("x", *live.vocabulary.tokens[1:]))
    with pytest.raises(NotShared, match="the token 0 is 'x'"):
        prove_shared(other, teacher.vocabulary)


def test_it_knows_whose_words_it_says(caches: dict[str, str], model: Path, live: ModelTeacher) -> None:
    """Name and size are those of the teacher behind it."""
    teacher = opened(caches["hidden"])
    assert (teacher.name, teacher.parameters) == (str(model), live.parameters)
    assert "hidden" in teacher.said
    assert str(model) in teacher.said


def test_a_row_that_is_not_there_is_refused(caches: dict[str, str], examples: list[Example]) -> None:
    """A token less, or another mask, is another row; text of the student's own cannot be there."""
    teacher = opened(caches["hidden"])
    shorter = Example(examples[0].tokens[:-1], examples[0].counted[:-1])
    masked = Example(examples[0].tokens, [False, False, *examples[0].counted[2:]])
    for example in (shorter, masked):
        with pytest.raises(TutelageError, match="is not in the cache"):
            teacher(collate([examples[1], example], 0))
    with pytest.raises(TutelageError, match="the student wrote during the run"):
        teacher(collate([shorter], 0, "student"))


def test_the_teacher_under_of_must_be_the_one_that_was_asked(
    caches: dict[str, str], model: Path, tmp_path: Path
) -> None:
    """Told by its weights, wherever they lie; the files are hashed, no model is loaded."""
    (tmp_path / "moved").mkdir()
    for path in model.iterdir():
        (tmp_path / "moved" / path.name).write_bytes(path.read_bytes())
    opened(caches["hidden"], of=ModelTeacher(str(tmp_path / "moved")))
    other = saved_model(tmp_path / "other", seed=4, n_embd=24)
    with pytest.raises(TutelageError, match=r"another teacher \(weights: [0-9a-f]{16}... here, [0-9a-f]{16}"):
        opened(caches["hidden"], of=ModelTeacher(str(other)))


def test_a_tail_is_said_of_top_k_alone(caches: dict[str, str], examples: list[Example]) -> None:
    """And how far a student is does not depend on it: measured with the rest in one column."""
    with pytest.raises(TutelageError, match="`tail: drop` for the cache"):
        opened(caches["hidden"], tail="drop")
    teacher = opened(caches["top_k"], tail="renormalise")
    batch = shuffled(examples, 0, 2)
    said: Distribution = teacher(batch)
    torch.testing.assert_close(said.log_probs().exp().sum(1), torch.ones(said.positions))
    assert int((said.log_probs()[0] > -torch.inf).sum()) == 16
    plain = opened(caches["top_k"])(batch)
    assert torch.equal(teacher.measured()(batch).log_probs(), plain.log_probs())


def test_a_closed_cache_says_so(caches: dict[str, str], examples: list[Example]) -> None:
    """Describing it is free; speaking is not."""
    teacher = CachedTeacher(caches["hidden"])
    assert teacher.vocabulary is None
    assert teacher.parameters is None
    with pytest.raises(TutelageError, match="is not open"):
        teacher(collate(examples[:1], 0))


def test_caches_can_be_mixed(caches: dict[str, str], live: ModelTeacher, examples: list[Example]) -> None:
    """A cached teacher is a teacher: a mixture takes it like any other."""
    batch = shuffled(examples, 6, 3)
    mixture = MixtureTeacher((CachedTeacher(caches["hidden"]), live), weights=(1.0, 3.0)).open(Machine())
    torch.testing.assert_close(mixture(batch).log_probs(), live(batch).log_probs(), rtol=0, atol=1e-5)


def test_a_routed_mixture_is_kept_by_text_and_route(tmp_path: Path, model: Path) -> None:
    """The same words for two teachers are two rows."""
    other = saved_model(tmp_path / "other", seed=9, n_embd=24)
    lines = [f'{{"text": "Lily ran.", "who": "{who}"}}\n' for who in ("0", "1")]
    (tmp_path / "text.jsonl").write_text("".join(lines))
    mixture = {"kind": "mixture", "teachers": [str(model), str(other)], "route": "who"}
    words = stories(tmp_path, model).resolved()
    recipe = read(words, teacher=mixture, samples={"data": str(tmp_path / "text.jsonl")}, evaluation=None)
    built = cache_of(recipe, tmp_path / "cache", "top_k", k=2048, precision="float32")
    assert built.manifest.rows == 2
    assert built.description.columns == ("who",)
    samples = DatasetSamples(data=str(tmp_path / "text.jsonl"), max_length=40).open(load_tokenizer(TOKENIZER))
    batch = collate(list(samples.examples), 0)
    expected = MixtureTeacher((ModelTeacher(str(model)), ModelTeacher(str(other))), route="who").open(
        Machine()
    )(batch)
    told = opened(str(tmp_path / "cache"))(batch)
    torch.testing.assert_close(told.log_probs(), expected.log_probs(), rtol=0, atol=1e-4)


def test_damage_is_told_by_the_row_that_is_read(tmp_path: Path, model: Path, examples: list[Example]) -> None:
    """A bit that flipped on the disk never becomes a gradient."""
    cache_of(stories(tmp_path, model), tmp_path / "cache")
    for path in (tmp_path / "cache" / SHARDS).iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
    with pytest.raises(Damaged, match="is not what was written"):
        opened(str(tmp_path / "cache"))(collate(examples, 0))
