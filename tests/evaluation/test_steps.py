"""Two real models on given sequences, against rows written out in full."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tutelage.divergences import TABLE
from tutelage.errors import TutelageError
from tutelage.evaluation.steps import DIVERGENCES, compare_said, nats_said
from tutelage.interfaces import Machine
from tutelage.models import LanguageModel, new_model

TOKENIZER = Path(__file__).parents[2] / "recipes" / "demo" / "tokenizer"
PROMPTS = [[0, 5], [0], [0, 9, 8, 7]]
SAID = [[3, 4, 5, 0], [7], [6, 6, 2]]


@pytest.fixture(scope="module")
def pair() -> tuple[LanguageModel, LanguageModel]:
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    one, other = (new_model(config, TOKENIZER, seed=seed, machine=Machine()) for seed in (1, 2))
    for model in (one, other):  # new weights say nearly the same everywhere
        model.model.lm_head.weight.data.mul_(20)
    return one, other


def plain(model: LanguageModel, prompt: list[int], said: list[int]) -> torch.Tensor:
    """Log-probabilities ``[T, V]`` by the model's own call, one row at a time."""
    with torch.no_grad():
        logits = model.model.eval()(torch.tensor([[*prompt, *said]])).logits[0]
    return logits[len(prompt) - 1 : -1].double().log_softmax(-1)


def test_every_quantity_is_what_rows_written_out_give(pair: tuple[LanguageModel, LanguageModel]) -> None:
    """Nats of the tokens and all divergences, though rows are padded and walked in slices."""
    found = compare_said(*pair, PROMPTS, SAID)
    for number, (prompt, said) in enumerate(zip(PROMPTS, SAID, strict=True)):
        log_q, log_p = (plain(model, prompt, said) for model in pair)
        at = torch.arange(len(said)), torch.tensor(said)
        torch.testing.assert_close(found["student_nats"][number], -log_q[at], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found["teacher_nats"][number], -log_p[at], rtol=1e-4, atol=1e-5)
        for name, (divergence, options) in DIVERGENCES.items():
            ours = TABLE.load(divergence)(log_q, log_p, **options)
            torch.testing.assert_close(found[name][number], ours, rtol=1e-3, atol=1e-5)


def test_one_model_alone_gives_the_same_nats(pair: tuple[LanguageModel, LanguageModel]) -> None:
    """And the order of sequences changes nothing but their order."""
    there, back = nats_said(pair[0], PROMPTS, SAID), nats_said(pair[0], PROMPTS[::-1], SAID[::-1])
    for one, other, both in zip(
        there, back[::-1], compare_said(*pair, PROMPTS, SAID)["student_nats"], strict=True
    ):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one, both)


def test_a_model_beside_itself_differs_by_nothing_and_keeps_its_mode(
    pair: tuple[LanguageModel, LanguageModel],
) -> None:
    """Exactly nothing; and a student in training goes on training."""
    pair[0].model.train()
    found = compare_said(pair[0], pair[0], PROMPTS, SAID)
    assert pair[0].model.training
    for name in DIVERGENCES:
        assert max(float(value.abs().max()) for value in found[name]) == 0, name


def test_empty_sequences_and_rows_that_are_too_long_are_refused(
    pair: tuple[LanguageModel, LanguageModel],
) -> None:
    """Both before anything is computed, with what to do."""
    with pytest.raises(TutelageError, match="sequence 1 has 1 tokens of prompt and 0"):
        compare_said(*pair, [[0], [0]], [[1], []])
    with pytest.raises(TutelageError, match="rows of 17 tokens"):
        compare_said(*pair, [[0] * 10], [[1] * 7])
