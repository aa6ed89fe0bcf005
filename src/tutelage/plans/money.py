"""From FLOP to hours, money and disk: arithmetic on what the user says of the machine.

``hours = FLOP / (peak * utilisation * devices * 3600)`` for each part of the cost; a measured throughput
replaces the product. Nothing is guessed but the two utilisations, and the answer states them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.errors import OutOfRange
from tutelage.plans.allocate import Optimum

HOUR = 3600.0


@dataclass(frozen=True)
class Machine:
    """What computes, and what it costs.

    Attributes:
        peak: FLOP per second of one device on paper.
        utilisation: share of the peak that training reaches (MFU).
        teacher_utilisation: share that a teacher's forward pass reaches; it is usually more.
        training: measured FLOP per second of one device in training; replaces peak times utilisation.
        prefill: the same of the teacher's forward pass.
        devices: how many work together.
        price: of one device for an hour, in any currency; None if it is not asked.

    Raises:
        OutOfRange: a number that is not above zero, a share above 1, or no throughput at all.
    """

    peak: float | None = None
    utilisation: float = 0.4
    teacher_utilisation: float = 0.5
    training: float | None = None
    prefill: float | None = None
    devices: int = 1
    price: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 < value < float("inf"):
                raise _refused(name, value, "a number above 0")
        for name in ("utilisation", "teacher_utilisation"):
            if getattr(self, name) > 1:
                raise _refused(name, getattr(self, name), "a share of the peak, at most 1")
        if self.peak is None and self.training is None:
            raise OutOfRange(
                "devices or a price without a throughput",
                expected="the peak of one device, or a measured throughput, in FLOP per second",
                fix="write for instance `--peak 989e12` or `--throughput 4e14`",
            )

    @property
    def training_rate(self) -> float:
        """FLOP per second of one device in training."""
        return self.training or (self.peak or 0.0) * self.utilisation

    @property
    def prefill_rate(self) -> float:
        """FLOP per second of one device in the teacher's forward pass."""
        if self.prefill is not None:
            return self.prefill
        return self.peak * self.teacher_utilisation if self.peak else self.training_rate

    @property
    def told(self) -> str:
        """The assumptions in a line."""
        how = "measured" if self.training else f"{100 * self.utilisation:.0f} % of the peak"
        teacher = "measured" if self.prefill else f"{100 * self.teacher_utilisation:.0f} % of the peak"
        if self.prefill is None and self.peak is None:
            teacher = "as in training"
        return f"{self.devices} device(s); training {how}, teacher's forward pass {teacher}"


@dataclass(frozen=True)
class Bill:
    """Hours of one device, hours on the clock, and the price of all; None without a price."""

    student_hours: float
    logits_hours: float
    teacher_hours: float
    clock_hours: float
    price: float | None


def bill(machine: Machine, student: float, logits: float = 0.0, teacher: float = 0.0) -> Bill:
    """What FLOP of the three kinds cost on a machine."""
    hours = (
        student / machine.training_rate / HOUR,
        logits / machine.prefill_rate / HOUR,
        teacher / machine.training_rate / HOUR,
    )
    total = sum(hours)
    price = None if machine.price is None else total * machine.price
    return Bill(*hours, clock_hours=total / machine.devices, price=price)


@dataclass(frozen=True)
class Storage:
    """The teacher's rows on disk instead of the teacher in memory.

    Attributes:
        entries: kept tokens of a row.
        bytes_per_entry: index and probability; 6 for a 4-byte index with a half-precision number.
        price: of a terabyte for a month; None if it is not asked.

    Raises:
        OutOfRange: a number that is not above zero.
    """

    entries: int
    bytes_per_entry: float = 6.0
    price: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 < value < float("inf"):
                raise _refused(name, value, "a number above 0")

    def bytes(self, tokens: float) -> float:
        """Bytes of the rows of so many tokens."""
        return self.entries * self.bytes_per_entry * tokens

    def price_per_month(self, tokens: float) -> float | None:
        """What keeping them costs a month."""
        return None if self.price is None else self.bytes(tokens) / 1e12 * self.price


def recomputed(machine: Machine, point: Optimum, forward: float | None) -> float | None:
    """The price of computing the teacher's rows once more; None without a price or a size."""
    if machine.price is None or forward is None:
        return None
    return forward * point.tokens / machine.prefill_rate / HOUR * machine.price


def _refused(name: str, value: float | int, expected: str) -> OutOfRange:
    return OutOfRange(
        f"{name.replace('_', ' ')} is {value:g}", expected=expected, fix="change it, or leave it out"
    )
