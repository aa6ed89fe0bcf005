"""A checkpoint difference carried onto the student: neutral members, readings, company, refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tutelage.distribution import Hidden, kept, mixed, product, shifted
from tutelage.divergences import loss
from tutelage.errors import NotShared, OutOfRange, TutelageError
from tutelage.interfaces import Batch, Machine, Running
from tutelage.models import LanguageModel, Shared, load_model, load_tokenizer, new_model, save_student
from tutelage.serving.answers import kinds
from tutelage.stores.payload import Form, framed, packed, unpacked
from tutelage.teachers import DeltaTeacher, MixtureTeacher, ModelTeacher, SelfTeacher, moving
from tutelage.teachers.fingerprint import fingerprint
from tutelage.text import Example, collate

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "recipes" / "demo" / "tokenizer"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelTeacher]:
    """Four models of one family; the table of the aligned one is padded."""
    made = {}
    for seed, (name, rows) in enumerate({"onto": 2048, "base": 2048, "aligned": 2100, "other": 2048}.items()):
        config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": rows}
        model: Any = new_model(config, TOKENIZER, seed=seed, machine=Machine())
        model.model.lm_head.weight.data *= 20  # else all of them are nearly uniform
        made[name] = ModelTeacher(str(save_student(model, tmp_path_factory.mktemp("models") / name)))
    return made


@pytest.fixture
def batch() -> Batch:
    """Two rows, every token but the first counted."""
    tokens = [load_tokenizer(TOKENIZER)(text).input_ids for text in ("One day a dog", "Lily was very sad.")]
    return collate([Example(ids, [False, *[True] * (len(ids) - 1)], {}) for ids in tokens], 0)


def said(teacher: Any, batch: Batch) -> torch.Tensor:
    """All rows of a teacher on the 2,048 shared tokens."""
    return teacher.open(Machine())(batch).log_probs()[:, :2048].log_softmax(-1)


def running(folder: str) -> Running:
    """A run of a student with these weights, with dropout and gradients as in training."""
    student = load_model(folder, machine=Machine())
    student.model.train()
    return Running(student)


# --- what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [-0.5, 1.0, 1.5])
def test_a_delta_is_onto_moved_by_the_difference_of_the_two(
    models: dict[str, ModelTeacher], batch: Batch, strength: float
) -> None:
    """By the formula, on the ids that all share: padding rows say nothing."""
    delta = DeltaTeacher(models["aligned"], models["base"], models["onto"], strength).open(Machine())
    onto, aligned, base = (said(models[name], batch) for name in ("onto", "aligned", "base"))
    expected = (onto + strength * (aligned - base)).log_softmax(-1)
    assert delta.vocabulary.width == 2048
    assert_close(delta(batch).log_probs(), expected, atol=2e-5, rtol=1e-5)


def test_neutral_members_give_the_plain_teacher_back(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """Strength 0 and base = aligned: onto. onto = base: aligned. onto = aligned and -1: base."""
    onto, aligned, base = models["onto"], models["aligned"], models["base"]
    close = {"atol": 2e-5, "rtol": 1e-5}
    assert_close(said(DeltaTeacher(aligned, base, onto, 0.0), batch), said(onto, batch), atol=0, rtol=0)
    assert_close(said(DeltaTeacher(aligned, aligned, onto, 1.7), batch), said(onto, batch), **close)
    assert_close(said(DeltaTeacher(aligned, base, base), batch), said(aligned, batch), **close)
    assert_close(said(DeltaTeacher(aligned, base, aligned, -1.0), batch), said(base, batch), **close)


def test_uniform_members(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """Without a base a product of onto and aligned; without an onto the ratio alone."""
    onto, aligned, base = (said(models[name], batch) for name in ("onto", "aligned", "base"))
    without_base = DeltaTeacher(models["aligned"], "uniform", models["onto"])
    assert_close(said(without_base, batch), (onto + aligned).log_softmax(-1), atol=2e-5, rtol=1e-5)
    alone = DeltaTeacher(models["aligned"], models["base"], "uniform")
    assert_close(said(alone, batch), (aligned - base).log_softmax(-1), atol=2e-5, rtol=1e-5)


def test_limits_are_those_of_the_shift(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """Every option of the teacher is one of `shifted`, with the same meaning."""
    options = {"max_delta": 0.3, "centre": True, "plausibility": 0.05}
    delta = DeltaTeacher(models["aligned"], models["base"], models["onto"], 1.5, **options).open(Machine())
    members = [models[name].open(Machine())(batch) for name in ("onto", "aligned", "base")]
    cut = [dataclasses.replace(m, weight=m.weight[:2048]) for m in members if isinstance(m, Hidden)]
    expected = shifted(cut[0], towards=cut[1], away_from=cut[2], strength=1.5, **options)
    assert_close(delta(batch).log_probs(), expected.log_probs(), atol=1e-6, rtol=1e-6)


# --- the student as onto -------------------------------------------------------------------------


def test_the_default_is_the_student_before_training(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """A copy: what is trained afterwards moves nothing, and it says the same as the named checkpoint."""
    run = running(models["onto"].model)
    described = DeltaTeacher(models["aligned"], models["base"])
    assert described.onto == SelfTeacher("initial")
    assert described.open(Machine()).vocabulary is not None
    delta = moving.beside(described.open(Machine()), run)
    before = delta(batch).log_probs()
    named = said(DeltaTeacher(models["aligned"], models["base"], models["onto"]), batch)
    assert_close(before, named, atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        for weight in run.student.model.parameters():
            weight.add_(torch.randn_like(weight))
    assert_close(delta(batch).log_probs(), before, atol=0, rtol=0)


def test_onto_the_current_student_only_the_shift_is_the_teachers(
    models: dict[str, ModelTeacher], batch: Batch
) -> None:
    """The student's own tile is used as it is, and a warning says that nothing keeps it from collapsing."""
    run = running(models["onto"].model)
    described = DeltaTeacher(models["aligned"], models["base"], "current_student").open(Machine())
    delta = moving.beside(described, run)
    own = said(models["other"], batch)
    aligned, base = (said(models[name], batch) for name in ("aligned", "base"))
    expected = (own + aligned - base).log_softmax(-1)
    assert_close(delta(batch).log_probs(student=own), expected, atol=2e-5, rtol=1e-5)
    assert moving.moves(delta)
    (line,) = moving.warnings(delta)
    assert "collapsing" in line
    assert "initial_student" in line


def test_no_gradient_reaches_a_member(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """Whatever onto is: no weight of a teacher gets a gradient, the student's own only through its rows."""
    for onto in ("initial_student", "current_student", models["onto"]):
        run = running(models["onto"].model)
        delta: Any = moving.beside(DeltaTeacher(models["aligned"], models["base"], onto).open(Machine()), run)
        hidden = torch.randn(batch.counted, 16, requires_grad=True)
        head = torch.randn(2048, 16, requires_grad=True)
        loss(hidden, head, delta(batch), "reverse_kl").backward()
        assert hidden.grad is not None
        assert hidden.grad.abs().sum() > 0
        assert all(weight.grad is None for weight in run.student.model.parameters())
        opened = [one.loaded.model for one in (delta.aligned, delta.base)]
        assert not any(weight.requires_grad for model in opened for weight in model.parameters())


# --- company -------------------------------------------------------------------------------------


def test_a_mixture_of_a_delta_and_a_plain_model(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """A delta is a teacher like any other; here its onto is the student of a run."""
    delta = DeltaTeacher(models["aligned"], models["base"])
    mixture = MixtureTeacher((delta, models["other"]), weights=(1.0, 3.0)).open(Machine())
    found = moving.beside(mixture, running(models["onto"].model))(batch).log_probs()
    named = DeltaTeacher(models["aligned"], models["base"], models["onto"])
    expected = 0.25 * said(named, batch).exp() + 0.75 * said(models["other"], batch).exp()
    assert_close(found.exp(), expected, atol=1e-6, rtol=1e-5)


def test_a_delta_of_a_delta_adds_strengths(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """Onto may be a delta itself; half and half is the whole."""
    half = DeltaTeacher(models["aligned"], models["base"], models["onto"], 0.5)
    twice = DeltaTeacher(models["aligned"], models["base"], half, 0.5)
    whole = DeltaTeacher(models["aligned"], models["base"], models["onto"])
    assert_close(said(twice, batch), said(whole, batch), atol=5e-5, rtol=1e-5)


def test_it_is_kept_as_top_k_or_dense_but_not_as_hidden(
    models: dict[str, ModelTeacher], batch: Batch
) -> None:
    """It has no single output layer; what is kept of it is what it says, and the mass of the rest."""
    delta = DeltaTeacher(models["aligned"], models["base"], models["onto"]).open(Machine())(batch)
    assert set(kinds(delta)) == {"dense", "top_k"}  # what `tutelage serve` offers of it
    with pytest.raises(TutelageError, match="no single output layer"):
        packed(delta, Form("hidden"))
    form = Form("dense")
    dense = unpacked(packed(delta, form), framed(delta, form))
    assert_close(dense.log_probs(), delta.log_probs(), atol=1e-6, rtol=1e-6)
    form = Form("top_k", "float32", k=2000)
    found = unpacked(packed(delta, form), framed(delta, form))
    expected = kept(delta, 2000)
    assert_close(found.on_support()[1], expected.on_support()[1], atol=1e-6, rtol=1e-6)
    # By data processing a divergence from what was kept is a lower bound, close where nearly all is.
    hidden = torch.randn(batch.counted, 16, generator=torch.Generator().manual_seed(1))
    head = torch.randn(2048, 16, generator=torch.Generator().manual_seed(2))
    short, whole = (float(loss(hidden, head, teacher)) for teacher in (found, delta))
    assert whole - 0.01 < short <= whole + 1e-6


def test_it_writes_text_as_its_rows_say(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """Read on token by token its members give the same rows as in one forward pass."""
    delta = DeltaTeacher(models["aligned"], models["base"], models["onto"], 1.3).open(Machine())
    ids = batch.tokens[0, batch.attention[0]].tolist()
    with torch.no_grad():
        reader = delta.reader([ids[:2]], Shared(2048, None))
        rows = [reader.logits]
        for token in ids[2:-1]:
            reader.step(torch.tensor([token]), torch.tensor([True]))
            rows.append(reader.logits)
    first = batch.rows(torch.tensor([0]))
    expected = delta(first).log_probs()[1:]
    assert_close(torch.cat(rows)[:, :2048].log_softmax(-1), expected, atol=5e-5, rtol=1e-5)
    assert delta.can_write
    assert not DeltaTeacher(models["aligned"], models["base"]).can_write


def test_mixing_uniform_onto_is_a_product_with_nothing(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """With neither base nor onto the aligned model is left."""
    alone = said(DeltaTeacher(models["aligned"], "uniform", "uniform"), batch)
    aligned = models["aligned"].open(Machine())(batch)
    assert_close(alone, said(models["aligned"], batch), atol=1e-6, rtol=1e-6)
    assert product([aligned], [1.0]) is aligned
    assert mixed([aligned], [1.0]) is aligned


# --- what is told and what is refused ------------------------------------------------------------


def test_it_says_what_it_is_made_of(models: dict[str, ModelTeacher]) -> None:
    """Names for people, the size of all members, and what tells two deltas apart."""
    described = DeltaTeacher(models["aligned"], models["base"], models["onto"], 1.5, max_delta=2.0)
    for part in ("1.5 times", "'" + models["base"].model, "'" + models["onto"].model, "max_delta 2"):
        assert part in described.said
    assert described.parameters is None
    opened = described.open(Machine())
    sizes = [models[name].open(Machine()).parameters for name in ("aligned", "base", "onto")]
    assert opened.parameters == sum(size for size in sizes if size is not None)
    assert opened.longest == 1024
    told = fingerprint(opened, "float32")
    assert told == fingerprint(described, "float32")
    assert told != fingerprint(dataclasses.replace(opened, strength=1.0), "float32")
    assert told != fingerprint(dataclasses.replace(opened, base="uniform"), "float32")
    assert not list(opened.warnings)


def test_warnings_name_members_that_are_built_differently_and_an_idle_option(
    models: dict[str, ModelTeacher], tmp_path: Path
) -> None:
    """Their difference is more than a fine-tuning; a centre without a limit cancels."""
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 2048}
    save_student(new_model(config, TOKENIZER, seed=9, machine=Machine()), tmp_path / "small")
    small = ModelTeacher(str(tmp_path / "small"))
    delta = DeltaTeacher(models["aligned"], small, models["onto"], centre=True).open(Machine())
    centre, built = delta.warnings
    assert "changes nothing" in centre
    assert "gpt2 of 1 layers x 16" in built
    assert "gpt2 of 1 layers x 8" in built


def test_what_cannot_be_a_delta_is_refused(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """Strengths and limits out of range, nothing left to say, not open, and made of a student."""
    aligned, base = models["aligned"], models["base"]
    for strength in (math.inf, math.nan):
        with pytest.raises(OutOfRange, match="strength is"):
            DeltaTeacher(aligned, base, strength=strength)
    with pytest.raises(OutOfRange, match="max_delta is"):
        DeltaTeacher(aligned, base, max_delta=0.0)
    with pytest.raises(OutOfRange, match="plausibility is"):
        DeltaTeacher(aligned, base, plausibility=1.0)
    with pytest.raises(TutelageError, match="strength 0 onto `uniform`"):
        DeltaTeacher(aligned, base, "uniform", 0.0)
    with pytest.raises(TutelageError, match="is not open"):
        DeltaTeacher(aligned, base, "uniform")(batch)
    with pytest.raises(TutelageError, match="a SelfTeacher cannot be cached"):
        moving.standing(DeltaTeacher(aligned, base), "cached")


def test_members_with_other_tokenizers_are_refused(models: dict[str, ModelTeacher], tmp_path: Path) -> None:
    """A base, or a student as onto, whose ids mean something else."""
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2}
    other: LanguageModel = new_model(config, ROOT / "data" / "tokenizers" / "gpt2", seed=1, machine=Machine())
    save_student(other, tmp_path / "other")
    with pytest.raises(NotShared):
        DeltaTeacher(models["aligned"], ModelTeacher(str(tmp_path / "other")), models["onto"]).open(Machine())
    delta = DeltaTeacher(models["aligned"], models["base"]).open(Machine())
    with pytest.raises(NotShared):
        moving.beside(delta, Running(other))


def test_what_it_tells_check_about_itself(models: dict[str, ModelTeacher], batch: Batch) -> None:
    """Nats of each member, of three strengths, and how far onto is from base; a remark where it is worse."""
    delta: Any = DeltaTeacher(models["aligned"], models["base"], models["onto"]).open(Machine())
    found = delta.examined(batch)
    gold = batch.gold[:, None]
    for name in ("onto", "aligned", "base"):
        assert_close(found[f"{name}_nats"], -said(models[name], batch).gather(1, gold)[:, 0])
    assert_close(found["strength_1_nats"], -delta(batch).log_probs().gather(1, gold)[:, 0])
    base, onto = (said(models[name], batch) for name in ("base", "onto"))
    assert_close(found["kl_base_onto_nats"], (base.exp() * (base - onto)).sum(1), atol=1e-4, rtol=1e-4)
    means = {"aligned_nats": 2.0, "strength_0.5_nats": 3.0, "strength_1_nats": 2.5, "strength_1.5_nats": 4.0}
    (line,) = delta.remarks(means)
    assert "2.5000 at strength 1" in line
    assert not list(delta.remarks({**means, "strength_1_nats": 1.5}))
