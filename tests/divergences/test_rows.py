"""Whole rows as a statistic sees them: the same however they are cut, tempered or normalised."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from strategies import Maker
from tutelage.divergences.rows import Rows, column_of

M = Maker(6, 50, 9)
LOGITS, TOLD = M.normal("logits", 50, 6) * 3, M.normal("told", 50, 6) * 3
TARGET = M.ids("target", 1)[:, 0]
PLAIN = Rows((LOGITS / 2).log_softmax(0), TOLD.log_softmax(0), target=TARGET)


def cut(tokens: int) -> Rows:
    """The same rows, unnormalised, at temperature 2, some columns at a time."""
    norms = (LOGITS / 2).logsumexp(0), TOLD.logsumexp(0)
    return Rows(LOGITS, TOLD, *norms, scale=0.5, target=TARGET, tokens=tokens)


def gap(log_q: Tensor, log_p: Tensor, token: Tensor) -> tuple[Tensor, ...]:
    """Half of it is total variation; and what is a token at all."""
    return (log_p.exp() - log_q.exp()).abs(), token.to(log_q.dtype).expand_as(log_q)


@pytest.mark.parametrize("tokens", [1, 7, 50, 64])
def test_statistics_are_the_same_however_rows_are_cut(tokens: int) -> None:
    """Sums, what the others hold, the highest and the head's end."""
    rows = cut(tokens)
    assert_close(rows.sums(gap), PLAIN.sums(gap), atol=1e-13, rtol=1e-12)
    assert_close(rows.others(), PLAIN.others(), atol=1e-13, rtol=1e-12)
    assert_close(rows.highest(), PLAIN.highest(), atol=1e-13, rtol=1e-12)
    for mass in (0.01, 0.5, 0.99):
        assert_close(rows.cutoff(mass), PLAIN.cutoff(mass), atol=1e-13, rtol=1e-12)


def test_the_others_hold_what_the_target_leaves() -> None:
    """One minus its probability, for both sides."""
    at_target = [logs.gather(0, TARGET[None])[0].exp() for logs in PLAIN.pair(slice(0, 50))]
    for found, said in zip(PLAIN.others(), at_target, strict=True):
        assert_close(found.exp(), 1 - said, atol=1e-12, rtol=0)


def test_the_rest_is_no_token() -> None:
    """It is neither the most likely one nor sorted into a head; it is where no token is known."""
    told = torch.tensor([[0.2, 0.0], [0.3, 0.0], [0.5, 1.0]], dtype=torch.float64).log()
    rows = Rows(told, told, rest=True)
    assert_close(rows.highest().exp(), torch.tensor([0.3, 1.0], dtype=torch.float64))
    assert_close(rows.cutoff(0.4).exp(), torch.tensor([0.2, 0.0], dtype=torch.float64))
    assert rows.cutoff(0.6).tolist() == [-math.inf, -math.inf]
    _, tokens = rows.sums(gap)
    assert tokens.tolist() == [2, 2]


def test_a_token_that_was_not_kept_stands_with_the_rest() -> None:
    """Its column is the last one; an empty column is nobody's."""
    ids = torch.tensor([[4, 7], [2, -1]])
    assert column_of(torch.tensor([2, 7]), ids).tolist() == [1, 0]
    assert column_of(torch.tensor([3, 0]), ids).tolist() == [2, 2]
