"""Edge conventions: what is never said weighs nothing, in values and in gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from tutelage import numerics
from tutelage.numerics import (
    RunningNormaliser,
    exp,
    exp_shifted,
    largest,
    log_mixture,
    log_one_minus_exp,
    log_sum_exp,
    mixture,
    times_log,
)

INF = math.inf
PROBABILITIES = st.floats(0, 1)


def vector(*numbers: float) -> torch.Tensor:
    """Numbers in float64 with a gradient."""
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def test_zero_times_any_log_is_zero() -> None:
    """Also times infinity and NaN; and neither factor gets a gradient there."""
    p, log_x = vector(0.0, 0.0, 0.0, 0.5), vector(-INF, INF, math.nan, 2.0)
    found = times_log(p, log_x)
    assert found.tolist() == [0, 0, 0, 1]
    found.sum().backward()
    assert p.grad is not None
    assert log_x.grad is not None
    assert p.grad.tolist() == [0, 0, 0, 2]
    assert log_x.grad.tolist() == [0, 0, 0, 0.5]


def test_what_is_said_keeps_its_infinity_and_its_nan() -> None:
    """A NaN that came in is not turned into a number where the token is said."""
    found = times_log(torch.tensor([0.5, 0.5]), torch.tensor([-INF, math.nan]))
    assert found[0] == -INF
    assert found[1].isnan()


@given(a=PROBABILITIES, b=PROBABILITIES, weight=PROBABILITIES)
def test_a_mixture_lies_between_its_members(a: float, b: float, weight: float) -> None:
    """The weighted mean, one member at weight 0 and 1, and exactly both where they are equal."""
    p, q = vector(a).detach(), vector(b).detach()
    tiny = torch.finfo(torch.float64).tiny
    found = float(mixture(p, q, weight=weight))
    assert found == pytest.approx(weight * a + (1 - weight) * b, rel=1e-14, abs=1e-300)
    assert max(tiny, min(a, b)) * (1 - 1e-15) <= found <= max(tiny, a, b) * (1 + 1e-15)
    assert float(mixture(p, p, weight=weight)) == max(a, tiny)
    assert float(mixture(p, q, weight=1.0)) == max(a, tiny)
    assert float(mixture(p, q, weight=0.0)) == max(b, tiny)


def test_a_mixture_of_two_that_never_speak_has_a_finite_log_and_no_gradient() -> None:
    """The gradient of log 0 is undefined, also where it is multiplied by zero later."""
    p, q = vector(0.0, 0.0, 0.5), vector(0.0, 0.25, 0.25)
    found = mixture(p, q, weight=0.5).log()
    assert found.isfinite().all()
    found.sum().backward()
    assert p.grad is not None
    assert p.grad[0] == 0
    assert p.grad.isfinite().all()


@given(log_p=st.floats(-700, 0))
def test_the_log_of_one_minus_p_does_not_cancel(log_p: float) -> None:
    """Against Python's own log1p and expm1, on the side where each is exact."""
    found = float(log_one_minus_exp(vector(log_p).detach()))
    if log_p == 0:
        assert found == -INF
    elif log_p > -0.5:
        assert found == pytest.approx(math.log(-math.expm1(log_p)), rel=1e-12)
    else:
        assert found == pytest.approx(math.log1p(-math.exp(log_p)), rel=1e-12, abs=1e-300)


def test_the_log_of_one_minus_p_has_a_gradient_at_both_ends() -> None:
    """No NaN leaks from the branch that is not taken."""
    log_p = vector(-1e-9, -0.6, -0.8, -600.0)
    log_one_minus_exp(log_p).sum().backward()
    expected = -1 / torch.expm1(-log_p.detach())
    assert log_p.grad is not None
    assert_close(log_p.grad, expected, rtol=1e-9, atol=0)


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    sharp=st.sampled_from([1.0, 1e3]),
)
def test_a_normaliser_gathered_tile_by_tile_is_that_of_the_whole(
    sizes: list[int], seed: int, sharp: float
) -> None:
    """Log-sum-exp in any number of tiles, some positions or tiles saying nothing."""
    made = torch.Generator().manual_seed(seed)
    whole = sharp * torch.randn(sum(sizes), 3, generator=made, dtype=torch.float64)
    whole[torch.rand(whole.shape, generator=made) < 0.4] = -INF
    whole[:, 2] = -INF
    running = RunningNormaliser(3, whole)
    for tile in whole.split(sizes):
        running.add(tile)
    assert_close(running.value(), whole.logsumexp(0), rtol=1e-13, atol=0)
    assert running.value()[2] == -INF


@pytest.mark.parametrize("by_exp", [True, False])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 4e-6)])
def test_exponentials_are_the_same_by_either_routine(
    by_exp: bool, dtype: torch.dtype, close: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever this processor would take; a later tile goes a little beyond the first, another far."""
    monkeypatch.setattr(numerics, "_by_exp", lambda device: by_exp)
    made = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(40, 5, generator=made, dtype=torch.float64)
    x[10:20] += 8
    x[30:] += 60
    x[3, 1] = -INF
    shift, tile = x.logsumexp(0), x.to(dtype)
    scaled = (0.7 * x).logsumexp(0)
    assert_close(exp_shifted(tile, shift.to(dtype)).double(), (x - shift).exp(), rtol=30 * close, atol=1e-30)
    assert_close(
        exp_shifted(tile, scaled.to(dtype), scale=0.7).double(),
        (0.7 * x - scaled).exp(),
        rtol=30 * close,
        atol=1e-30,
    )
    assert_close(exp((x - shift).to(dtype)).double(), (x - shift).exp(), rtol=10 * close, atol=1e-30)
    for scale, expected in ((1.0, shift), (0.7, scaled)):
        running = RunningNormaliser(5, tile, scale)
        for part in tile.split(10):
            running.add(part)
        assert_close(running.value().double(), expected, rtol=0, atol=5 * close)


def test_a_normaliser_leaves_its_tiles_as_they_were() -> None:
    """It writes into scratch if that is given, never into the tile."""
    tile = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    kept, scratch = tile.clone(), torch.empty_like(tile)
    plain, with_scratch = RunningNormaliser(2, tile), RunningNormaliser(2, tile)
    plain.add(tile)
    with_scratch.add(tile, scratch)
    assert torch.equal(tile, kept)
    assert torch.equal(plain.value(), with_scratch.value())


@given(seed=st.integers(0, 1000), v=st.integers(1, 400), n=st.integers(1, 4), k=st.integers(1, 12))
def test_the_largest_are_found_through_blocks(seed: int, v: int, n: int, k: int) -> None:
    """The same numbers as sorting everything, with rows that hold them, also where many are equal or -inf."""
    made = torch.Generator().manual_seed(seed)
    tile = torch.randint(-9, 9, (v, n), generator=made).double()
    tile[tile < -6] = -torch.inf
    k = min(k, v)
    numbers, rows = largest(tile, k)
    assert torch.equal(numbers, tile.topk(k, 0).values)
    assert torch.equal(tile.gather(0, rows), numbers)
    assert all(len(set(column)) == k for column in rows.T.tolist())


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 4e-7), (torch.float64, 1e-15)])
def test_exponentials_by_powers_of_two_are_exponentials(dtype, relative):
    """To a unit in the last place for every nat of the exponent; "never" gives exactly 0, and 0 exactly 1."""
    x = torch.cat([-torch.rand(2000, dtype=dtype) * 40, torch.tensor([-torch.inf, 0.0], dtype=dtype)])
    shift = torch.tensor(3.25, dtype=dtype)
    off = (1 + x.abs().clamp(max=40)) * relative
    for found, exponent in (
        (exp(x), x),
        (exp_shifted(x, shift), x - shift),
        (exp_shifted(x, shift, scale=0.5), x * 0.5 - shift),
    ):
        expected = exponent.double().exp()
        assert bool(((found.double() - expected).abs() <= off * expected).all())
    assert exp(x)[-2:].tolist() == [0.0, 1.0]
    tile = x[:-2].clone()
    assert exp(tile, out=tile) is tile


@given(PROBABILITIES, PROBABILITIES, st.floats(0.01, 0.99))
def test_the_log_of_a_mixture_is_exact_where_both_agree(a, b, weight):
    """And elsewhere the log of the mixture; where nobody says anything it is no number but "never"."""
    p, q = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    same = log_mixture(mixture(p, p, weight=weight), p, p, p.log(), p.log())
    assert torch.equal(same, p.log()) or a < 1e-300
    mixed = mixture(p, q, weight=weight)
    if max(a, b) > 1e-300:
        assert_close(log_mixture(mixed, p, q, p.log(), q.log()), mixed.log(), rtol=1e-12, atol=1e-12)


def test_a_sum_of_exponentials_over_nothing_is_never_and_moves_nothing() -> None:
    """A column of "never" stays so with a gradient of zero; the others are what torch says."""
    logs = torch.tensor([[0.3, -math.inf], [-math.inf, -math.inf]], dtype=torch.float64, requires_grad=True)
    found = log_sum_exp(logs)
    assert found.tolist() == [0.3, -math.inf]
    found.sum().backward()
    assert logs.grad is not None
    assert logs.grad.tolist() == [[1.0, 0.0], [0.0, 0.0]]
