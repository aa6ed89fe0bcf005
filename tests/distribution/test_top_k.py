"""What was kept of a row, and the mass of the rest: how it is made, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from strategies import Maker
from tutelage.distribution import Dense, TopK, gold, mixed, restricted, tempered
from tutelage.divergences import forward_kl, loss
from tutelage.errors import TutelageError


def log(*numbers: float) -> torch.Tensor:
    """Natural logs of one row."""
    return torch.tensor([numbers], dtype=torch.float64).log()


def test_the_rest_is_what_the_kept_tokens_leave_over() -> None:
    """0.5 and 0.3 kept of five tokens leave 0.2, shown evenly over the other three."""
    cut = TopK(torch.tensor([[4, 0]]), log(0.5, 0.3), 5)
    assert_close(cut.log_probs().exp(), torch.tensor([[0.3, 0.2 / 3, 0.2 / 3, 0.2 / 3, 0.5]]).double())


def test_an_empty_column_is_nothing() -> None:
    """An id of -1 has no mass, wherever it stands and whatever number stands beside it."""
    with_gap = TopK(torch.tensor([[-1, 4, -1, 0]]), log(0.9, 0.5, 0.7, 0.3), 5)
    without = TopK(torch.tensor([[4, 0]]), log(0.5, 0.3), 5)
    assert_close(with_gap.log_probs(), without.log_probs())


@given(seed=st.integers(0, 1000))
def test_the_tail_that_was_stored_is_used(seed: int) -> None:
    """A mass of the rest that is given wins over what the kept ones leave over; rows are normalised."""
    kept = Maker(2, 6, seed).full("f").log_probs()[:, :2]
    cut = TopK(torch.tensor([[0, 1], [2, 3]]), kept, 6, log_tail=torch.tensor([0.1, 0.2]).double().log())
    _, columns = cut.on_support()
    expected = torch.cat([kept, torch.tensor([[0.1], [0.2]]).double().log()], 1).log_softmax(-1)
    assert_close(columns, expected)


def test_a_rest_lost_in_rounding_is_not_impossible() -> None:
    """A teacher sure to the last bit still leaves something, or reverse KL would be infinite."""
    certain = torch.tensor([[60.0, 0.0, 0.0, 0.0]]).log_softmax(-1)
    assert float(certain[0, 0]) == 0.0
    cut = TopK(torch.tensor([[0]]), certain[:, :1], 4)
    student = torch.tensor([[1.0, 0.5, 0.0, 0.0]])
    found = loss(student, torch.eye(4), cut, "reverse_kl")
    assert found.isfinite()
    assert found <= loss(student, torch.eye(4), Dense(certain), "reverse_kl")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rows_stored_with_few_digits_are_taken(dtype: torch.dtype) -> None:
    """Rounding may bring the sum of the kept above one; that is no mistake of the user's."""
    full = Maker(50, 20, 3).full("f").log_probs()
    kept, ids = full.topk(19, -1)
    cut = TopK(ids, kept.to(dtype), 20)
    assert_close(cut.log_probs().exp().sum(-1).double(), torch.ones(50).double(), atol=1e-5, rtol=0)
    assert (forward_kl(full, cut.log_probs().double()) < 0.05).all()


def test_gold_tokens_are_rows_that_say_one_thing() -> None:
    """All mass on the token, none anywhere else: forward KL to it is its surprise."""
    tokens = torch.tensor([2, 0])
    certain = gold(tokens, 3, torch.zeros(1).double())
    assert_close(certain.log_probs().exp(), torch.eye(3).double()[tokens])
    student = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]).double().log()
    assert_close(forward_kl(student, certain.log_probs()), -torch.tensor([0.7, 0.5]).double().log())


def test_tempering_takes_the_rest_as_one() -> None:
    """The columns are tempered as they are, which is not the tempered full row."""
    found = tempered(TopK(torch.tensor([[1]]), log(0.5), 4), 0.5)
    _, columns = found.on_support()
    assert_close(columns.exp(), torch.tensor([[0.5, 0.5]]).double())


def test_kept_tokens_that_do_not_exist_any_more_are_forgotten() -> None:
    """Restricting drops kept ids outside the width and those that are not shared; the rest keeps its mass."""
    cut = TopK(torch.tensor([[7, 2, 1]]), log(0.4, 0.2, 0.2), 9)
    found = restricted(cut, 5, torch.tensor([1]))
    assert isinstance(found, TopK)
    ids, columns = found.on_support()
    assert ids is not None
    assert ids.tolist() == [[-1, 2, -1]]
    assert_close(columns.exp(), torch.tensor([[0.0, 0.5, 0.0, 0.5]]).double())
    assert found.vocab_size == 5


def test_the_rest_is_not_shown_on_ids_that_are_no_tokens() -> None:
    """After restricting, directly or inside a mixture, padding rows have no probability."""
    cut, never = TopK(torch.tensor([[7, 2, 1]]), log(0.4, 0.2, 0.2), 9), torch.tensor([1, 3])
    expected = torch.tensor([[1 / 6, 0.0, 0.5, 0.0, 1 / 6, 1 / 6]], dtype=torch.float64)
    mixture = mixed([cut, TopK(cut.ids, cut.log_probs_kept, 9)], [0.5, 0.5])
    twice = restricted(restricted(cut, 8, torch.tensor([1, 7])), 6, torch.tensor([3]))
    for found in (restricted(cut, 6, never), restricted(mixture, 6, never), twice):
        assert_close(found.log_probs().exp(), expected)
        assert (found.log_probs()[:, never] == -math.inf).all()


@pytest.mark.parametrize(
    ("ids", "log_probs", "what"),
    [
        (torch.tensor([[0, 1]]), log(0.5), "ids of shape"),
        (torch.tensor([0, 1]), log(0.5, 0.2)[0], "ids of shape"),
        (torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0), "ids of shape"),
        (torch.tensor([[0, 5]]), log(0.5, 0.2), "the kept token 5 is outside a vocabulary of 5"),
        (torch.tensor([[3, 0, 3]]), log(0.5, 0.2, 0.1), "row 0 keeps a token twice"),
        (torch.tensor([[0, 1]]), log(2.0, 1.5), "the kept probabilities of row 0 sum to 3.5"),
    ],
)
def test_what_cannot_be_a_row_is_refused(ids: torch.Tensor, log_probs: torch.Tensor, what: str) -> None:
    """The error says which row or token is at fault."""
    with pytest.raises(TutelageError, match=what):
        TopK(ids, log_probs, 5)


def test_several_empty_columns_are_no_token_kept_twice() -> None:
    """-1 may stand as often as it likes; a row without any kept token is all rest."""
    empty = TopK(torch.tensor([[-1, -1]]), log(0.5, 0.5), 4)
    assert_close(empty.log_probs().exp(), torch.full((1, 4), 0.25).double())


def test_no_positions_are_no_error() -> None:
    """A process whose share of the batch is empty gets zero rows."""
    assert TopK(torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3), 9).log_probs().shape == (0, 9)
    assert math.isfinite(len(gold(torch.zeros(0, dtype=torch.long), 9, torch.zeros(1))))
