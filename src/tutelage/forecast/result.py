"""The answer of `tutelage plan RECIPE`: does it fit, how long does it take, is the teacher worth it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tutelage.forecast.probe import Probed
from tutelage.forecast.shapes import FromShapes
from tutelage.forecast.worth import Worth
from tutelage.plans.duration import Duration
from tutelage.plans.memory import Remedy

GIB = 2**30


@dataclass(frozen=True)
class RecipePlan:
    """What a recipe takes and whether to run it.

    Attributes:
        shapes: from shapes alone; None where the shapes are not known and the trial alone speaks.
        probed: measured on this machine, or None.
        peak_bytes: of memory: measured if it was, else from shapes.
        limit_bytes: that there are.
        remedies: what takes less, where it does not fit.
        duration: of the whole run; None where neither a trial nor a speed tells.
        price_per_hour: as the user said, or None.
        worth: whether the teacher is; None without a trial.
        notes: what a reader must know.
    """

    shapes: FromShapes | None
    probed: Probed | None
    peak_bytes: int
    limit_bytes: int
    remedies: tuple[Remedy, ...]
    duration: Duration | None
    price_per_hour: float | None
    worth: Worth | None
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the memory is enough."""
        return self.peak_bytes <= self.limit_bytes

    @property
    def exit_status(self) -> int:
        """3 where it does not fit or the teacher is not worth it, else 0."""
        return 3 if not self.fits or (self.worth is not None and self.worth.no) else 0

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        shapes = self.shapes
        said = {
            "fits": self.fits,
            "exit_status": self.exit_status,
            "memory": {
                "peak_bytes": self.peak_bytes,
                "limit_bytes": self.limit_bytes,
                "from": "shapes" if self.probed is None else "trial",
                "from_shapes": None if shapes is None else _arms(shapes),
                "remedies": [asdict(remedy) for remedy in self.remedies],
            },
            "time": None if self.duration is None else self._time(self.duration),
            "worth": None if self.worth is None else asdict(self.worth),
            "trial": None if self.probed is None else dict(self.probed.measured),
            "notes": list(self.notes),
        }
        return _finite(said)

    def text(self) -> str:
        """For people."""
        lines = {"memory": self._memory_said()}
        if self.shapes is not None:
            lines["from shapes"] = _said_shapes(self.shapes)
        for number, remedy in enumerate(self.remedies, 1):
            lines[f"to fit {number}"] = str(remedy)
        lines["time"] = self._time_said()
        if self.worth is not None:
            lines["nats per token"] = _said_nats(self.worth.numbers)
            for number, caution in enumerate(self.worth.cautions, 1):
                lines[f"caution {number}"] = caution
        for number, note in enumerate(self.notes, 1):
            lines[f"note {number}"] = note
        width = max(map(len, lines))
        said = [f"{name:<{width}}  {value}" for name, value in lines.items()]
        verdict = "it fits" if self.fits else "it does not fit"
        if self.worth is not None:
            verdict += (
                f"; {self.worth.answer}: {self.worth.why}" if self.worth.why else f"; {self.worth.answer}"
            )
        return "\n".join([*said, "", verdict])

    def _memory_said(self) -> str:
        source = "from shapes alone"
        if self.probed is not None:
            source = f"measured in a trial of {self.probed.seconds:.0f} s on {self.probed.device}"
        return f"{self.peak_bytes / GIB:.2f} GiB of {self.limit_bytes / GIB:.2f} GiB ({source})"

    def _time(self, duration: Duration) -> dict[str, Any]:
        price = None if self.price_per_hour is None else duration.price(self.price_per_hour)
        return {"seconds": duration.to_json(), "hours": duration.seconds / 3600, "price": price}

    def _time_said(self) -> str:
        if self.duration is None:
            return "not known: give `--flops-per-second`, or leave `--no-probe` away to have it measured"
        parts = ", ".join(
            f"{name} {100 * value / self.duration.seconds:.0f} %"
            for name, value in asdict(self.duration).items()
            if value >= 0.005 * self.duration.seconds
        )
        said = f"{told_seconds(self.duration.seconds)} ({parts})"
        if self.price_per_hour is not None:
            said += f"; {self.duration.price(self.price_per_hour):,.2f} at {self.price_per_hour:g} an hour"
        return said


def told_seconds(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _arms(shapes: FromShapes) -> dict[str, Any]:
    return {
        arm.name: {
            "peak_bytes": arm.memory.peak,
            "parts": asdict(arm.memory),
            "steps": arm.steps,
            "seeds": arm.seeds,
            "tokens": None if arm.tokens is None else asdict(arm.tokens),
            "flops": None if arm.flops is None else dict(arm.flops),
            "rows": asdict(arm.text),
        }
        for arm in shapes.arms
    }


def _said_shapes(shapes: FromShapes) -> str:
    memory = shapes.largest.memory
    parts = sorted(asdict(memory).items(), key=lambda item: -item[1])
    said = ", ".join(f"{name} {value / GIB:.2f}" for name, value in parts if value >= 0.005 * GIB)
    flops = shapes.flops
    total = "" if flops is None else f"; {sum(flops.values()):.3g} FLOP in all"
    return f"{memory.peak / GIB:.2f} GiB at the peak ({said}){total}"


def _said_nats(numbers: Mapping[str, Any]) -> str:
    parts = [
        f"{name.removesuffix('_nats')} {numbers[name]['mean']:.4f} "
        f"[{numbers[name]['low']:.4f}, {numbers[name]['high']:.4f}]"
        for name in ("teacher_nats", "student_nats")
        if name in numbers
    ]
    if "pilot" in numbers:
        pilot = numbers["pilot"]
        parts.append(f"after {pilot['steps']} steps on the text alone {pilot['student_nats']:.4f}")
    if "unigram_nats" in numbers:
        parts.append(f"single-token frequencies {numbers['unigram_nats']:.4f}")
    return ", ".join(parts)
