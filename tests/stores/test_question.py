"""Questions to a served teacher: what is asked is what is read, and what is wrong is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tutelage.errors import TutelageError
from tutelage.interfaces import Batch
from tutelage.stores.payload import Form
from tutelage.stores.question import PROTOCOL, Question, rows_of_batch
from tutelage.stores.wire import Limits, Message, TooLarge, decoded
from tutelage.text import Example, collate

LIMITS = Limits(row_tokens=8, request_tokens=20)
ROWS = (
    Example([1, 2, 3], [False, True, True], {"who": "a"}),
    Example([4, 5], [False, True], {"who": None}),
)


def read(told: dict[str, Any] | None = None, limits: Limits = LIMITS, **tensors: Any) -> Question:
    """A question of two rows with some parts changed; None takes a part out."""
    good: dict[str, Any] = {
        "tokens": torch.tensor([1, 2, 3, 4, 5], dtype=torch.int32),
        "lengths": torch.tensor([3, 2], dtype=torch.int32),
        "counted": torch.tensor([0, 1, 1, 0, 1], dtype=torch.bool),
    }
    said: dict[str, Any] = {"protocol": PROTOCOL, "form": {"kind": "top_k", "k": 3}}
    parts = {name: tensor for name, tensor in {**good, **tensors}.items() if tensor is not None}
    return Question.read(Message({**said, **(told or {})}, parts), 10, limits)


def test_what_is_asked_is_what_is_read():
    """Rows, columns and form, through the bytes."""
    asked = Question(ROWS, Form("top_k", "bfloat16", k=5))
    got = Question.read(decoded(asked.encoded(), 1 << 20), 10, LIMITS)
    assert got.rows == ROWS
    assert got.form == asked.form
    assert got.counted == asked.counted == 3


def test_rows_of_a_batch_come_without_padding_on_either_side_and_without_idle_rows():
    """Masks and columns go along; a row in which nothing counts costs nothing."""
    right = collate([*ROWS, Example([6, 7], [False, False], {"who": "b"})], 0)
    assert rows_of_batch(right, ("who",)) == list(ROWS)
    left = Batch(
        torch.tensor([[1, 2, 3], [0, 4, 5]]),
        torch.tensor([[True, True, True], [False, True, True]]),
        torch.tensor([[False, True, True], [False, False, True]]),
        ("dataset",) * 2,
        {"who": ("a", None)},
    )
    assert rows_of_batch(left, ("who",)) == list(ROWS)
    with pytest.raises(TutelageError, match="no column 'route'"):
        rows_of_batch(right, ("route",))


@pytest.mark.parametrize(
    ("told", "tensors", "said"),
    [
        ({"protocol": 99}, {}, "protocol 99"),
        ({"form": None}, {}, "no form"),
        ({"form": {"kind": "sampled"}}, {}, "the kind 'sampled'"),
        ({"form": {"kind": "top_k", "k": 0}}, {}, "k is 0"),
        ({"form": {"kind": "top_k", "k": True}}, {}, "k is True"),
        ({"form": {"kind": "top_k", "k": "3"}}, {}, "k is 3"),
        ({"form": {"kind": "dense", "precision": "int8"}}, {}, "the precision 'int8'"),
        ({"form": {"kind": "dense", "depth": 1}}, {}, "'depth' in a form"),
        ({"temperature": 2}, {}, "'temperature' in a question"),
        ({"columns": {"who": ["a"]}}, {}, "columns of another form"),
        ({"columns": {"who": [{}, {}]}}, {}, "columns of another form"),
        ({}, {"extra": torch.zeros(1)}, "'extra' in a question's tensors"),
        ({}, {"tokens": None}, "no tensor 'tokens'"),
        ({}, {"tokens": torch.zeros(5)}, "float32 of shape (5,)"),
        ({}, {"tokens": torch.zeros(5, 1, dtype=torch.int32)}, "int32 of shape (5, 1)"),
        ({}, {"counted": torch.zeros(5)}, "the tensor 'counted'"),
        ({}, {"tokens": torch.tensor([1, 2, 3, 4, 10])}, "the token id 10"),
        ({}, {"tokens": torch.tensor([1, -2, 3, 4, 9])}, "the token id -2"),
        ({}, {"lengths": torch.tensor([3, 3])}, "lengths that add up to 6"),
        ({}, {"lengths": torch.tensor([5, 0])}, "a row without tokens"),
        ({}, {"lengths": torch.tensor([], dtype=torch.int64)}, "no row at all"),
        ({}, {"lengths": torch.tensor([2**62, 2**62])}, "tokens in a row"),
        ({}, {"counted": torch.tensor([1, 1, 1, 0, 1], dtype=torch.bool)}, "the first token of a row counts"),
        ({}, {"counted": torch.zeros(5, dtype=torch.bool)}, "no token counts"),
    ],
)
def test_what_is_wrong_with_a_question_is_named(told: dict[str, Any], tensors: dict[str, Any], said: str):
    """Wrong type, shape, range, or a field that nobody knows: never ignored."""
    with pytest.raises(TutelageError) as error:
        read(told, **tensors)
    assert said in error.value.problem


def test_more_tokens_than_are_taken_are_too_large():
    """In a row, and in all rows together."""
    with pytest.raises(TooLarge, match="3 tokens in a row"):
        read(limits=Limits(row_tokens=2, request_tokens=20))
    with pytest.raises(TooLarge, match="5 tokens in a request"):
        read(limits=Limits(row_tokens=8, request_tokens=4))
