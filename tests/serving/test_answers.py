"""What is said about a row does not depend on the rows beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distribution import Dense, Sampled, gold
from tutelage.serving.answers import Scores, answer_bytes, answered, joined, kinds, passes
from tutelage.stores.payload import Form, framed, unpacked
from tutelage.teachers import ModelTeacher
from tutelage.text import Example, collate

NATS = 1e-6


def rows(seed: int = 0, lengths: tuple[int, ...] = (5, 40, 2, 17, 17, 33)) -> list[Example]:
    """Rows of different lengths in which every other token counts."""
    drawn = torch.Generator().manual_seed(seed)
    return [
        Example(torch.randint(2048, (length,), generator=drawn).tolist(), [i % 2 == 1 for i in range(length)])
        for length in lengths
    ]


def kl(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest forward KL over positions, in float64."""
    p, q = one.double(), other.double()
    terms = torch.where(p == -torch.inf, 0.0, p.exp() * (p - q))
    return float(terms.sum(-1).max())


@pytest.mark.parametrize(
    "form", [Form("hidden", "float32"), Form("top_k", k=64, precision="float32"), Form("dense")]
)
@pytest.mark.parametrize("batch_tokens", [8, 100, 4096])
def test_a_row_is_answered_alike_alone_and_in_company(teacher: ModelTeacher, form: Form, batch_tokens: int):
    """Batching, sorting and padding change rounding only: less than a millionth of a nat in float32."""
    every = rows()
    together = answered(teacher, every, form, batch_tokens)
    alone = [answered(teacher, [row], form, batch_tokens)[0] for row in every]
    frame = framed(teacher(_batch(every[:1])), form)
    for one, other in zip(together, alone, strict=True):
        assert kl(unpacked(one, frame).log_probs(), unpacked(other, frame).log_probs()) < NATS


def test_scores_are_the_teachers_own(teacher: ModelTeacher):
    """The token itself and the likeliest, as its rows over all tokens have them."""
    every = rows()
    scores = joined(answered(teacher, every, Scores(3), 50))
    dense = joined(answered(teacher, every, Form("dense"), 50))["log_probs"]
    said = torch.cat([torch.tensor(row.tokens)[torch.tensor(row.counted)] for row in every])
    torch.testing.assert_close(scores["gold"], dense.gather(1, said[:, None])[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(scores["log_probs"], dense.topk(3).values, atol=1e-5, rtol=0)
    assert "ids" not in joined(answered(teacher, every, Scores(0), 50))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 60))
def test_every_row_goes_through_once_and_no_pass_is_too_big(lengths: list[int], batch_tokens: int):
    """Padding counted; a row that is too big for any pass has one for itself."""
    groups = list(passes(lengths, batch_tokens))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= batch_tokens


def test_what_can_be_sent_is_what_is_known(teacher: ModelTeacher):
    """Hidden states as all kinds, full rows as two, k tokens and the rest as one, drawn tokens as none."""
    like = torch.zeros(1)
    drawn = Sampled(torch.tensor([[1]]), torch.tensor([[-1.0]]), torch.tensor([[1.0]]), 5)
    assert kinds(teacher(_batch(rows()))) == ("hidden", "top_k", "dense")
    assert kinds(Dense(torch.zeros(1, 5))) == ("top_k", "dense")
    assert kinds(gold(torch.tensor([1]), 5, like)) == ("top_k",)
    assert kinds(drawn) == ()


@pytest.mark.parametrize("form", [Form("hidden"), Form("top_k", k=7), Form("dense", "bfloat16")])
def test_the_size_of_an_answer_is_known_beforehand(teacher: ModelTeacher, form: Form):
    """To the byte: what is too big is refused before it is made."""
    answer: Any = joined(answered(teacher, rows(), form, 64))
    size = sum(tensor.numel() * tensor.element_size() for tensor in answer.values())
    assert size == answer_bytes(form, sum(sum(row.counted) for row in rows()), 2048, 32)


def _batch(some: list[Example]) -> Any:
    return collate(some, 0)
