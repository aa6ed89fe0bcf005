"""The walk as a GPU takes it equals the slow twin too: few large slices, slopes computed a second time.

Here it is taken on a CPU, in float64, so that it is tested where there is no GPU; tests/gpu does the rest.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_fused_laws import LATER, compared, watching
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
    known,
    student,
)
from tutelage import compiled
from tutelage.distribution import base, gold, hidden
from tutelage.distribution.device import ON_CPU, ON_GPU
from tutelage.divergences import TABLE, loss, walk
from tutelage.divergences.bodies import assemble, compare, gradient, sums
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.middle import forward_to_middle
from tutelage.estimators.surrogates import clipped_ratio
from tutelage.numerics import LOG2E, LOWEST, RunningNormaliser, _taken_in


@pytest.fixture(autouse=True)
def cut_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With slices of 128 tokens, so that there are several."""
    monkeypatch.setattr(base, "sizes", lambda device: replace(ON_GPU, tokens=128, elements=0))


@pytest.mark.parametrize("kind", [*KINDS, *PARTIAL])
@pytest.mark.parametrize("place", range(len(TRAINABLE)))
def test_value_and_gradients_equal_the_plain_twin(kind: str, place: int) -> None:
    """Nats of every position, and gradients by hidden states, weight and bias, of every option."""
    name, heads = TRAINABLE[place], list(HEADS)
    teacher = (KINDS | PARTIAL)[kind](Maker(1, 6, 0))
    if teacher.needs is not None and teacher.needs not in TABLE[name].laws:
        return
    if kind in PARTIAL and name in LATER:
        return
    for seed, options in enumerate(choices(name)):
        head = heads[(place + seed) % len(heads)]
        warm = 1.0 if kind in PARTIAL else (1.0, 0.5, 2.3)[seed % 3]
        compared(Maker(5, 6 + seed % 4, seed), kind, head, name, warm, (None, 2, 3)[seed % 3], options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_of_several_slices_gives_the_same(kind: str) -> None:
    """With 300 tokens: two slices of whole blocks, one that is no block."""
    for place, (name, head) in enumerate(zip(TRAINABLE, itertools.cycle(HEADS))):
        compared(Maker(3, 300, 4), kind, head, name, (1.0, 1.6)[place % 2], 2, {})


@pytest.mark.parametrize(
    "kinds", [("hidden", "gold"), ("top k", "mixed", "gold"), ("hidden", "dense", "mixed")]
)
def test_several_teachers_at_once_are_the_sum_of_each(kinds: tuple[str, ...]) -> None:
    """Only one of them can have its slopes computed again; the others' are kept."""
    m = Maker(5, 200, 7)
    learner = student(m, "bias, scale and softcap")
    terms = [
        Against(TABLE.load(name), KINDS[kind](m), m.normal(f"{name} {kind}", 5).clamp(min=0), warm)
        for kind in kinds
        for name, warm in (("jensen_shannon", 1.0), ("skew_forward_kl", 1.0), ("total_variation", 1.7))
    ]
    together = gradients(evaluate(learner, terms)[0], learner)
    each = [gradients(evaluate(learner, [term])[0], learner) for term in terms]
    for whole, *parts in zip(together, *each, strict=True):
        assert_close(whole, torch.stack(parts).sum(0), atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("kinds", [("hidden", "hidden"), ("hidden", "gold"), ("top k", "mixed")])
def test_what_is_watched_moves_nothing(kinds: tuple[str, str]) -> None:
    """As on a CPU."""
    watching(Maker(5, 200, 7), kinds, "bias, scale and softcap", 1.7)


def test_positions_that_fill_up_a_tile_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven positions become sixteen; values, gradients and the untouched rows are those of eleven."""
    m = Maker(14, 70, 3)
    mask = torch.ones(14, dtype=torch.bool).index_fill(0, torch.tensor([0, 5, 13]), False)
    found = []
    for sizes in (ON_GPU, ON_CPU):
        monkeypatch.setattr(base, "sizes", lambda device, sizes=sizes: sizes)
        learner = student(m)
        value = loss(learner.hidden, learner.weight, m.dense("d"), "jensen_shannon", mask)
        found.append([value, *gradients(value, learner)])
    assert_close(found[0], found[1], atol=1e-12, rtol=1e-12)
    assert (found[0][1][~mask] == 0).all()


@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_the_bodies_of_a_gpu_make_what_those_of_a_cpu_make(name: str, scale: float) -> None:
    """Sums, and the gradient with slopes computed on the way, of two terms with an idle position."""
    m = Maker(8, 128, 5)
    logits, told = (m.normal(which, 128, 8) for which in ("logits", "told"))
    norms = (logits * scale).logsumexp(0), told.logsumexp(0)
    rows = logits * scale - norms[0] if scale != 1 else logits - norms[0], told - norms[1]
    options = known(name, *rows, **beside(name, m))
    terms = ((TABLE.load(name), tuple(options.items())), (TABLE.load("forward_kl"), ()))
    weights = m.normal("weights", 2, 8)
    weights[0, 3] = 0
    coefficient = m.normal("coefficient", 8)
    dense = told.clone()
    expected = compare(
        terms, scale, logits, told, *norms, weights * scale, (0, 1), True, dense, add=False, keep=None
    )
    assert_close(sums(logits, told, *norms, terms, scale), expected, atol=1e-12, rtol=1e-12)
    by_hand = assemble(dense, logits, [(scale, norms[0], coefficient)], torch.empty_like(logits))
    parts = ((norms[0], coefficient),)
    given = (logits, None, told, norms[1], weights * scale, parts, (scale,), terms, torch.float64)
    assert_close(gradient(*given, valued=True), (by_hand, expected[0]), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("tokens", [64, 192, 50, 100])
def test_a_normaliser_block_by_block_is_the_same(tokens: int) -> None:
    """Also where a block, or all so far, is never said."""
    m = Maker(3, tokens, 8)
    tiles = [30 * m.normal(f"tile {place}", tokens, 3) for place in range(3)]
    tiles[0][:, 0] = -torch.inf
    tiles[1][:50, 1] = -torch.inf
    running, shift, total = RunningNormaliser(3, tiles[0], 0.7), torch.full((3,), LOWEST), torch.zeros(3)
    shift, total = shift.double(), total.double()
    for tile in tiles:
        shift, total = _taken_in(tile, shift, total, 0.7 * LOG2E)
        running.add(tile)
        assert_close(shift / LOG2E + total.log(), running.value(), atol=1e-12, rtol=1e-12)


def rounded_product(out: Tensor, a: Tensor, b: Tensor, *, keep: bool = True) -> None:
    """What a GPU makes of bfloat16: exact products, added up in the type of ``out``."""
    out.copy_(a.float() @ b.float() + (out.float() if keep else 0))


@pytest.mark.parametrize("kind", [*KINDS, *PARTIAL])
@pytest.mark.parametrize("name", ["forward_kl", "jensen_shannon", "skew_forward_kl", "cross_entropy"])
def test_bfloat16_on_every_way_through_the_walk(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's types, with its products made on a CPU: half a percent off float64 on the same numbers."""
    monkeypatch.setattr(base, "multiplies_bfloat16", lambda device: True)
    for module in (hidden, walk):
        monkeypatch.setattr(module, "add_product", rounded_product)
    m = Maker(6, 200, 2)
    made = (KINDS | PARTIAL)[kind](m)
    if made.needs is not None and made.needs not in TABLE[name].laws:
        return
    learner = moved(student(m, "bias, scale and softcap" if name == "forward_kl" else "bias"), torch.bfloat16)
    found = [learner, moved(learner, torch.float64)]
    told = [moved(made, torch.bfloat16), moved(moved(made, torch.bfloat16), torch.float64)]
    sides = []
    for one, teacher in zip(found, told, strict=True):
        weights = torch.tensor([0.0, 1, 2, 1, 0.5, 0.1], dtype=torch.float64)
        total, (values,) = evaluate(one, [Against(TABLE.load(name), teacher, weights)], chunk_rows=4)
        if not values.isfinite().all():
            return
        sides.append([total.detach().double(), *(g.double() for g in gradients(total, one))])
    for one, other in zip(*sides, strict=True):
        assert (one - other).norm() <= 0.01 * other.norm() + 1e-5


class Broken(torch.nn.Module):
    """Stands for a compiler that is not there."""

    def forward(self, *_: object) -> object:
        """Fails."""
        raise ImportError("no compiler\nfound here")


def test_what_cannot_be_compiled_runs_as_it_is_written_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has failed it is not tried again; the reason is kept."""
    monkeypatch.setattr(compiled, "NOT_COMPILED", {})
    tried: list[str] = []

    def compile_(function: object, **_: object) -> object:
        tried.append("compiled")
        return Broken()

    monkeypatch.setattr(compiled.torch, "compile", compile_)
    one = compiled.Kernel(torch.mul, (2.0,))
    monkeypatch.setattr(compiled.Kernel, "_wanted", lambda self, first: True)
    for _ in range(2):
        assert torch.equal(one(torch.ones(3)), torch.full((3,), 2.0))
    assert tried == ["compiled"]
    assert list(compiled.NOT_COMPILED.values()) == ["ImportError: no compiler"]


WITHOUT_KERNELS = "aot_eager_decomp_partition"
"""All that the compiler does of a function before it writes kernels."""

NEEDED = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@pytest.mark.parametrize("name", [name for name in TRAINABLE if len(choices(name)) > 1 and name not in LATER])
@pytest.mark.parametrize(
    "backend", [WITHOUT_KERNELS, pytest.param("inductor", marks=[pytest.mark.long, NEEDED])]
)
def test_the_compiler_takes_divergences_with_options(
    name: str, backend: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """For a CPU, as it would for a GPU: defaults are constants, and the same numbers come out."""
    if pytestconfig.getoption("jaxtyping_packages"):
        pytest.skip("what checks shapes around every function cannot be compiled")
    monkeypatch.setattr(compiled, "NOT_COMPILED", {})
    compile_ = torch.compile

    def with_backend(function: Any, *, options: Any, **how: Any) -> Any:
        chosen = {"options": options} if backend == "inductor" else {"backend": backend}
        return compile_(function, **how, **chosen)

    monkeypatch.setattr(compiled.torch, "compile", with_backend)
    compiled.kernel.cache_clear()
    m = Maker(16, 300, 5)
    learner, weights = student(m), m.normal("weights", 16).abs()
    found = []
    for wanted in (False, True):
        monkeypatch.setattr(compiled.Kernel, "_wanted", lambda self, first, wanted=wanted: wanted)
        terms = [Against(TABLE.load(name), m.dense("d"), weights)]
        total, _ = evaluate(learner, terms)
        found.append([total.detach(), *gradients(total, learner)])
    assert not compiled.NOT_COMPILED
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_kernel_is_the_same_for_the_same_arguments() -> None:
    """So that it is compiled once, whatever evaluates it."""
    terms = ((TABLE.load("forward_kl"), ()),)
    assert compiled.kernel(sums, terms, 1.0) is compiled.kernel(sums, terms, 1.0)
    assert compiled.kernel(sums, terms, 1.0) is not compiled.kernel(sums, terms, 2.0)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_options_by_position_are_taken_the_same_way(
    softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A middle of its own at every position, and a clipped ratio of drawn tokens: as on a CPU."""
    m = Maker(11, 300, 5)
    told = {"share": m.normal("share", 11).sigmoid()}
    tokens = m.ids("drawn", 1)[:, 0]
    drawn = {"advantage": m.normal("advantage", 11), "log_behaviour": m.normal("behaviour", 11) - 5}
    found = []
    for sizes in (ON_GPU, ON_CPU):
        monkeypatch.setattr(base, "sizes", lambda device, sizes=sizes: replace(sizes, tokens=128))
        learner = replace(student(m), softcap=softcap)
        weights, teacher = m.normal("weights", 11).abs(), m.dense("d")
        terms = [
            Against(forward_to_middle, teacher, weights, by_position=told),
            Against(clipped_ratio, gold(tokens, 300, weights), weights, by_position=drawn),
        ]
        for asked in (terms[:1], terms[1:], terms):
            total, values = evaluate(learner, asked, chunk_rows=4)
            found.append([total.detach(), *values, *gradients(total, learner)])
    for one, other in zip(found[:3], found[3:], strict=True):
        for ours, theirs in zip(one, other, strict=True):
            assert_close(ours, theirs, atol=1e-12, rtol=1e-10)
