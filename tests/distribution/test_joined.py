"""Distributions end to end: each position says what its member says there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from strategies import Maker
from tutelage.distribution import Joined, kept
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate
from tutelage.divergences.scored import log_probs_of
from tutelage.errors import TutelageError


def parts(seed: int) -> tuple[Joined, torch.Tensor]:
    """Two members of three and four positions, shuffled, and the rows that come out."""
    one, other = Maker(3, 9, seed).full("f"), Maker(4, 9, seed + 1).full("d")
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    which, place = torch.tensor([0] * 3 + [1] * 4)[order], torch.tensor([0, 1, 2, 0, 1, 2, 3])[order]
    return Joined([one, other], which, place), torch.cat([one.log_probs(), other.log_probs()])[order]


@given(st.integers(0, 200))
def test_rows_are_those_of_the_members(seed: int) -> None:
    """Read at once, or in any slice."""
    joined, rows = parts(seed)
    assert_close(joined.log_probs(), rows)
    assert_close(joined.log_probs(slice(2, 5)), rows[2:5])


@given(st.integers(0, 200), st.sampled_from(["forward_kl", "reverse_kl", "total_variation"]))
def test_a_student_meets_them_as_it_meets_each(seed: int, name: str) -> None:
    """Fused values at every position are those of the rows written out."""
    joined, rows = parts(seed)
    student = Maker(7, 9, seed + 2).hidden("learner")
    divergence = TABLE.load(name)
    _, (values,) = evaluate(student, [Against(divergence, joined, torch.ones(7).double())], chunk_rows=3)
    assert_close(values, divergence(student.log_probs(), rows))


@given(st.integers(0, 200))
def test_kept_tokens_join_whatever_their_number(seed: int) -> None:
    """Two top-k of different k."""
    joined, _ = parts(seed)
    one, other = kept(joined.members[0], 2), kept(joined.members[1], 4)
    found = Joined([one, other], joined.which, joined.place).log_probs()
    rows = torch.cat([one.log_probs(), other.log_probs()])
    assert_close(found, rows[joined.which * 3 + joined.place])


@given(st.integers(0, 200), st.booleans())
def test_tokens_are_scored_as_the_rows_score_them(seed: int, cut: bool) -> None:
    """`log_probs_of` reads one token a position out of whole rows and out of kept ones."""
    joined, _ = parts(seed)
    teacher = kept(joined, 3) if cut else joined
    tokens = torch.randint(9, (7,), generator=torch.Generator().manual_seed(seed))
    expected = teacher.log_probs().gather(1, tokens[:, None])[:, 0]
    assert_close(log_probs_of(teacher, tokens), expected)


def test_vocabularies_must_be_one() -> None:
    """And whole rows are not joined with cut ones."""
    with pytest.raises(TutelageError, match=r"vocabularies of \[8, 9\] tokens"):
        Joined(
            [Maker(2, 9, 0).full("f"), Maker(2, 8, 0).full("f")], torch.tensor([0, 1]), torch.tensor([0, 0])
        )
    whole = Maker(2, 9, 0).full("f")
    mixed = Joined([whole, kept(whole, 2)], torch.tensor([0, 1]), torch.tensor([0, 0]))
    with pytest.raises(TutelageError, match="joined with one that knows all tokens"):
        mixed.log_probs()
    with pytest.raises(TutelageError, match="tokens for 2 positions"):
        log_probs_of(whole, torch.tensor([1]))
