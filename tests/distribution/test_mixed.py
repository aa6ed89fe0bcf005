"""Means of probabilities and of logs: weights, shapes and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from strategies import Maker
from tutelage.distribution import Dense, mixed, product, tempered
from tutelage.errors import OutOfRange, TutelageError

ONE, OTHER = Dense(torch.tensor([[0.0, -math.inf, 0.0]])), Dense(torch.tensor([[0.0, 0.0, -math.inf]]))


@given(seed=st.integers(0, 10_000), factor=st.sampled_from([0.01, 1.0, 70.0]))
def test_weights_are_scaled_to_sum_to_one(seed: int, factor: float) -> None:
    """A common factor of all weights, or of those of one position, changes nothing."""
    m = Maker(3, 6, seed)
    members = [m.hidden("a"), m.dense("b"), m.top_k("c")]
    weights = m.normal("weights", 3, 3).exp()
    first = weights[0].tolist()
    scaled = [factor * weight for weight in first]
    assert_close(mixed(members, scaled).log_probs(), mixed(members, first).log_probs(), atol=1e-12, rtol=0)
    by_row = weights * torch.tensor([[1.0], [factor], [3.0]])
    assert_close(mixed(members, by_row).log_probs(), mixed(members, weights).log_probs(), atol=1e-12, rtol=0)


@given(seed=st.integers(0, 10_000))
def test_a_routed_mixture_asks_one_member_a_position(seed: int) -> None:
    """With a single weight at a position, that position is its member's own row."""
    m = Maker(4, 6, seed)
    members = [m.hidden("a"), m.dense("b")]
    which = torch.tensor([0, 1, 1, 0])
    found = mixed(members, torch.nn.functional.one_hot(which, 2).double()).log_probs()
    for row, member in enumerate(which.tolist()):
        assert_close(found[row], members[member].log_probs()[row], atol=1e-12, rtol=0)


def test_a_mixture_says_what_any_member_says_and_a_product_what_all_say() -> None:
    """A token that one member never says stays in the mean of probabilities and leaves that of logs."""
    assert_close(mixed([ONE, OTHER], [0.5, 0.5]).log_probs().exp(), torch.tensor([[0.5, 0.25, 0.25]]))
    assert_close(product([ONE, OTHER], [0.5, 0.5]).log_probs().exp(), torch.tensor([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("combine", [mixed, product])
@pytest.mark.parametrize("weights", [[-0.1, 1.0], [0.0, 0.0], [math.inf, 1.0], [math.nan, 1.0]])
def test_weights_that_are_no_shares_are_refused(combine, weights: list[float]) -> None:
    """Negative, infinite, NaN, or all zero."""
    with pytest.raises(OutOfRange, match="weights are"):
        combine([ONE, OTHER], weights)


def test_weights_of_another_number_or_shape_are_refused() -> None:
    """One weight a member, or one row of weights a position, none of them all zero."""
    for weights in ([1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(TutelageError, match="weights for 2 distributions"):
            mixed([ONE, OTHER], weights)
    with pytest.raises(TutelageError, match="weights for 2 positions of distributions with 1"):
        mixed([ONE, OTHER], torch.ones(2, 2))
    with pytest.raises(OutOfRange, match="weights are"):
        mixed([ONE, OTHER], torch.tensor([[0.0, 0.0]]))


@pytest.mark.parametrize("shape", [(1, 4), (2, 3)])
def test_members_of_different_shapes_are_refused(shape: tuple[int, int]) -> None:
    """Other positions or another vocabulary: the error says to restrict them to shared ids."""
    with pytest.raises(TutelageError, match="different shapes") as caught:
        mixed([ONE, Dense(torch.zeros(shape))], [0.5, 0.5])
    assert "share" in caught.value.fix


def test_a_temperature_that_is_no_positive_number_is_refused() -> None:
    """Zero would keep the best token alone, infinity would say everything alike."""
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(OutOfRange, match="temperature is"):
            tempered(ONE, temperature)
