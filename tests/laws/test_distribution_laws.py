"""Laws of distributions: every kind and every operation sums to one and is the same however it is read."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from strategies import KINDS, Maker, label, settings_claiming
from tutelage.distribution import (
    Dense,
    Distribution,
    Hidden,
    TopK,
    interpolated,
    mixed,
    product,
    renamed,
    restricted,
    shifted,
    tempered,
)
from tutelage.divergences import TABLE
from tutelage.divergences.plain import onto_support

SEEDS = st.integers(0, 10_000)
SIZES = st.integers(6, 10)


def of_student(m: Maker) -> Tensor:
    """The rows of the student that a moving teacher is read beside."""
    return m.full("the student").log_probs()


def read(kind: str, m: Maker) -> Tensor:
    """All rows of one kind."""
    return KINDS[kind](m).log_probs(student=of_student(m))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, vocab=SIZES)
@settings(max_examples=8)
def test_rows_sum_to_one(kind: str, seed: int, vocab: int) -> None:
    """Every row is a probability distribution over the whole vocabulary, in float64 to rounding."""
    log_probs = read(kind, Maker(4, vocab, seed))
    assert log_probs.shape == (4, vocab)
    assert_close(log_probs.exp().sum(-1), torch.ones(4).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, start=st.integers(0, 4), length=st.integers(1, 3))
@settings(max_examples=5)
def test_some_rows_are_the_same_rows_of_all(kind: str, seed: int, start: int, length: int) -> None:
    """Reading a slice equals slicing what was read, so chunks of positions can't matter."""
    m = Maker(5, 7, seed)
    chosen = slice(start, min(5, start + length))
    part = KINDS[kind](m).log_probs(chosen, student=of_student(m)[chosen])
    assert_close(part, read(kind, m)[chosen], atol=1e-13, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_of_several_tiles_is_walked_whole(kind: str) -> None:
    """Rows that straddle tiles of the vocabulary sum to one too, and every tile is said."""
    log_probs = read(kind, Maker(3, 2500, 1))
    assert log_probs.shape == (3, 2500)
    assert_close(log_probs.exp().sum(-1), torch.ones(3).double(), atol=1e-12, rtol=0)
    if kind not in ("gold", "top k and nothing else", "top k, taken for all"):
        for tile in log_probs.split(1024, 1):
            assert (tile > -math.inf).any(1).all()


@given(seed=SEEDS, vocab=SIZES)
def test_an_operation_on_lazy_rows_equals_the_same_on_rows_written_out(seed: int, vocab: int) -> None:
    """Hidden states in, or their log-probabilities in: the result is the same distribution."""
    m = Maker(4, vocab, seed)
    lazy = [m.hidden("a"), m.hidden("b", scale=0.5, softcap=2.0), m.hidden("c", bias=m.normal("x", vocab))]
    written = [Dense(d.log_probs()) for d in lazy]
    never = torch.tensor([1])
    sources, targets = m.ids("moves", 2).split(1, 1)
    results: list[list[Tensor]] = []
    for a, b, c in (lazy, written):
        found = [
            tempered(a, 1.7),
            product([a, b, c], [0.2, 1.0, 0.7]),
            interpolated(a, b, 0.25),
            shifted(a, towards=b, away_from=c, strength=1.2),
            mixed([a, b, c], [1.0, 2.0, 3.0]),
            restricted(mixed([a, b], [1.0, 1.0]), vocab - 1, never),
            restricted(a, vocab - 1, never),
            renamed(c, sources, targets, 1e-4),
        ]
        results.append([d.log_probs() for d in found])
    for one, other in zip(*results, strict=True):
        assert_close(one, other, atol=1e-12, rtol=0)


@given(seed=SEEDS, vocab=SIZES)
def test_operations_are_what_their_formulas_say(seed: int, vocab: int) -> None:
    """Against the definitions on whole rows, one line each."""
    m = Maker(4, vocab, seed)
    a, b, c = m.full("a"), m.dense("b"), m.full("c")
    la, lb, lc = (d.log_probs() for d in (a, b, c))
    weights = m.normal("weights", 4, 2).exp()
    share = (weights / weights.sum(1, keepdim=True))[..., None]
    expected = {
        "tempered": (tempered(b, 0.5), (2 * lb).log_softmax(-1)),
        "product": (product([a, b], [0.5, 2.0]), (0.5 * la + 2 * lb).log_softmax(-1)),
        "interpolated": (interpolated(a, b, 0.25), (0.75 * la + 0.25 * lb).log_softmax(-1)),
        "shifted": (
            shifted(b, towards=a, away_from=c, strength=1.5),
            (lb + 1.5 * (la - lc)).log_softmax(-1),
        ),
        "mixed": (mixed([a, b], [1.0, 3.0]), (0.25 * la.exp() + 0.75 * lb.exp()).log()),
        "mixed by position": (
            mixed([a, b], weights),
            (share[:, 0] * la.exp() + share[:, 1] * lb.exp()).log(),
        ),
    }
    for name, (found, by_hand) in expected.items():
        assert_close(found.log_probs(), by_hand, atol=1e-12, rtol=0, msg=lambda s, n=name: f"{n}: {s}")


@given(seed=SEEDS, vocab=SIZES)
def test_on_kept_columns_an_operation_is_the_same_formula_on_the_coarse_rows(seed: int, vocab: int) -> None:
    """Where a member kept k tokens, all are brought onto those and the rest; then the formula holds there."""
    m = Maker(4, vocab, seed)
    kept, full = m.top_k("k"), m.hidden("h")  # its logits are not normalised
    _, lk = kept.on_support()
    ld = onto_support(full.log_probs(), kept.ids)
    expected = {
        "tempered": (tempered(kept, 2.0), (lk / 2).log_softmax(-1)),
        "product": (product([full, kept], [0.5, 2.0]), (0.5 * ld + 2 * lk).log_softmax(-1)),
        "interpolated": (interpolated(kept, full, 0.25), (0.75 * lk + 0.25 * ld).log_softmax(-1)),
        "mixed": (mixed([full, kept], [1.0, 3.0]), (0.25 * ld.exp() + 0.75 * lk.exp()).log()),
    }
    for name, (found, by_hand) in expected.items():
        ids, rows = found.on_support()
        assert torch.equal(torch.as_tensor(ids), kept.ids), name
        assert_close(rows, by_hand, atol=1e-12, rtol=0, msg=lambda s, n=name: f"{n}: {s}")


@given(seed=SEEDS)
def test_two_that_kept_different_tokens_meet_on_those_both_kept(seed: int) -> None:
    """The finest columns that two cut rows share: tokens in both, and one for everything else."""
    m = Maker(5, 8, seed)
    one, other = m.top_k("k", 4), m.top_k("l", 3)
    ids, rows = mixed([one, other], [1.0, 1.0]).on_support()
    assert ids is not None
    for row in range(5):
        both = set(one.ids[row].tolist()) & set(other.ids[row].tolist())
        assert set(ids[row].tolist()) - {-1} == both
        for column, token in enumerate(ids[row].tolist()):
            if token >= 0:
                said = [float(d.log_probs()[row, token].exp()) for d in (one, other)]
                assert float(rows[row, column].exp()) == pytest.approx(sum(said) / 2, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(max_examples=5)
def test_neutral_elements_give_the_plain_thing_back(kind: str, seed: int) -> None:
    """Temperature 1, strength 0, t = 0 and 1, weight 1, full width and no moves change nothing."""
    m = Maker(4, 7, seed)
    plain, other = KINDS[kind](m), m.full("other")
    nowhere = torch.full((4, 2), -1)
    alone: list[Distribution] = [
        tempered(plain, 1.0),
        product([plain, other], [1.0, 0.0]),
        interpolated(plain, other, 0.0),
        interpolated(other, plain, 1.0),
        shifted(plain, towards=other, away_from=m.full("third"), strength=0.0),
        mixed([plain, other], [2.0, 0.0]),
        restricted(plain, 7),
        restricted(plain, 7, torch.tensor([], dtype=torch.long)),
    ]
    assert all(d is plain for d in alone), "neutral elements cost nothing"
    ids, expected = plain.on_support(student=of_student(m))
    for same in (
        mixed([plain, other], torch.tensor([[1.0, 0.0]] * 4)),
        mixed([plain, plain], [0.3, 0.7]),
        product([plain, plain], [0.3, 0.7]),
        shifted(plain, towards=other, away_from=other, strength=2.0),
        renamed(plain, nowhere, nowhere),
    ):
        columns, found = same.on_support(student=of_student(m))
        assert (columns is None) if ids is None else torch.equal(torch.as_tensor(columns), ids)
        assert_close(found, expected, atol=1e-12, rtol=0)


@given(seed=SEEDS, vocab=SIZES)
def test_keeping_all_tokens_is_keeping_the_whole_row(seed: int, vocab: int) -> None:
    """k = V gives the full row back, in any order of the kept tokens, and nothing is left for a rest."""
    m = Maker(3, vocab, seed)
    full = m.full("f").log_probs()
    order = m.ids("order", vocab)
    cut = TopK(order, full.gather(1, order), vocab)
    assert_close(cut.log_probs(), full, atol=1e-12, rtol=0)
    assert cut.log_tail is not None
    assert (cut.log_tail == -math.inf).all()


CLAIMED = list(settings_claiming("merging"))


@pytest.mark.parametrize(("name", "options"), CLAIMED, ids=[label(*claim) for claim in CLAIMED])
@given(seed=SEEDS, sharp=st.sampled_from([0.5, 3.0, 30.0]))
@settings(max_examples=8)
def test_a_cut_teacher_gives_a_lower_bound(name: str, options: dict, seed: int, sharp: float) -> None:
    """On k kept tokens and the rest an f-divergence is at most the one over all tokens."""
    m = Maker(4, 9, seed)
    divergence = TABLE.load(name)
    student = m.full("student").log_probs()
    teacher = (sharp * m.normal("teacher", 4, 9)).log_softmax(-1)
    kept, ids = teacher.topk(3, -1)
    support, coarse = TopK(ids, kept, 9).on_support()
    assert support is not None
    bound = divergence(onto_support(student, support), coarse, **options)
    assert (bound <= divergence(student, teacher, **options) + 1e-9).all()


@given(seed=SEEDS, vocab=SIZES)
def test_restricting_is_renormalising(seed: int, vocab: int) -> None:
    """What is said about the ids that stay keeps its proportions; what is cut away gets nothing."""
    m = Maker(4, vocab, seed)
    never = torch.tensor([0, 2])
    for whole in (m.hidden("h"), m.full("f"), mixed([m.hidden("h"), m.full("f")], [1.0, 1.0])):
        expected = whole.log_probs()[:, : vocab - 1].clone()
        expected[:, never] = -math.inf
        found = restricted(whole, vocab - 1, never).log_probs()
        assert_close(found, expected.log_softmax(-1), atol=1e-12, rtol=0)
        twice = restricted(restricted(whole, vocab - 1, torch.tensor([0])), vocab - 1, torch.tensor([2]))
        assert_close(twice.log_probs(), found, atol=1e-12, rtol=0)
    hidden = restricted(restricted(m.hidden("h"), vocab, torch.tensor([0, vocab - 1])), vocab - 1, never)
    assert isinstance(hidden, Hidden)
    assert hidden.never is not None
    assert hidden.never.tolist() == [0, 2]  # an id that was cut away need not be named


@given(seed=SEEDS, vocab=SIZES)
def test_tempering_twice_multiplies_temperatures(seed: int, vocab: int) -> None:
    """p^(1/2) ^(1/3) is p^(1/6), and tempering commutes with a product and a shift."""
    m = Maker(3, vocab, seed)
    a, b, c = m.full("a"), m.hidden("b"), m.full("c")
    assert_close(tempered(tempered(b, 2.0), 3.0).log_probs(), tempered(b, 6.0).log_probs())
    after = tempered(shifted(a, towards=b, away_from=c), 2.0)
    before = shifted(tempered(a, 2.0), towards=tempered(b, 2.0), away_from=tempered(c, 2.0))
    assert_close(after.log_probs(), before.log_probs(), atol=1e-12, rtol=0)
