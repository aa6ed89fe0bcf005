"""Exposure bias on writers whose every sequence is known."""

from __future__ import annotations

import pytest
import torch
from toys import STUDENT, TEACHER, after_each, mean_by_step

from tutelage.divergences import forward_kl
from tutelage.errors import TutelageError
from tutelage.evaluation.exposure import exposure_bias, exposure_of, position_means

# Of the specification of the method: enumerated there, independently of this code.
KNOWN = {
    (2, None): ([0.18232395, 0.63288423], [0.18232395, 0.27189023], [0.0, 16.38598413]),
    (3, None): (
        [0.18232395, 0.63288423, 0.9740994],
        [0.18232395, 0.27189023, 0.3018351],
        [0.0, 16.38598413, 7.57522871],
    ),
    (2, 2): ([0.18232395, 0.6121036], [0.18232395, 0.26631374], [0.0, 14.92152006]),
}


@pytest.mark.parametrize(("length", "end"), KNOWN, ids=str)
def test_enumerated_writers_give_the_known_values(length: int, end: int | None) -> None:
    """Accumulated error, error per step and their excess, to 1e-7."""
    of_step = forward_kl(*after_each())
    found = exposure_bias(*(mean_by_step(of_step, who, length, end=end) for who in (STUDENT, TEACHER)))
    for ours, theirs in zip(
        (found.accumulated, found.per_step, found.percent), KNOWN[length, end], strict=True
    ):
        torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), rtol=0, atol=1e-7)
    assert found.said == f"{theirs[-1]:+.1f} % at length {length}"


def test_models_that_do_not_differ_have_no_exposure_bias_and_say_so() -> None:
    """0/0 is not 0: nothing was accumulated and nothing could be."""
    found = exposure_bias(torch.zeros(3), torch.zeros(3))
    assert bool(found.percent.isnan().all())
    assert "do not differ" in found.said


def test_means_are_over_live_sequences_unless_the_ended_count_as_nothing() -> None:
    """Three sequences of 1, 2 and 3 tokens, each with an error of 1 everywhere."""
    values = [torch.ones(1), torch.ones(3), torch.ones(2)]
    means, live = position_means(values)
    assert live.tolist() == [3, 2, 1]
    assert means.tolist() == [1, 1, 1]
    zeros, _ = position_means(values, finished="zero")
    torch.testing.assert_close(zeros, torch.tensor([3, 2, 1]).double() / 3)
    assert len(position_means(values, least=2)[0]) == 2
    with pytest.raises(TutelageError, match="finished is 'no'"):
        position_means(values, finished="no")


def test_a_student_that_ends_early_is_not_better_for_it() -> None:
    """The same error at every token, half as long: no excess at the positions that both reach."""
    short, long = [torch.full((3,), 0.5)] * 4, [torch.full((6,), 0.5)] * 4
    assert exposure_of(short, long).percent.tolist() == pytest.approx([0, 0, 0])


def test_unlike_numbers_of_positions_are_refused() -> None:
    """They could not be subtracted."""
    with pytest.raises(TutelageError, match="means by position"):
        exposure_bias(torch.ones(3), torch.ones(2))
