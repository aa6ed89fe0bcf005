"""Mass moved between tokens, ids cut away, and what is left out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from strategies import KINDS, Maker
from tutelage.distribution import Dense, TopK, left_out, mixed, product, renamed, restricted
from tutelage.divergences import loss
from tutelage.errors import OutOfRange, TutelageError

SEEDS = st.integers(0, 10_000)
FULL = ["hidden", "hidden without some ids", "dense", "mixed", "shifted", "product"]


def moved_by_hand(row: list[float], moves: list[tuple[int, int]], floor: float) -> list[float]:
    """One row of probabilities, move by move, all masses read before any goes."""
    after = list(row)
    for source, _ in moves:
        if source >= 0:
            after[source] = min(row[source], floor)
    for source, target in moves:
        if source >= 0:
            after[target] += max(0.0, row[source] - floor)
    return after


@pytest.mark.parametrize("kind", FULL)
@given(seed=SEEDS, floor=st.sampled_from([0.0, 1e-3, 0.1]), count=st.integers(1, 4))
def test_moves_are_what_they_are_by_hand(kind: str, seed: int, floor: float, count: int) -> None:
    """Against a loop over moves; sources may be targets of others, and targets may be shared."""
    m = Maker(3, 7, seed)
    of = KINDS[kind](m)
    sources = m.ids("sources", count)
    targets = (sources + 1 + m.ids("steps", count, 6)) % 7
    sources = sources.masked_fill(m.normal("none", 3, count) > 1, -1)
    found = renamed(of, sources, targets, floor).log_probs().exp()
    for row in range(3):
        moves = list(zip(sources[row].tolist(), targets[row].tolist(), strict=True))
        by_hand = moved_by_hand(of.log_probs()[row].exp().tolist(), moves, floor)
        assert found[row].tolist() == pytest.approx(by_hand, abs=1e-12)
    assert_close(found.sum(-1), torch.ones(3).double(), atol=1e-12, rtol=0)


def test_on_kept_columns_the_rest_takes_what_goes_to_a_token_not_kept() -> None:
    """A source that was not kept stays: its own mass is not known."""
    cut = TopK(torch.tensor([[4, 1]]), torch.tensor([[0.5, 0.3]]).double().log(), 6)
    to_rest = renamed(cut, torch.tensor([[4]]), torch.tensor([[0]]))
    assert_close(to_rest.on_support()[1].exp(), torch.tensor([[0.0, 0.3, 0.7]]).double())
    to_kept = renamed(cut, torch.tensor([[4]]), torch.tensor([[1]]), floor=0.1)
    assert_close(to_kept.on_support()[1].exp(), torch.tensor([[0.1, 0.7, 0.2]]).double())
    from_rest = renamed(cut, torch.tensor([[3]]), torch.tensor([[1]]))
    assert_close(from_rest.on_support()[1].exp(), torch.tensor([[0.5, 0.3, 0.2]]).double())


@pytest.mark.parametrize(
    ("sources", "targets", "what"),
    [
        ([[0, 1], [1, 2]], [[1], [2]], "sources of shape"),
        ([[0, 1]], [[2, 2]], "sources of shape"),
        ([[0, 1], [1, 1]], [[2, 2], [2, 2]], "listed twice"),
        ([[0, 1], [1, 2]], [[2, 2], [3, 2]], "renamed to itself"),
        ([[0, 1], [1, 2]], [[2, 2], [-1, 3]], "row 1 names a token that does not exist"),
        ([[0, 1], [1, 2]], [[2, 4], [3, 3]], "row 0 names a token that does not exist"),
        ([[4, 1], [1, 2]], [[2, 2], [3, 3]], "row 0 names a token that does not exist"),
    ],
)
def test_moves_that_mean_nothing_are_refused(
    sources: list[list[int]], targets: list[list[int]], what: str
) -> None:
    """Two rows over four tokens: shapes, ids and moves onto itself."""
    with pytest.raises(TutelageError, match=what):
        renamed(Dense(torch.zeros(2, 4)), torch.tensor(sources), torch.tensor(targets))


def test_a_floor_of_one_or_more_is_refused() -> None:
    """A source cannot keep more than everything."""
    nowhere = torch.tensor([[-1]])
    for floor in (-0.1, 1.0):
        with pytest.raises(OutOfRange, match="floor is"):
            renamed(Dense(torch.zeros(1, 4)), nowhere, nowhere, floor)


@pytest.mark.parametrize("kind", FULL)
@given(seed=SEEDS)
def test_what_is_left_out_is_the_mass_outside(kind: str, seed: int) -> None:
    """The mass of ids beyond the width and of those that are not shared."""
    m = Maker(4, 9, seed)
    of, never = KINDS[kind](m), torch.tensor([1, 3])
    whole = of.log_probs().exp()
    assert_close(left_out(of, 7, None, slice(1, 3)), whole[1:3, 7:].sum(1), atol=1e-12, rtol=0)
    expected = whole[:, 7:].sum(1) + whole[:, never].sum(1)
    assert_close(left_out(of, 7, never, slice(None)), expected, atol=1e-12, rtol=0)
    assert_close(left_out(of, 9, None, slice(None)), torch.zeros(4).double())


def test_of_a_cut_row_only_the_kept_tokens_outside_are_known() -> None:
    """What stands in the rest may be outside too; that cannot be told."""
    cut = TopK(torch.tensor([[7, 2]]), torch.tensor([[0.4, 0.2]]).double().log(), 9)
    assert_close(left_out(cut, 5, None, slice(None)), torch.tensor([0.4]).double())
    assert_close(left_out(cut, 5, torch.tensor([2]), slice(None)), torch.tensor([0.6]).double())


def test_a_width_that_does_not_exist_is_refused() -> None:
    """From one token to all of them."""
    for width in (0, 5):
        with pytest.raises(OutOfRange, match="shared tokens of a vocabulary of 4"):
            restricted(Dense(torch.zeros(1, 4)), width)


def disjoint() -> tuple[Tensor, Tensor]:
    """Two rows with no token in common."""
    return torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])


def test_where_nothing_is_left_to_say_there_is_an_error_and_no_nan() -> None:
    """A product of rows with nothing in common, or a row of which all is cut away; inside others too."""
    one, other = map(Dense, disjoint())
    empty = [
        product([one, other], [0.5, 0.5]),
        restricted(one, 1, torch.tensor([0])),
        restricted(one, 2, torch.tensor([0])),
        mixed([one, product([one, other], [1.0, 1.0])], [0.5, 0.5]),
        renamed(restricted(one, 2, torch.tensor([0])), torch.tensor([[0]]), torch.tensor([[1]])),
        restricted(
            TopK(torch.tensor([[0]]), torch.zeros(1, 1), 2, torch.tensor([-math.inf])), 2, torch.tensor([0])
        ),
    ]
    for distribution in empty:
        with pytest.raises(TutelageError, match="nothing is left to say at 1 of 1 positions"):
            distribution.log_probs()
        if distribution.vocab_size == 2:
            with pytest.raises(TutelageError, match="nothing is left to say at 1 of 1 positions"):
                loss(torch.zeros(1, 3), torch.zeros(2, 3), distribution)
