"""Fused evaluation on a GPU: equal to the slow twin on a CPU, compiled or not, in bfloat16 or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from moved import moved
from strategies import (
    HEADS,
    KINDS,
    PARTIAL,
    TRAINABLE,
    Maker,
    beside,
    choices,
    gradients,
    meeting,
    student,
)
from tutelage import compiled
from tutelage.compiled import Kernel
from tutelage.distribution import Distribution, Hidden, gold, kept
from tutelage.divergences import TABLE, loss
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.plain import plain_loss
from tutelage.interfaces import AfterStatistics

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]
EVERY = KINDS | PARTIAL
ROWS, VOCAB, WIDTH = 500, 4146, 64
"""More than a million elements, so that kernels are compiled; the last 50 tokens are no whole block."""


def served(kind: str, name: str) -> bool:
    """Whether this divergence can be computed from this kind."""
    needs = EVERY[kind](Maker(1, 6, 0)).needs
    if kind in PARTIAL and isinstance(TABLE.load(name), AfterStatistics):
        return False
    return needs is None or needs in TABLE[name].laws


def compared(
    m: Maker, kind: str, head: str, name: str, warm: float, options: dict[str, Any], dtype: torch.dtype
) -> None:
    """Values, and gradients of a weighted sum of the finite ones, on a GPU and by hand in float64."""
    close = {"atol": 1e-9, "rtol": 1e-9} if dtype == torch.float64 else {"atol": 2e-5, "rtol": 2e-4}
    learner, divergence = student(m, head), TABLE.load(name)
    teacher = meeting(EVERY[kind](m), learner)
    aim = beside(name, m)
    there_too = {key: ids.cuda() for key, ids in aim.items()}
    by_hand = plain_loss(learner, teacher, divergence, temperature=warm, **aim, **options)
    finite = by_hand.detach().isfinite()
    weights = torch.where(finite, m.normal("weights", m.n), 0.0)
    there, told = moved(learner, dtype, "cuda"), moved(teacher, dtype, "cuda")
    term = Against(divergence, told, weights.to("cuda", dtype), warm, options, **there_too)
    with torch.no_grad():
        _, (values,) = evaluate(
            there, [Against(divergence, told, torch.ones_like(term.weights), warm, options, **there_too)]
        )
    assert_close(values.cpu().double(), by_hand.detach(), **close)
    if not finite.any():
        return
    found = gradients(evaluate(there, [term], chunk_rows=2)[0], there)
    alone = plain_loss(learner, teacher, divergence, mask=weights != 0, temperature=warm, **aim, **options)
    expected = gradients((alone * weights[weights != 0]).sum(), learner)
    for fast, slow in zip(found, expected, strict=True):
        assert_close(fast.cpu().double(), slow, **close)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("name", TRAINABLE)
def test_in_float64_it_equals_the_plain_twin(kind: str, name: str) -> None:
    """Every divergence with every option, against every kind of distribution."""
    if not served(kind, name):
        return
    heads = list(HEADS)
    for seed, options in enumerate(choices(name)[:6]):
        warm = 1.0 if kind in PARTIAL else (1.0, 0.5, 2.3)[seed % 3]
        head = heads[(seed + TRAINABLE.index(name)) % len(heads)]
        compared(Maker(5, 6 + seed % 4, seed), kind, head, name, warm, options, torch.float64)


@pytest.mark.parametrize("kind", EVERY)
def test_in_float32_it_equals_the_plain_twin(kind: str) -> None:
    """Every divergence as it is called without options, behind every output layer."""
    for seed, name in enumerate(TRAINABLE):
        if served(kind, name):
            head = list(HEADS)[seed % len(HEADS)]
            compared(Maker(5, 9, seed), kind, head, name, 1.0, {}, torch.float32)


def large(seed: int, dtype: torch.dtype = torch.float32, **more: Any) -> Hidden:
    """Hidden states and an output layer on the GPU, with gradients wanted."""
    made = torch.Generator("cuda").manual_seed(seed)
    hidden = torch.randn(ROWS, WIDTH, generator=made, device="cuda").to(dtype).requires_grad_()
    weight = torch.randn(VOCAB, WIDTH, generator=made, device="cuda") * 0.3
    return Hidden(hidden, weight.to(dtype).requires_grad_(), **more)


def teachers() -> dict[str, Distribution]:
    """One of every way through the walk."""
    rows = large(1)
    return {
        "hidden": rows,
        "top k": kept(rows, 20),
        "gold": gold(torch.arange(ROWS, device="cuda"), VOCAB, rows.hidden),
    }


def differentiated(learner: Hidden, terms: list[Against]) -> list[Tensor]:
    """Value and gradients."""
    total, _ = evaluate(learner, terms)
    return [total.detach(), *gradients(total, learner)]


def off(found: Tensor, expected: Tensor) -> float:
    """The difference's length by that of what was expected."""
    expected = expected.double()
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-30))


def targets(name: str) -> dict[str, Tensor]:
    """What a divergence must be told of large rows beside them."""
    return {key: ids.cuda() for key, ids in beside(name, Maker(ROWS, VOCAB, 0)).items()}


@pytest.mark.parametrize("name", TRAINABLE)
def test_compiled_it_equals_what_is_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value to a millionth, gradients to some roundings of what they are made of, and all was compiled."""
    weights = torch.full((ROWS,), 1 / ROWS, device="cuda")
    weights[::7] = 0
    terms = [Against(TABLE.load(name), teachers()["hidden"], weights, **targets(name))]
    if name == "jensen_shannon":
        told = teachers()
        terms.append(Against(TABLE.load("forward_kl"), told["top k"], 0.5 * weights))
        terms.append(Against(TABLE.load("cross_entropy"), told["gold"], 0.1 * weights))
    fast = differentiated(large(0), terms)
    assert not compiled.NOT_COMPILED
    monkeypatch.setattr(Kernel, "_wanted", lambda self, first: False)
    slow = differentiated(large(0), terms)
    assert off(fast[0], slow[0]) < 1e-6
    for one, other in zip(fast[1:], slow[1:], strict=True):
        # Total variation's slope jumps where both say the same: there a rounding decides on its sign.
        assert off(one, other) < (5e-4 if name == "total_variation" else 1e-5)


def test_a_soft_cap_and_a_temperature_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient comes in float32 then, and is brought to the products' type afterwards."""
    weights = torch.full((ROWS,), 1 / ROWS, device="cuda")
    terms = [Against(TABLE.load("jensen_shannon"), large(1), weights, 2.0)]
    fast = differentiated(large(0, softcap=5.0, scale=0.5), terms)
    monkeypatch.setattr(Kernel, "_wanted", lambda self, first: False)
    for one, other in zip(fast, differentiated(large(0, softcap=5.0, scale=0.5), terms), strict=True):
        assert off(one, other) < 1e-5


@pytest.mark.parametrize("kind", ["top k", "gold"])
def test_bfloat16_against_a_few_tokens(kind: str) -> None:
    """The same of terms whose gradient has single entries."""
    weights = torch.full((ROWS,), 1 / ROWS, device="cuda")
    term = Against(TABLE.load("forward_kl"), teachers()[kind], weights)
    learner = large(0, torch.bfloat16)
    exact = moved(learner, torch.float64, "cuda")
    for one, other in zip(differentiated(learner, [term]), differentiated(exact, [term]), strict=True):
        assert off(one, other) < 5e-3


@pytest.mark.parametrize("name", ["forward_kl", "jensen_shannon", "reverse_kl"])
def test_bfloat16_loses_nothing_on_the_way_there_and_a_rounding_on_the_way_back(name: str) -> None:
    """Against float64 on the same numbers: the value to 1e-5, gradients to half a percent of their length."""
    learner, teacher = large(0, torch.bfloat16), large(1, torch.bfloat16)
    value = loss(learner.hidden, learner.weight, teacher, name)
    found = gradients(value, learner)
    assert [one.dtype for one in found] == [torch.bfloat16] * 2
    exact, told = (moved(one, torch.float64, "cuda") for one in (learner, teacher))
    expected = loss(exact.hidden, exact.weight, told, name)
    assert off(value.detach(), expected.detach()) < 1e-5
    for one, other in zip(found, gradients(expected, exact), strict=True):
        assert off(one, other) < 5e-3


def test_autocast_multiplies_what_it_rounds() -> None:
    """Values are those of all numbers rounded to bfloat16; gradients come in the types of the weights."""
    learner, teacher = large(0), large(1, torch.bfloat16)
    with torch.autocast("cuda", torch.bfloat16):
        value = loss(learner.hidden, learner.weight, teacher, "jensen_shannon")
    found = gradients(value, learner)
    assert [one.dtype for one in found] == [torch.float32] * 2
    rounded = moved(learner, torch.bfloat16, "cuda")
    expected = loss(rounded.hidden, rounded.weight, teacher, "jensen_shannon")
    assert off(value.detach(), expected.detach()) < 1e-6
    for one, other in zip(found, gradients(expected, rounded), strict=True):
        assert off(one, other) < 5e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*TABLE.claiming("zero_at_equality"), "cross_entropy"])
def test_a_student_beside_itself_has_nothing_to_learn(name: str, dtype: torch.dtype) -> None:
    """No loss and no gradient beyond rounding (law 2); cross-entropy keeps the entropy."""
    learner = large(0, dtype)
    value = loss(learner.hidden, learner.weight, large(0, dtype), name, **targets(name))
    for gradient in gradients(value, learner):
        assert gradient.abs().max() < 1e-6
    if name != "cross_entropy":
        assert value.abs() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_does_not_grow_with_the_rows(dtype: torch.dtype) -> None:
    """Eight times the rows in chunks of the same size: the peak grows by what is handed in and out."""
    peaks = []
    for times in (1, 8):
        made = [torch.randn(n, WIDTH, device="cuda").to(dtype) for n in (times * 512, VOCAB) * 2]
        hidden, weight = (one.requires_grad_() for one in made[:2])
        for _ in range(2):
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            value = loss(hidden, weight, Hidden(*made[2:]), "jensen_shannon", chunk_rows=512)
            torch.autograd.grad(value, [hidden, weight])
            peaks.append(torch.cuda.max_memory_allocated() - before)
    handed_out = 8 * 512 * WIDTH * 4 * 2
    assert peaks[3] - peaks[1] < handed_out + 512 * 1024
    assert peaks[3] - peaks[1] < 512 * VOCAB * 4  # and by far less than a tile
