"""Tokens drawn from a distribution: sums over them are right on average, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from strategies import PARTIAL, TRAINABLE, Maker, student
from tutelage.distribution import Dense, Hidden, Sampled, TopK, drawn, kept, mixed, restricted, tempered
from tutelage.divergences import TABLE, loss
from tutelage.errors import NotShared, OutOfRange, TutelageError

SERVED = [name for name in TRAINABLE if "bounded_by_teacher" in TABLE[name].laws]


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("power", [1.0, 0.6])
@pytest.mark.parametrize("name", SERVED)
def test_value_and_gradient_are_unbiased(name: str, power: float) -> None:
    """The mean over 4,000 independent positions lies within 5 standard errors of the exact one.

    About 40 numbers are compared a case, so a right implementation fails once in some 40,000 seeds; the
    seed is fixed.
    """
    m, n = Maker(1, 12, 3), 4000
    teacher = m.full("teacher").logs.expand(n, -1)
    learner = student(m)
    states = learner.hidden.detach().expand(n, -1).clone().requires_grad_()

    def of(told: Dense | Sampled) -> tuple[Tensor, Tensor]:
        value = loss(states, learner.weight.detach(), told, name) * n
        (gradient,) = torch.autograd.grad(value, states)
        return value.detach() / n, gradient

    exact, exact_gradient = of(Dense(teacher))
    estimate, gradients = of(drawn(Dense(teacher), 5, seeded(1), power=power))
    assert_close(exact_gradient[0], exact_gradient[-1])
    error = gradients.mean(0) - exact_gradient[0]
    assert (error.abs() <= 5 * gradients.std(0) / math.sqrt(n) + 1e-12).all()
    spread = torch.stack([of(drawn(Dense(teacher), 5, seeded(s), power=power))[0] for s in range(2, 12)])
    assert abs(float(estimate - exact)) <= 5 * float(spread.std()) + 1e-12


def test_the_weights_estimate_the_probabilities() -> None:
    """Averaged over many draws the weights are the probabilities, and no token twice in a row of them."""
    p = Maker(1, 9, 5).full("p").log_probs().expand(3000, -1)
    for power in (1.0, 0.5):
        tokens = drawn(Dense(p), 6, seeded(7), power=power)
        estimates = tokens.log_probs().exp()
        error = estimates.mean(0) - p[0].exp()
        assert (error.abs() <= 5 * estimates.std(0) / math.sqrt(3000) + 1e-12).all()
    ordered = tokens.ids.sort(1).values
    assert not ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()


def test_drawn_from_itself_a_tokens_weight_is_its_share_of_the_draws() -> None:
    """With power 1 the weights of a row are multiples of one over the draws and sum to one."""
    tokens = drawn(Maker(50, 9, 5).hidden("h"), 8, seeded(0))
    assert_close(tokens.weights.sum(1), torch.ones(50).double())
    assert_close(tokens.weights * 8, (tokens.weights * 8).round())


def test_the_same_seed_draws_the_same() -> None:
    """Chance comes from the generator alone."""
    h = Maker(5, 40, 1).hidden("h")
    first, again, other = (drawn(h, 10, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, other.ids)


def test_what_is_never_said_is_never_drawn() -> None:
    """Tokens of probability zero stay away, at either end of the vocabulary too."""
    logs = torch.zeros(200, 6, dtype=torch.float64)
    logs[:, [0, 3, 5]] = -math.inf
    tokens = drawn(Dense(logs), 20, seeded(0))
    assert set(tokens.ids.unique().tolist()) <= {-1, 1, 2, 4}


def test_rare_tokens_of_a_large_vocabulary_are_drawn_as_often_as_they_should() -> None:
    """Half of the mass spread over 100,000 tokens gets half of the draws, in float32 rows."""
    logs = torch.full((100, 100_001), math.log(0.5 / 100_000))
    logs[:, 0] = math.log(0.5)
    tokens = drawn(Dense(logs), 100, seeded(0))
    share = float(tokens.weights[tokens.ids > 0].sum() / 100)
    assert abs(share - 0.5) <= 5 * 0.5 / math.sqrt(100 * 100)


@pytest.mark.parametrize("kind", PARTIAL)
def test_no_operation_takes_what_is_only_known_in_part(kind: str) -> None:
    """Tempering and mixing need the tokens that nobody knows."""
    m = Maker(3, 8, 0)
    partly = PARTIAL[kind](m)
    for combined in (tempered(partly, 2.0), mixed([partly, m.dense("d")], [0.5, 0.5])):
        with pytest.raises(TutelageError, match="only some tokens are known"):
            combined.log_probs()


def test_a_drawn_token_that_is_not_shared_is_refused() -> None:
    """Leaving it out would bias the estimate."""
    tokens = Sampled(torch.tensor([[2, 7]]), torch.tensor([[-0.5, -1.0]]), torch.tensor([[0.5, 0.5]]), 9)
    assert restricted(tokens, 8).vocab_size == 8
    with pytest.raises(NotShared, match="the drawn token 7 is not shared"):
        restricted(tokens, 7)
    with pytest.raises(NotShared, match="the drawn token 2 is not shared"):
        restricted(tokens, 8, torch.tensor([2]))


@pytest.mark.parametrize(("draws", "power"), [(0, 1.0), (3, 0.0), (3, 1.5)])
def test_draws_out_of_range_are_refused(draws: int, power: float) -> None:
    """At least one draw, from a power above zero and at most one."""
    with pytest.raises(OutOfRange, match="draws from"):
        drawn(Maker(1, 5, 0).full("f"), draws, power=power)


def test_logits_are_not_taken_for_probabilities() -> None:
    """A drawn token cannot have a probability above one, nor a negative weight."""
    ids = torch.tensor([[0, 1]])
    for logs, weights in (([3.0, -1.0], [0.5, 0.5]), ([-1.0, -1.0], [1.5, -0.5])):
        with pytest.raises(OutOfRange):
            Sampled(ids, torch.tensor([logs]), torch.tensor([weights]), 4)


@pytest.mark.parametrize("k", [1, 3, 2500])
def test_the_best_tokens_are_kept_whatever_the_tiles(k: int) -> None:
    """Kept lazily equals the k best of rows written out, over three tiles of the vocabulary."""
    h = Maker(4, 2500, 2).hidden("h")
    best = kept(h, k)
    logs, ids = h.log_probs().topk(k, -1)
    assert_close(best.log_probs_kept, logs)
    assert torch.equal(best.ids, ids)
    assert_close(best.log_probs().exp().sum(-1), torch.ones(4).double())


def test_keeping_fewer_of_the_kept_adds_to_the_rest() -> None:
    """Top-k of a top-k is the smaller top-k."""
    h = Maker(4, 30, 2).hidden("h")
    once, twice = kept(h, 3), kept(kept(h, 10), 3)
    assert torch.equal(once.ids, twice.ids)
    assert_close(once.on_support()[1], twice.on_support()[1])


def test_tokens_of_no_probability_are_not_kept() -> None:
    """They leave empty columns, and nothing is asked of them."""
    logs = torch.tensor([[0.0, -math.inf, 0.0, -math.inf]])
    best = kept(Dense(logs), 3)
    assert sorted(best.ids[0].tolist()) == [-1, 0, 2]


def test_renormalised_and_dropped_rests_are_what_their_names_say() -> None:
    """By hand: three tokens, the student even, the teacher 0.5, 0.3, 0.2, two kept."""
    teacher = torch.tensor([[0.5, 0.3]], dtype=torch.float64).log()
    ids, even = torch.tensor([[0, 1]]), torch.zeros(3, 2, dtype=torch.float64)
    state = torch.zeros(1, 2, dtype=torch.float64)

    def value(tail: str) -> float:
        return float(loss(state, even, TopK(ids, teacher, 3, tail=tail)))  # pyright: ignore[reportArgumentType]

    p, q = [0.5, 0.3, 0.2], 1 / 3
    assert value("bucket") == pytest.approx(sum(x * math.log(x / q) for x in p))
    assert value("drop") == pytest.approx(sum(x * math.log(x / q) for x in p[:2]))
    assert value("renormalise") == pytest.approx(sum(x / 0.8 * math.log(x / 0.8 / q) for x in p[:2]))


def test_one_tile_of_a_hidden_teacher_is_read_once() -> None:
    """Terms that share a teacher share its products: it is opened once a chunk."""
    opened = []

    class Counting(Hidden):
        def open(self, *arguments: object, **named: object) -> object:  # type: ignore[override]
            opened.append(1)
            return super().open(*arguments, **named)  # type: ignore[arg-type]

    from tutelage.divergences.fused import Against, evaluate

    m = Maker(6, 9, 0)
    h = m.hidden("h")
    teacher = Counting(h.hidden, h.weight)
    terms = [
        Against(TABLE.load(name), teacher, torch.ones(6).double()) for name in ("forward_kl", "reverse_kl")
    ]
    evaluate(student(m), terms, chunk_rows=3)
    assert len(opened) == 2
