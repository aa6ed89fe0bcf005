"""Risks, bounds and divergences of sequences, against writers whose every sequence is known."""

from __future__ import annotations

import math

import pytest
import torch
from toys import STUDENT, TEACHER, Writer, after_each, chance, mean_by_step, nats, sequences

from tutelage.divergences import TABLE
from tutelage.evaluation.risks import per_sequence, per_token, risk, sequence_js, sequence_tv, step_bound
from tutelage.evaluation.steps import DIVERGENCES

# Of the specification of f-DISTILL: enumerated there, independently of this code.
KNOWN = {
    (2, None): {"rkl": 0.7571511, "js": 0.14919721, "tvd": 0.68938258},
    (3, None): {"rkl": 1.19075255, "js": 0.24175759, "tvd": 1.05506188},
    (2, 2): {"rkl": 0.73483704, "js": 0.14515551, "tvd": 0.65763268},
}
EXACT = {
    (2, None): (0.1415714, 0.44393686),
    (3, None): (0.21668161, 0.55596939),
    (2, 2): (0.13789284, 0.44393686),
}


@pytest.mark.parametrize(("length", "end"), KNOWN, ids=str)
def test_step_wise_sums_of_enumerated_writers_are_the_known_ones(length: int, end: int | None) -> None:
    """Sequence reverse KL, and the bounds on JS and TVD from a half on each writer's prefixes."""

    def total(name: str, writer: Writer) -> torch.Tensor:
        divergence, options = DIVERGENCES[name]
        of_step = TABLE.load(divergence)(*after_each(), **options)
        return mean_by_step(of_step, writer, length, end=end)

    known = KNOWN[length, end]
    assert float(total("reverse_kl", STUDENT).sum()) == pytest.approx(known["rkl"], abs=1e-7)
    halves = [total("js_teacher", TEACHER)], [total("js_student", STUDENT)]
    assert step_bound(*halves) == pytest.approx(known["js"], abs=1e-7)
    halves = [total("total_variation", TEACHER)], [total("total_variation", STUDENT)]
    assert step_bound(*halves) == pytest.approx(known["tvd"], abs=1e-7)


@pytest.mark.parametrize(("length", "end"), EXACT, ids=str)
def test_divergences_of_sequences_come_near_the_exact_ones(length: int, end: int | None) -> None:
    """20,000 sequences of each writer: within 4 standard errors (an error is at most 0.01)."""
    every = sequences(length, end=end)
    drawn = []
    for seed, writer in enumerate((TEACHER, STUDENT)):
        chances = torch.tensor([chance(writer, one) for one in every])
        assert float(chances.sum()) == pytest.approx(1)
        generator = torch.Generator().manual_seed(seed)
        picked = torch.multinomial(chances, 20_000, replacement=True, generator=generator).tolist()
        under = [[nats(who, one) for one in every] for who in (STUDENT, TEACHER)]
        drawn.append(tuple([values[i] for i in picked] for values in under))
    js, tvd = EXACT[length, end]
    assert sequence_js(*drawn) == pytest.approx(js, abs=0.015)
    assert sequence_tv(*drawn) == pytest.approx(tvd, abs=0.015)


def test_a_writer_is_not_apart_from_itself() -> None:
    """Every divergence of a sequence from the same writer is exactly 0."""
    own = [nats(TEACHER, one) for one in sequences(3)]
    assert sequence_js((own, own), (own, own)) == pytest.approx(0, abs=1e-15)
    assert sequence_tv((own, own), (own, own)) == 0


def test_long_sequences_of_unlike_writers_are_told_apart() -> None:
    """JS goes to log 2 and TVD to 1, and neither goes beyond."""
    likely, unlikely = [torch.full((400,), 1.0).double()], [torch.full((400,), 3.0).double()]
    assert sequence_js((unlikely, likely), (likely, unlikely)) == pytest.approx(math.log(2))
    assert sequence_tv((unlikely, likely), (likely, unlikely)) == pytest.approx(1)


def test_a_risk_weighs_every_sequence_the_same() -> None:
    """Means of sequences first: 1 and 3 give 2, however long each is."""
    values = [torch.ones(9), torch.full((1,), 3.0)]
    assert risk(values) == 2
    assert per_token(values).tolist() == [1, 3]
    assert per_sequence(values).tolist() == [9, 3]
