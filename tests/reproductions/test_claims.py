"""Verdicts on numbers that were made up: what holds, what fails, and what nobody can tell."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.reproductions import TABLE
from tutelage.reproductions.claims import (
    NOT_REPRODUCED,
    REPRODUCED,
    TOO_SMALL,
    Claim,
    at_least,
    between,
    judged,
    less,
    verdict,
    within,
)

ABOVE = st.lists(st.floats(0, 2, exclude_min=True), min_size=3, max_size=6)
MARGINS = st.lists(st.floats(-2, 2), min_size=3, max_size=6)


def numbers(**arms: float) -> dict[str, dict[str, float]]:
    """One number ``x`` with a standard error of 0.1 for each arm."""
    return {name: {"x": value, "x_error": 0.1} for name, value in arms.items()}


@given(margins=st.lists(ABOVE, min_size=1, max_size=4))
def test_what_holds_on_every_seed_is_reproduced(margins: list[list[float]]) -> None:
    """However small the margin."""
    assert verdict(margins) == REPRODUCED


@given(margins=st.lists(MARGINS, min_size=1, max_size=4), bad=MARGINS)
def test_one_inequality_that_fails_on_the_mean_is_enough(
    margins: list[list[float]], bad: list[float]
) -> None:
    """Whatever the others say."""
    below = [value - max(sum(bad) / len(bad), 0) - 1 for value in bad]
    assert verdict([*margins, below]) == NOT_REPRODUCED


def test_between_the_two_nobody_can_tell() -> None:
    """Fails on one seed and holds on the mean; or too few seeds; or a number that is not defined."""
    assert verdict([[1.0, 1.0, -0.1]]) == TOO_SMALL
    assert verdict([[1.0, 1.0]]) == TOO_SMALL
    assert verdict([[1.0, 1.0, math.nan]]) == TOO_SMALL
    assert verdict([]) == TOO_SMALL


def test_two_seeds_can_still_refute() -> None:
    """A mean on the wrong side is told as such."""
    assert verdict([[-1.0, 0.5]]) == NOT_REPRODUCED


def test_less_is_strict_and_asks_for_as_many_errors() -> None:
    """A margin in the unit of the number."""
    found = numbers(low=1.0, high=2.0, same=1.0)
    assert less("low", "high", "x")(found) == 1.0
    assert less("low", "same", "x")(found) == 0.0
    assert less("low", "high", "x", share=0.4)(found) == pytest.approx(-0.2)
    assert less("low", "high", "x", errors=3.0)(found) == pytest.approx(1 - 3 * math.hypot(0.1, 0.1))
    assert verdict([[less("low", "same", "x")(found)] * 3]) == NOT_REPRODUCED


def test_at_least_takes_a_tie() -> None:
    """Equal is no worse."""
    found = numbers(one=1.0, other=1.0, more=1.5)
    assert at_least("one", "other", "x")(found) > 0
    assert at_least("one", "more", "x")(found) == -0.5


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 1))
def test_between_does_not_ask_which_is_lower(one: float, other: float, share: float) -> None:
    """A mixture of two different numbers lies between them, on either side none does."""
    low, high = sorted((one, other))
    found = numbers(one=one, other=other, middle=low + share * (high - low), above=1.02 * high)
    margin = between("middle", "one", "other", "x")(found)
    assert margin >= -1e-12
    assert between("above", "one", "other", "x")(found) < 0
    assert between("above", "one", "other", "x", outside=0.03)(found) > 0
    assert margin == pytest.approx(between("middle", "other", "one", "x")(found))


def test_within_is_in_standard_errors_of_the_difference() -> None:
    """Near on both sides alike."""
    found = numbers(one=1.0, near=1.1, far=1.2)
    assert within("one", "near", "x")(found) == pytest.approx(math.hypot(0.1, 0.1) - 0.1)
    assert within("near", "one", "x")(found) == within("one", "near", "x")(found)
    assert within("one", "far", "x")(found) < 0


def test_a_finding_tells_seed_by_seed() -> None:
    """Margins by inequality and seed, whether all hold on a seed, null where nothing is defined."""
    claim = Claim("a", "says", "if", {"x": less("low", "high", "x"), "y": less("low", "top", "x")}, "note")
    found = {
        2: numbers(low=1.0, high=2.0, top=0.5),
        0: numbers(low=1.0, high=2.0, top=3.0),
        1: numbers(low=1.0, high=2.0, top=math.nan),
    }
    told = judged(claim, found).to_json()
    assert told["seeds"] == [0, 1, 2]
    assert told["margins"] == {"x": [1.0, 1.0, 1.0], "y": [2.0, None, -0.5]}
    assert told["holds"] == [True, False, False]
    assert told["verdict"] == TOO_SMALL
    assert told["note"] == "note"


@pytest.mark.parametrize("name", TABLE)
def test_every_claim_asks_for_arms_that_are_run(name: str, tmp_path) -> None:
    """On numbers that say 1 everywhere each margin is a number, and every piece's needs exist before it."""
    of = TABLE.load(name)()
    pieces = of.pieces(tmp_path, 0, False)
    measures = {column.number for column in of.columns} | {f"exposure_{n}" for n in (10, 12, 14, 16)}
    ones = {one: 1.0 for measure in measures for one in (measure, f"{measure}_error")}
    found = {piece.name: ones for piece in pieces}
    for claim in of.claims:
        assert claim.margins
        assert all(math.isfinite(margin(found)) for margin in claim.margins.values())
    assert len({claim.name for claim in of.claims}) == len(of.claims)
    names = [piece.name for piece in pieces]
    assert len(set(names)) == len(names)
    assert all(need in names for piece in pieces for need in piece.needs)
    assert {piece.name.rpartition("/")[0] for piece in pieces if piece.shown} == set(of.set_ups)
    assert of.name == name


@pytest.mark.parametrize("name", TABLE)
def test_a_smoke_test_is_not_taken_for_the_whole(name: str, tmp_path) -> None:
    """Each piece that is smaller has an identity of its own."""
    of = TABLE.load(name)()
    whole, smoke = (of.pieces(tmp_path, 0, small) for small in (False, True))
    assert [piece.name for piece in whole] == [piece.name for piece in smoke]
    assert not {piece.identity for piece in whole} & {piece.identity for piece in smoke}
