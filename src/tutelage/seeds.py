"""Randomness by named streams: every draw is a function of the run's seed, a name and a counter.

Nothing remembers how many numbers were drawn before, so a run that was killed and goes on at step
1,000 draws there what it would have drawn anyway, and adding one use of chance moves no other.
"""

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def stream_seed(seed: int, name: str, *counters: int) -> int:
    """A 63-bit seed for the stream ``name`` of a run at the given counters (step, row, rank, ...)."""
    text = ":".join([str(seed), name, *map(str, counters)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, name: str, *counters: int) -> torch.Generator:
    """A torch generator on the CPU for the stream ``name`` at the given counters."""
    return torch.Generator().manual_seed(stream_seed(seed, name, *counters))


@contextlib.contextmanager
def drawing_from(seed: int, name: str, *counters: int) -> Iterator[None]:
    """Within the block torch's own global draws (dropout, initial weights) come from this stream."""
    before = torch.get_rng_state()
    # Where there is only a CPU, `torch.manual_seed` would write down a traceback for a GPU that never comes.
    seeding = torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed
    seeding(stream_seed(seed, name, *counters))
    try:
        yield
    finally:
        torch.set_rng_state(before)
