"""The schedule of TAID: reference rows, bounds, bad values, resuming."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import OutOfRange, TutelageError
from tutelage.schedules import Ramp, Schedule, logistic

LOSSES = [2.0, 1.8, 1.9, 1.5, 1.5, 1.2, 3.0, 1.0]
ROWS: dict[str, tuple[Ramp, list[float], list[tuple[float, float, float]]]] = {
    # t at the step, momentum after it, t after it: reference vectors of the specification of TAID.
    "on the ramp": (
        Ramp(steps=8, start=0.4, end=1.0, step_size=0.0005, momentum=0.99),
        LOSSES,
        [
            (0.4, 0.0, 0.4),
            (0.4, 0.001, 0.475),
            (0.475, 0.0004344444444, 0.55),
            (0.55, 0.002535363158, 0.625),
            (0.625, 0.002510009526, 0.7),
            (0.7, 0.004484909431, 0.775),
            (0.775, -0.01055993966, 0.85),
            (0.85, -0.0037876736, 0.925),
        ],
    ),
    "ahead of it": (
        Ramp(steps=8, start=0.2, end=1.0, step_size=0.3, momentum=0.9),
        LOSSES,
        [
            (0.2, 0.0, 0.2),
            (0.2, 0.01, 0.320599995),
            (0.320599995, 0.003444444444, 0.4226855072),
            (0.4226855072, 0.02415263158, 0.5103284051),
            (0.5103284051, 0.02173736842, 0.6),
            (0.6, 0.03956363158, 0.7),
            (0.7, -0.1143927316, 0.8),
            (0.8, -0.03628679175, 0.9),
        ],
    ),
    "up to a cap": (
        Ramp(steps=8, start=0.2, end=0.8, step_size=0.9, momentum=0.5),
        LOSSES,
        [
            (0.2, 0.0, 0.2),
            (0.2, 0.05, 0.5689981255),
            (0.5689981255, -0.002777777778, 0.762679593),
            (0.762679593, 0.103874269, 0.8),
            (0.8, 0.0519371345, 0.8),
            (0.8, 0.1259685673, 0.8),
            (0.8, -0.6870157164, 0.8),
            (0.8, -0.01017452485, 0.8),
        ],
    ),
    "dead after a first loss of zero, as in the official code": (
        Ramp(steps=1000, start=0.0, step_size=0.05, momentum=0.99, guard=False),
        [0.0, 0.001, 0.0012, 0.0011],
        [
            (0.0, 0.0, 0.0),
            (0.0, -1e10, 0.001),
            (0.001, -9.9e9, 0.002),
            (0.002, -9.801e9, 0.003),
        ],
    ),
}


def walked(ramp: Ramp, losses: Sequence[float | None]) -> list[float]:
    """``t`` after every step."""
    schedule = Schedule(ramp)
    found = []
    for step, loss in enumerate(losses):
        schedule.step(loss, step)
        found.append(schedule.t)
    return found


@pytest.mark.parametrize("name", ROWS)
def test_reference_trajectories(name: str) -> None:
    """``t`` used, momentum and ``t`` after the update, to 1e-9."""
    ramp, losses, rows = ROWS[name]
    schedule = Schedule(ramp)
    for step, (loss, (used, momentum, after)) in enumerate(zip(losses, rows, strict=True)):
        assert schedule.t == pytest.approx(used, abs=1e-9)
        schedule.step(loss, step)
        assert schedule.momentum == pytest.approx(momentum, rel=1e-9, abs=1e-9)
        assert schedule.t == pytest.approx(after, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_neither_lowers_t_nor_enters_the_momentum(bad: float) -> None:
    """Reference: t stays 0.401, the loss before is kept, and step 3 goes on from it."""
    schedule = Schedule(Ramp(steps=1000, start=0.2, step_size=0.5, momentum=0.9))
    for step, loss in enumerate([2.0, 1.8]):
        schedule.step(loss, step)
    before = schedule.t
    assert before == pytest.approx(0.401, abs=5e-4)
    schedule.step(bad, 2)
    assert (schedule.t, schedule.previous, schedule.skipped) == (before, 1.8, 1)
    schedule.step(1.5, 3)
    assert schedule.momentum == pytest.approx(0.02566667, abs=1e-8)
    assert schedule.t == pytest.approx(0.55267168, abs=1e-8)
    assert schedule.previous == 1.5


def test_a_first_loss_that_is_no_number_is_no_beginning() -> None:
    """The next finite one is remembered and moves nothing yet."""
    schedule = Schedule(Ramp(steps=1000, start=0.2, step_size=0.5))
    schedule.step(math.inf, 0)
    assert schedule.previous is None
    schedule.step(2.0, 1)
    assert (schedule.t, schedule.momentum, schedule.previous) == (pytest.approx(0.2008), 0.0, 2.0)


def test_a_loss_of_nothing_gives_no_decrease() -> None:
    """With the guard feedback is alive after it."""
    schedule = Schedule(Ramp(steps=1000, start=0.0, step_size=0.05))
    schedule.step(0.0, 0)
    schedule.step(0.001, 1)
    assert (schedule.momentum, schedule.t) == (0.0, 0.025)


RAMPS = st.builds(
    lambda kind, start, width, steps, size, momentum, reach, clip: Ramp(
        kind, start, start + width * (1 - start), steps, size, momentum, reach, clip
    ),
    st.sampled_from(["linear", "exponential", "adaptive"]),
    st.floats(0, 0.9),
    st.floats(0.1, 1),
    st.integers(1, 40),
    st.floats(0, 1),
    st.floats(0, 0.99),
    st.booleans(),
    st.none() | st.floats(0.01, 2),
)
SEEN = st.lists(
    st.floats(0, 10) | st.sampled_from([math.nan, math.inf, 0.0, 1e-300, 1e300]), min_size=1, max_size=40
)


@given(ramp=RAMPS, losses=SEEN)
@settings(max_examples=300)
def test_t_never_falls_stays_within_its_ends_and_above_the_ramp(ramp: Ramp, losses: list[float]) -> None:
    """Whatever the losses are; and one step adds at most step_size (1 - t) beyond the ramp."""
    losses = losses[: ramp.steps]
    schedule = Schedule(ramp)
    before = schedule.t
    for step, loss in enumerate(losses):
        schedule.step(loss, step)
        assert ramp.start <= before <= schedule.t <= ramp.end
        floor = min(ramp.end, ramp.floor(step))
        if step or ramp.reach_end:
            assert schedule.t >= floor
        assert schedule.t <= max(floor, before + ramp.step_size * (1 - before)) + 1e-12
        assert math.isfinite(schedule.momentum)
        before = schedule.t


@given(ramp=RAMPS, losses=SEEN, cut=st.integers(0, 40))
def test_resuming_in_the_middle_gives_the_same_bit_for_bit(ramp: Ramp, losses: list[float], cut: int) -> None:
    """Through JSON, as a checkpoint keeps it."""
    whole, first = Schedule(ramp), Schedule(ramp)
    for step, loss in enumerate(losses):
        whole.step(loss, step)
    for step, loss in enumerate(losses[:cut]):
        first.step(loss, step)
    again = Schedule(ramp)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step, loss in enumerate(losses[cut:], start=len(losses[:cut])):
        again.step(loss, step)
    assert again.state_dict() == whole.state_dict()


@given(losses=st.lists(st.floats(0.1, 10), min_size=8, max_size=8))
def test_without_a_step_size_every_schedule_is_the_linear_one(losses: list[float]) -> None:
    """The ramp is what is left."""
    linear = walked(Ramp("linear", steps=8), losses)
    assert walked(Ramp("adaptive", steps=8, step_size=0.0), losses) == linear
    assert walked(Ramp("exponential", steps=8, step_size=0.0), losses) == linear


def test_a_schedule_without_feedback_is_the_adaptive_one_of_a_loss_that_stands_still() -> None:
    """The logistic function of no momentum is one half."""
    ramp = Ramp("adaptive", steps=400, step_size=0.1)
    assert walked(ramp, [1.7] * 30) == walked(replace(ramp, kind="exponential"), [None] * 30)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["linear", "exponential", "adaptive"])
def test_the_last_step_has_the_end_if_it_is_asked_for(kind: Any, steps: int) -> None:
    """And stops a step and a bit short of it otherwise, as the paper's code does."""
    for reach in (True, False):
        schedule = Schedule(Ramp(kind, 0.2, 0.9, steps, step_size=0.0, reach_end=reach))
        used = []
        for step in range(steps):
            used.append(schedule.t)
            schedule.step(1.0, step)
        expected = 0.9 if reach else 0.2 + 0.7 * max(steps - 2, 0) / steps
        assert used[-1] == pytest.approx(expected, abs=1e-12)


def test_a_fixed_one_stays() -> None:
    """Also where its start is 1."""
    assert set(walked(Ramp("fixed", start=1.0, steps=5), LOSSES[:5])) == {1.0}
    assert set(walked(Ramp("fixed", start=0.3, steps=5), LOSSES[:5])) == {0.3}


def test_told_twice_of_one_step_it_refuses() -> None:
    """Or of none."""
    schedule = Schedule(Ramp(steps=9))
    schedule.step(1.0, 0)
    with pytest.raises(TutelageError, match="told of step 0 in step 1"):
        schedule.step(1.0, 0)
    with pytest.raises(TutelageError, match="told of step 2 in step 1"):
        schedule.step(1.0, 2)


def test_another_rule_is_refused_on_loading() -> None:
    """Another number of steps moves the floor."""
    state = Schedule(Ramp(steps=9)).state_dict()
    with pytest.raises(TutelageError, match="steps 9, this one 10"):
        Schedule(Ramp(steps=10)).load_state_dict(state)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"start": -0.1}, "t_start"),
        ({"end": 1.1}, "t_end"),
        ({"start": 0.5, "end": 0.5}, "t_end"),
        ({"step_size": 1.5}, "step_size"),
        ({"momentum": 1.0}, "momentum"),
        ({"steps": 0}, "steps"),
        ({"clip": 0.0}, "clip"),
    ],
)
def test_what_is_out_of_range_is_named(wrong: dict[str, Any], name: str) -> None:
    """The name is the recipe's."""
    with pytest.raises(OutOfRange, match=name):
        Ramp(**wrong)


@pytest.mark.parametrize(("steps", "inert"), [(3999, True), (4000, True), (4001, False)])
def test_with_the_papers_step_size_feedback_is_dead_up_to_4000_steps(steps: int, inert: bool) -> None:
    """Half the step size is below one step of the ramp: derived, and seen in the numbers."""
    ramp = Ramp(steps=steps)
    assert ramp.inert is inert
    schedule = Schedule(replace(ramp, kind="exponential"))
    schedule.step(1.0, 0)
    schedule.step(1.0, 1)
    assert (schedule.t > ramp.floor(1)) is not inert


def test_the_logistic_function_does_not_overflow() -> None:
    """Far on either side."""
    assert (logistic(-1e10), logistic(1e10), logistic(0.0)) == (0.0, 1.0, 0.5)
