"""Hidden states with an output layer, and rows written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from strategies import Maker
from tutelage.distribution import Dense, Hidden
from tutelage.errors import TutelageError


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1.0, 0.25]), softcap=st.sampled_from([None, 1.5]))
def test_hidden_rows_are_what_the_output_layer_says(seed: int, scale: float, softcap: float | None) -> None:
    """softcap * tanh((h W^T + b) * scale / softcap), normalised over the ids that are tokens."""
    m = Maker(3, 6, seed)
    bias, never = m.normal("bias", 6), torch.tensor([4])
    found = m.hidden("h", bias=bias, scale=scale, softcap=softcap, never=never)
    logits = (torch.nn.functional.linear(found.hidden, found.weight, bias)) * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits[:, 4] = -math.inf
    assert_close(found.log_probs(), logits.log_softmax(-1), atol=1e-12, rtol=0)


def test_stored_rows_need_not_be_normalised() -> None:
    """Logits and log-probabilities of one row are one distribution."""
    logits = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    assert_close(Dense(logits).log_probs(), Dense(logits.log_softmax(-1) + 7).log_probs())


def test_half_precision_weights_are_multiplied_in_single() -> None:
    """A product in bfloat16 would round logits to three digits; the tile is float32."""
    m = Maker(8, 50, 1)
    exact = m.hidden("h")
    short = Hidden(exact.hidden.bfloat16(), exact.weight.bfloat16())
    found = short.log_probs()
    assert found.dtype == torch.float32
    expected = short.hidden.float() @ short.weight.float().T
    assert_close(found, expected.log_softmax(-1), atol=1e-5, rtol=0)


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Hidden states (N, H), a weight (V, H), a bias (V,), rows (N, V)."""
    for hidden, weight in [((2, 3), (5, 4)), ((1, 2, 3), (5, 3)), ((2, 3), (3,))]:
        with pytest.raises(TutelageError, match="do not fit an output layer"):
            Hidden(torch.zeros(hidden), torch.zeros(weight))
    with pytest.raises(TutelageError, match=r"a bias of shape \(4,\) beside 5 tokens"):
        Hidden(torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(4))
    with pytest.raises(TutelageError, match="log-probabilities of shape"):
        Dense(torch.zeros(2, 3, 4))


def test_sizes_are_told() -> None:
    """Positions, vocabulary and length of what was given."""
    for distribution in (Dense(torch.zeros(2, 7)), Hidden(torch.zeros(2, 3), torch.zeros(7, 3))):
        assert (distribution.positions, distribution.vocab_size, len(distribution)) == (2, 7, 2)
