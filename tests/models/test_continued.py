"""Rows are continued in a batch as each would be alone, by the distribution that is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES

from tutelage.errors import OutOfRange
from tutelage.interfaces import Machine
from tutelage.models import Drawing, LanguageModel, Shared, continued, new_model, prove_shared

ROWS = [[0, 5, 9], [0], [0, 7, 7, 11, 3, 2], [0, 4]]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(words_folder: str, request: pytest.FixtureRequest) -> LanguageModel:
    """A new model of every architecture."""
    config = {"model_type": request.param, **ARCHITECTURES[request.param]}
    return new_model(config, words_folder, seed=3, machine=Machine())


@pytest.fixture(scope="module")
def gpt2(words_folder: str) -> LanguageModel:
    """One that has opinions."""
    config = {"model_type": "gpt2", **ARCHITECTURES["gpt2"], "initializer_range": 0.5}
    return new_model(config, words_folder, seed=5, machine=Machine())


def test_a_row_is_the_same_in_any_company(model: LanguageModel) -> None:
    """Alone, in another order, beside longer rows: the same seed gives the same text."""
    seeds = [11, 12, 13, 14]
    together = continued(model, ROWS, most=[9, 12, 4, 7], seeds=seeds)
    backwards = continued(model, ROWS[::-1], most=[7, 4, 12, 9], seeds=seeds[::-1])
    for number, (row, seed, most) in enumerate(zip(ROWS, seeds, [9, 12, 4, 7], strict=True)):
        alone = continued(model, [row], most=most, seeds=[seed])
        assert together.row(number) == alone.row(0) == backwards.row(3 - number)
        assert len(alone.row(0)) <= most


@pytest.mark.parametrize(
    "drawing", [Drawing(), Drawing(0.7), Drawing(top_k=5), Drawing(1.3, top_p=0.6)], ids=str
)
def test_log_probs_are_those_of_the_sampling_distribution(model: LanguageModel, drawing: Drawing) -> None:
    """What is told beside each token is what one whole forward pass gives for it."""
    said = continued(model, ROWS, most=8, seeds=[1, 2, 3, 4], drawing=drawing)
    for number, row in enumerate(ROWS):
        tokens = row + said.row(number)
        with torch.no_grad():
            logits = model.model(torch.tensor([tokens])).logits[0].float()
        logits[:, model.vocabulary.width :] = -torch.inf
        logs = drawing.log_probs(logits)[len(row) - 1 : -1]
        expected = logs.gather(1, torch.tensor(said.row(number))[:, None])[:, 0]
        found = said.log_probs[number][said.mask[number]]
        assert torch.allclose(found, expected, atol=2e-4)
    assert bool((said.log_probs[~said.mask] == 0).all())


def test_the_likeliest_text_is_transformers_own(model: LanguageModel) -> None:
    """At temperature 0 the library's generator writes the same."""
    end: Any = model.tokenizer.eos_token_id
    said = continued(model, ROWS, most=10, seeds=[0] * 4, drawing=Drawing(0.0))
    for number, row in enumerate(ROWS):
        theirs = model.model.generate(  # type: ignore[operator]
            torch.tensor([row]),
            attention_mask=torch.ones(1, len(row), dtype=torch.long),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=model.pad_id,
        )[0, len(row) :].tolist()
        ours = said.row(number)
        assert ours == theirs[: len(ours)]
        assert bool(said.ended[number]) == (ours[-1] == end) == (end in theirs)


def test_tokens_come_as_often_as_they_should(gpt2: LanguageModel) -> None:
    """4,000 rows, twelve tokens: each count within five standard errors (by chance off once in 100,000)."""
    row, count = [0, 5], 4000
    drawing = Drawing(0.8, top_k=12)
    said = continued(gpt2, [row] * count, most=1, seeds=range(count), drawing=drawing)
    with torch.no_grad():
        logits = gpt2.model(torch.tensor([row])).logits[0, -1:].float()
    logits[:, gpt2.vocabulary.width :] = -torch.inf
    expected = drawing.log_probs(logits)[0].double().exp() * count
    seen = torch.bincount(said.tokens[:, 0], minlength=len(expected)).double()
    assert bool((seen[expected == 0] == 0).all())
    spread = (expected * (1 - expected / count)).sqrt()
    assert bool(((seen - expected).abs() <= 5 * spread + 1e-9).all())


def test_only_shared_ids_are_said(gpt2: LanguageModel) -> None:
    """Padding rows of the embedding and ids that the teacher lacks are never drawn."""
    own = prove_shared(gpt2.vocabulary, gpt2.vocabulary)
    likely = continued(gpt2, [[0]] * 200, most=1, seeds=range(200)).tokens[:, 0]
    often = int(likely.mode().values)
    without = Shared(own.width, (*(own.never or ()), often))
    said = continued(gpt2, [[0]] * 200, most=3, seeds=range(200), shared=without)
    assert often not in said.tokens[said.mask].tolist()
    assert int(said.tokens[said.mask].max()) < own.width


def test_a_stop_text_and_a_deadline_end_rows(gpt2: LanguageModel) -> None:
    """The token that completes the text is the last; out of time, rows end where they are."""
    free = continued(gpt2, ROWS, most=12, seeds=[1, 2, 3, 4])
    text = gpt2.tokenizer.decode(free.row(0)[2:4])
    said = continued(gpt2, ROWS, most=12, seeds=[1, 2, 3, 4], stop=[text])
    assert said.row(0) == free.row(0)[: len(said.row(0))]
    assert text in gpt2.tokenizer.decode(said.row(0))
    assert text not in gpt2.tokenizer.decode(said.row(0)[:-1])
    assert bool(said.ended[0])
    assert continued(gpt2, ROWS, most=12, seeds=[1, 2, 3, 4], seconds=0.0).mask.sum(1).tolist() == [1] * 4


def test_numbers_that_mean_nothing_are_refused(gpt2: LanguageModel) -> None:
    """Each names the number and what is expected; nothing to continue is no error."""
    for wrong in (
        {"temperature": -0.1},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"temperature": float("nan")},
    ):
        with pytest.raises(OutOfRange):
            Drawing(**wrong)
    with pytest.raises(OutOfRange):
        continued(gpt2, ROWS, most=[1, 1, 0, 1], seeds=[0] * 4)
    assert continued(gpt2, [], most=3, seeds=[]).tokens.shape == (0, 0)
