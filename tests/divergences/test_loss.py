"""`tutelage.loss` as a user calls it: gradients and their types, precision, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import tutelage
from strategies import TRAINABLE, Maker, beside
from tutelage.distribution import Dense, Hidden
from tutelage.divergences import TABLE, forward_kl, loss
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.plain import plain_loss
from tutelage.errors import OutOfRange, TutelageError, UnknownName

M = Maker(6, 9, 7)


def inputs(*, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, weight and bias with gradients."""
    made = (M.normal("hidden", 6, 5), M.normal("weight", 9, 5), M.normal("bias", 9))
    hidden, weight, bias = (t.to(dtype).requires_grad_() for t in made)
    return hidden, weight, bias


def test_it_is_one_function_under_two_names() -> None:
    """`tutelage.loss` and `tutelage.divergences.loss`."""
    assert tutelage.loss is loss


def test_the_loss_is_the_mean_over_the_counted_positions() -> None:
    """A scalar in nats per counted position, by name or by the divergence itself, with its options."""
    hidden, weight, bias = inputs()
    teacher = M.full("teacher")
    mask = torch.tensor([True, False, True, True, False, True])
    each = plain_loss(Hidden(hidden, weight, bias), teacher, TABLE.load("jensen_shannon"), beta=0.3)
    for divergence in ("jensen_shannon", TABLE.load("jensen_shannon")):
        found = loss(hidden, (weight, bias), teacher, divergence, mask, beta=0.3)
        assert found.shape == ()
        assert_close(found, each[mask].mean())


def test_without_a_bias_a_weight_or_a_pair_with_none_will_do() -> None:
    """`weight` and `(weight, None)` are the same output layer."""
    hidden, weight, _ = inputs()
    assert torch.equal(loss(hidden, weight, M.full("t")), loss(hidden, (weight, None), M.full("t")))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_gradients_come_for_what_asks_for_them_and_nothing_else(wanted: tuple[int, ...]) -> None:
    """A frozen output layer, or frozen hidden states, change no other gradient."""
    every = inputs()
    loss(every[0], every[1:], M.full("teacher")).backward()
    some = inputs()
    for index, tensor in enumerate(some):
        tensor.requires_grad_(index in wanted)
    loss(some[0], some[1:], M.full("teacher")).backward()
    for index in range(3):
        if index in wanted:
            assert_close(some[index].grad, every[index].grad)
        else:
            assert some[index].grad is None


def test_the_backward_pass_scales_with_what_follows() -> None:
    """Three times the loss is three times the gradient, as everywhere in torch."""
    first, second = inputs(), inputs()
    loss(first[0], first[1:], M.full("teacher")).backward()
    (3 * loss(second[0], second[1:], M.full("teacher"))).backward()
    for one, three in zip(first, second, strict=True):
        assert one.grad is not None
        assert_close(3 * one.grad, three.grad)


def test_a_tied_weight_gets_the_gradients_of_both_its_uses() -> None:
    """The same tensor as embedding and output layer: what autograd finds through the plain twin."""
    tokens = torch.tensor([1, 4, 4, 0, 8, 2])

    def gradient(fused: bool) -> torch.Tensor:
        table = M.normal("tied", 9, 5).requires_grad_()
        hidden = torch.tanh(torch.nn.functional.embedding(tokens, table))
        if fused:
            value = loss(hidden, table, M.full("teacher"))
        else:
            value = plain_loss(Hidden(hidden, table), M.full("teacher"), forward_kl).mean()
        return torch.autograd.grad(value, table)[0]

    assert_close(gradient(fused=True), gradient(fused=False), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_short_floats_stay_close_and_gradients_keep_their_type(name: str, dtype: torch.dtype) -> None:
    """Tiles are float32 whatever comes in; gradients come out in the type of what they are for."""
    short = inputs(dtype=dtype)
    exact = [t.detach().double().requires_grad_() for t in short]
    teacher = M.hidden("teacher")
    value = loss(short[0], (short[1], short[2]), teacher, name, **beside(name, M))
    expected = loss(exact[0], (exact[1], exact[2]), teacher, name, **beside(name, M))
    assert value.dtype == torch.float32
    assert_close(value.double(), expected, atol=2e-5, rtol=2e-5)
    value.backward()
    expected.backward()
    rounding = float(torch.finfo(dtype).eps)
    for found, wanted in zip(short, exact, strict=True):
        assert found.grad is not None
        assert found.grad.dtype == dtype
        assert_close(found.grad.double(), wanted.grad, atol=2e-6 + rounding / 50, rtol=2 * rounding + 1e-5)


def test_a_weight_of_another_type_than_the_hidden_states() -> None:
    """Mixed precision: bfloat16 hidden states before a float32 output layer, each with its own gradient."""
    hidden, weight, bias = inputs(dtype=torch.float32)
    short = hidden.detach().bfloat16().requires_grad_()
    loss(short, (weight, bias), M.full("teacher")).backward()
    assert short.grad is not None
    assert weight.grad is not None
    assert (short.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)


def test_autocast_does_not_reach_inside() -> None:
    """Under autocast the products stay in float32, so the loss is the same to the bit."""
    outside, inside = inputs(dtype=torch.float32), inputs(dtype=torch.float32)
    value = loss(outside[0], outside[1:], M.hidden("teacher"))
    value.backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = loss(inside[0], inside[1:], M.hidden("teacher"))
    again.backward()
    assert torch.equal(value, again)
    for one, other in zip(outside, inside, strict=True):
        assert torch.equal(torch.as_tensor(one.grad), torch.as_tensor(other.grad))


def test_no_gradient_reaches_the_teacher() -> None:
    """What is compared with is a constant, also when its tensors could be trained."""
    hidden, weight, bias = inputs()
    trained = M.normal("trained", 9, 5).requires_grad_()
    teacher = Hidden(M.normal("told", 6, 5), trained)
    loss(hidden, (weight, bias), teacher).backward()
    assert trained.grad is None


def test_without_gradients_the_value_is_the_same() -> None:
    """Under `no_grad` the value stays and has no history."""
    hidden, weight, bias = inputs()
    with torch.no_grad():
        found = loss(hidden, (weight, bias), M.full("teacher"))
    assert not found.requires_grad
    assert_close(found, loss(hidden, (weight, bias), M.full("teacher")).detach())


def test_a_second_derivative_is_an_error_and_not_a_wrong_number() -> None:
    """Gradients are computed on the way forward, so there is nothing to differentiate again."""
    hidden, weight, bias = inputs()
    value = loss(hidden, (weight, bias), M.full("teacher"))
    for outer in (value, value**2):
        (gradient,) = torch.autograd.grad(outer, hidden, create_graph=True)
        with pytest.raises(RuntimeError, match=r"does not require grad|once_differentiable"):
            gradient.sum().backward()


def test_the_values_of_every_position_come_beside_the_total() -> None:
    """Unweighted nats by term and position, and 0 where a term does not look."""
    hidden, weight, bias = inputs()
    student, teacher = Hidden(hidden, weight, bias), M.full("teacher")
    weights = torch.tensor([0.5, 0.0, 2.0, 0.0, 0.25, 1.0]).double()
    total, (values,) = evaluate(student, [Against(forward_kl, teacher, weights)])
    each = plain_loss(student, teacher, forward_kl).detach()
    assert_close(values, torch.where(weights > 0, each, 0.0))
    assert not values.requires_grad
    assert_close(total.detach(), (weights * each).sum())


@pytest.mark.parametrize(
    "mask",
    [torch.ones(6), torch.ones(6, dtype=torch.long), torch.ones(5, dtype=torch.bool), torch.ones(2, 3) > 0],
)
def test_a_mask_that_is_none_is_refused(mask: torch.Tensor) -> None:
    """Numbers instead of true and false, or another shape than (N,)."""
    hidden, weight, bias = inputs()
    with pytest.raises(TutelageError, match="a mask of shape") as caught:
        loss(hidden, (weight, bias), M.full("teacher"), mask=mask)
    assert "(6,)" in caught.value.expected


def test_a_batch_in_which_nothing_counts_is_refused() -> None:
    """The mean over nothing is no number; so is that of zero positions."""
    hidden, weight, bias = inputs()
    with pytest.raises(TutelageError, match="no position counts"):
        loss(hidden, (weight, bias), M.full("teacher"), mask=torch.zeros(6, dtype=torch.bool))
    with pytest.raises(TutelageError, match="no position counts"):
        loss(hidden[:0], (weight, bias), Dense(torch.zeros(0, 9).double()))


@pytest.mark.parametrize(("positions", "vocab"), [(5, 9), (6, 10)])
def test_a_teacher_of_another_shape_is_refused(positions: int, vocab: int) -> None:
    """The same positions, and the same tokens."""
    hidden, weight, bias = inputs()
    with pytest.raises(TutelageError, match=f"a teacher of {positions} positions and {vocab} tokens"):
        loss(hidden, (weight, bias), Dense(torch.zeros(positions, vocab).double()))


def test_an_output_layer_that_does_not_fit_is_refused() -> None:
    """Another width, or a bias for other tokens."""
    hidden, weight, bias = inputs()
    with pytest.raises(TutelageError, match="do not fit an output layer"):
        loss(hidden, weight[:, :4], M.full("teacher"))
    with pytest.raises(TutelageError, match="a bias of shape"):
        loss(hidden, (weight, bias[:4]), M.full("teacher"))


def test_a_measure_without_gradient_is_refused() -> None:
    """Agreement is for reports; the error says so."""
    hidden, weight, bias = inputs()
    with pytest.raises(TutelageError, match="top1_agreement has no gradient"):
        loss(hidden, (weight, bias), M.full("teacher"), "top1_agreement")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"divergence": "jensen_shannon", "beta": 1.5}, "beta is 1.5"),
        ({"divergence": "skew_forward_kl", "skew": 0.0}, "skew is 0.0"),
        ({"divergence": "alpha_divergence", "order": -1.0}, "order is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"chunk_rows": 0}, "chunk_rows is 0"),
        ({"chunk_rows": -3}, "chunk_rows is -3"),
    ],
)
def test_a_number_out_of_range_is_refused(words: dict[str, Any], what: str) -> None:
    """Options of the divergence, temperature and chunk."""
    hidden, weight, bias = inputs()
    with pytest.raises(OutOfRange, match=what):
        loss(hidden, (weight, bias), M.full("teacher"), **words)


def test_a_name_that_is_in_no_table_is_refused_with_the_nearest() -> None:
    """`revers_kl` is probably `reverse_kl`."""
    hidden, weight, bias = inputs()
    with pytest.raises(UnknownName, match="unknown divergence 'revers_kl'") as caught:
        loss(hidden, (weight, bias), M.full("teacher"), "revers_kl")
    assert "reverse_kl" in caught.value.fix


@pytest.mark.parametrize("name", TRAINABLE)
def test_logits_far_apart_give_numbers(name: str) -> None:
    """Differences of hundreds of nats in float32: no NaN in value or gradient."""
    logits = torch.tensor([[0.0, 400.0, -400.0, 88.0], [200.0, 0.0, 0.0, -200.0]], requires_grad=True)
    teacher = Dense(torch.tensor([[300.0, 0.0, -50.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    value = loss(logits, torch.eye(4), teacher, name, **beside(name, Maker(2, 4, 0)))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
