"""Laws of divergences: every entry of the table is held to each law that it claims, with every option."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

from strategies import (
    choices,
    density,
    grouped_pairs,
    label,
    merge,
    pairs,
    rows,
    settings_claiming,
    told_ways,
)
from tutelage import registry
from tutelage.divergences import TABLE
from tutelage.interfaces import AfterStatistics

TESTED: set[str] = set()
SUMMED = [name for name in TABLE if getattr(TABLE.load(name), "slope_sum", None) is not None]
"""Divergences whose slopes have a sum that is known beforehand."""


def holds(law: str, *, with_options: bool = True) -> Callable[[Any], Any]:
    """Parametrise a test over everything that claims a law, and remember that the law has a test."""
    TESTED.add(law)
    found = list(settings_claiming(law)) if with_options else [(name, {}) for name in TABLE.claiming(law)]

    def mark(test: Any) -> Any:
        few = settings(max_examples=10 if with_options else 30)(test)
        ids = [label(name, options) for name, options in found]
        return pytest.mark.parametrize(("name", "options"), found, ids=ids)(few)

    return mark


def values(name: str, options: dict[str, Any], student: Tensor, teacher: Tensor) -> list[float]:
    """The divergence of two rows in nats: one number, or one for each token that is the target."""
    ways = told_ways(name, len(student))
    return [float(TABLE.load(name)(student, teacher, **told, **options).detach()) for told in ways]


def value(name: str, options: dict[str, Any], student: Tensor, teacher: Tensor) -> float:
    """The one number of a divergence that asks for no target."""
    (found,) = values(name, options, student, teacher)
    return found


def fades(options: dict[str, Any]) -> bool:
    """Whether the options leave out what tells some rows apart.

    Jensen-Shannon without its scale is zero at its ends; of two parts, one without weight says nothing.
    """
    unscaled = options.get("scaled") is False and options["beta"] in (0, 1)
    return unscaled or 0 in (options.get("target_weight"), options.get("non_target_weight"))


@holds("never_negative")
@given(rows=pairs())
def test_a_divergence_is_never_negative(
    name: str, options: dict[str, Any], rows: tuple[Tensor, Tensor]
) -> None:
    """D(student, teacher) >= 0, also where one says what the other never does; never NaN."""
    assert min(values(name, options, *rows)) >= -1e-12


@holds("zero_at_equality")
@given(row=rows(5), other=rows(5))
def test_a_divergence_is_zero_where_the_rows_agree_and_only_there(
    name: str, options: dict[str, Any], row: Tensor, other: Tensor
) -> None:
    """D(p, p) = 0, and D(q, p) > 0 as soon as two hundredths of the mass must move."""
    assert all(abs(found) <= 1e-12 for found in values(name, options, row, row.clone()))
    if (row.exp() - other.exp()).abs().sum() > 0.04:
        assert min(values(name, options, other, row)) > 1e-11 or fades(options)


@holds("exact_gradient")
@given(rows=pairs())
def test_the_slope_gives_the_gradient_that_autograd_finds(
    name: str, options: dict[str, Any], rows: tuple[Tensor, Tensor]
) -> None:
    """g_j - q_j sum g equals float64 autograd by logit j, and sums to zero over the vocabulary."""
    student, teacher = rows
    for told in told_ways(name, len(student)):
        logits = student.clone().requires_grad_()
        found = TABLE.load(name)(logits.log_softmax(-1), teacher, **told, **options)
        assume(bool(found.isfinite()))
        found.backward()
        with torch.no_grad():
            _, slope = density(name, student, teacher, **{k: v[None] for k, v in told.items()}, **options)
            gradient = slope - student.exp() * slope.sum()
        torch.testing.assert_close(gradient, logits.grad, atol=1e-10, rtol=1e-9)
        assert abs(float(gradient.sum())) <= 1e-10 * max(1.0, float(slope.abs().sum()))


@pytest.mark.parametrize("name", SUMMED)
@given(rows=pairs())
@settings(max_examples=30)
def test_slopes_sum_to_what_a_divergence_says(name: str, rows: tuple[Tensor, Tensor]) -> None:
    """Whatever student and teacher say, also where one of them says "never"."""
    _, slopes = TABLE.load(name).density(*rows)
    assert float(slopes.sum()) == pytest.approx(TABLE.load(name).slope_sum, abs=1e-12)


@pytest.mark.parametrize(
    "name", [name for name, entry in TABLE.items() if entry.trains and hasattr(TABLE.load(name), "slope_sum")]
)
def test_slopes_that_may_have_any_sum_are_not_said_to_have_one(name: str) -> None:
    """Two students of one teacher tell; who must first know something of the row has nothing to gain."""
    if isinstance(TABLE.load(name), AfterStatistics):
        assert name not in SUMMED
        return
    teacher, *students = (
        torch.tensor(row).double().log() for row in ([0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.7, 0.1, 0.2])
    )
    one, other = (float(TABLE.load(name).density(student, teacher)[1].sum()) for student in students)
    assert (abs(one - other) < 1e-12) == (name in SUMMED)


@holds("bounded_by_teacher")
@given(rows=pairs())
def test_value_and_slope_are_bounded_by_what_the_teacher_says(
    name: str, options: dict[str, Any], rows: tuple[Tensor, Tensor]
) -> None:
    """|f| <= p (1 + |log p| + |log q|) and |g| <= p: sums over tokens drawn from p vary little."""
    q, p = rows
    said = (p > -math.inf) & (q > -math.inf)
    f, g = TABLE.load(name).density(q, p, **options)
    assert (f[said].abs() <= (p.exp() * (1 + p.abs() + q.abs()))[said] + 1e-12).all()
    assert (g.abs() <= p.exp() * (1 + 1e-9)).all()


@holds("relabelling")
@given(rows=pairs())
def test_relabelling_tokens_changes_nothing(
    name: str, options: dict[str, Any], rows: tuple[Tensor, Tensor]
) -> None:
    """A permutation of the vocabulary, the same for both, leaves the value."""
    for row in rows:  # which of two equally good tokens comes first is told by their ids
        assume(int((row == row.max()).sum()) == 1)
    order = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(len(rows[0])))
    before = values(name, options, *rows)
    after = values(name, options, *(row[order] for row in rows))
    if len(before) > 1:  # a target is renamed like every other token
        before = [before[place] for place in order.tolist()]
    assert after == pytest.approx(before, rel=1e-10, abs=1e-12)


@holds("merging")
@given(case=grouped_pairs())
def test_merging_tokens_never_increases_the_divergence(
    name: str, options: dict[str, Any], case: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Data processing: whoever sees only groups of tokens sees less difference."""
    student, teacher, groups = case
    coarse = value(name, options, merge(student, groups), merge(teacher, groups))
    assert coarse <= value(name, options, student, teacher) + 1e-9


@holds("at_most_log_2", with_options=False)
@given(rows=pairs())
def test_it_is_at_most_log_2(name: str, options: dict[str, Any], rows: tuple[Tensor, Tensor]) -> None:
    """With default options it never exceeds log 2 nats."""
    assert value(name, options, *rows) <= math.log(2) + 1e-12


@holds("at_most_one", with_options=False)
@given(rows=pairs())
def test_it_is_at_most_one(name: str, options: dict[str, Any], rows: tuple[Tensor, Tensor]) -> None:
    """With default options it never exceeds one."""
    assert value(name, options, *rows) <= 1 + 1e-12


@holds("symmetric", with_options=False)
@given(rows=pairs())
def test_it_is_symmetric(name: str, options: dict[str, Any], rows: tuple[Tensor, Tensor]) -> None:
    """With default options student and teacher may change places."""
    student, teacher = rows
    there, back = value(name, options, student, teacher), value(name, options, teacher, student)
    assert there == pytest.approx(back, abs=1e-12)


def test_every_law_that_an_entry_claims_has_a_test() -> None:
    """A claim in the table that no test here looks at would be worth nothing."""
    claimed = frozenset().union(*(entry.laws for entry in TABLE.values()))
    assert claimed == TESTED


def test_every_option_is_tried_at_both_its_ends_and_between() -> None:
    """The laws saw every number an option takes: it is tried with five values or more, a switch with two."""
    for name in TABLE:
        for option in registry.options(TABLE[name]).values():
            tried = {given[option.name] for given in choices(name) if option.name in given}
            assert len(tried) >= (2 if option.annotation == "bool" else 5), (name, option.name)


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name].trains])
@given(rows=pairs())
@settings(max_examples=10)
def test_a_batch_of_rows_gives_the_value_of_each(name: str, rows: tuple[Tensor, Tensor]) -> None:
    """Leading axes are kept, and float32 rows give float32 nats close to those in float64."""
    student, teacher = rows
    ways = told_ways(name, len(student))
    for place, told in enumerate(ways):
        two = {key: torch.stack([target, ways[0][key]]) for key, target in told.items()}
        both = TABLE.load(name)(torch.stack([student, teacher]), torch.stack([teacher, student]), **two)
        expected = [values(name, {}, student, teacher)[place], values(name, {}, teacher, student)[0]]
        assert both.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
        single = TABLE.load(name)(student.float(), teacher.float(), **told)
        assert single.dtype == torch.float32
        assert float(single) == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
