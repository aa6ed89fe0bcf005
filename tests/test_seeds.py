"""Named streams of chance: a draw depends on seed, name and counters, and on nothing drawn before."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.seeds import drawing_from, stream, stream_seed

SEEDS = st.integers(0, 2**31)
COUNTERS = st.lists(st.integers(0, 10**6), max_size=3)


@given(seed=SEEDS, counters=COUNTERS)
def test_a_stream_is_the_same_whatever_was_drawn_before(seed: int, counters: list[int]) -> None:
    """A run that goes on at step 1,000 draws there what it would have drawn anyway."""
    first = torch.randn(4, generator=stream(seed, "dropout", *counters))
    torch.randn(17)
    assert torch.equal(torch.randn(4, generator=stream(seed, "dropout", *counters)), first)


@given(seed=SEEDS, counters=COUNTERS)
def test_another_name_seed_or_counter_is_another_stream(seed: int, counters: list[int]) -> None:
    """Streams do not meet: not by the next seed, the next counter, or a counter moved into the name."""
    own = stream_seed(seed, "rows", *counters)
    others = [
        stream_seed(seed + 1, "rows", *counters),
        stream_seed(seed, "dropout", *counters),
        stream_seed(seed, "rows", *counters, 0),
        stream_seed(seed, "rows", 1, *counters),
    ]
    assert own not in others
    assert 0 <= own < 2**63


def test_a_seed_is_a_number_that_never_changes() -> None:
    """Written down: another machine, version or day must give the same run."""
    # 63 bits of BLAKE2b-64 of "0:rows" and "1:dropout:7:2", taken with another program
    assert stream_seed(0, "rows") == 8581228272094403196
    assert stream_seed(1, "dropout", 7, 2) == 6393142917085949644


def test_inside_the_block_torch_draws_from_the_stream_and_goes_on_as_before_after() -> None:
    """Torch's own generator is put back, also after an error."""
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    with drawing_from(3, "weights", 1):
        inside = torch.randn(3)
    assert torch.equal(torch.randn(3), expected)
    assert torch.equal(inside, torch.randn(3, generator=stream(3, "weights", 1)))
    torch.manual_seed(5)
    try:
        with drawing_from(3, "weights", 2):
            torch.randn(1)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.randn(3), expected)
