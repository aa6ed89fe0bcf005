"""What a target costs that moves or is told of the whole row, beside plain forward KL to the same teacher.

    python benchmarks/moving.py [--vocab 50257] [--rows 1024] [--widths 256 512] [--repeats 7] [--json FILE]

All of them forward and backward through `tutelage.distribution` and the fused evaluation, on the tensors of
`fused.py`; teachers are hidden states and an output layer. `plain` is forward KL to the teacher;
`interpolated` the same to TAID's target; `watched` with the cross-entropy that its schedule looks at beside
it; `shifted` Delta-KD's target, of three models (two products more than `plain`); `standardised` on
standardised logits; `decoupled` and `adaptive_kl` those divergences. Ratios are to `plain`, of medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from common import Worker, document, made_with, medians, table, take_turns, where_to, write
from contestants import Size, Trained, inputs

from tutelage.distribution import Hidden, OfStudent, interpolated, shifted, standardised
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate

WAYS = {
    "plain": "forward KL to the teacher",
    "interpolated": "TAID's target at t = 0.4",
    "watched": "the same, and the cross-entropy that drives its schedule",
    "shifted": "Delta-KD's target, three models",
    "standardised": "forward KL of standardised logits",
    "decoupled": "decoupled",
    "adaptive_kl": "adaptive KL",
}


def make(of: tuple[Size, str]) -> Trained:
    """A contestant from its description."""
    size, way = of
    _, _, told, theirs = inputs(size)
    teacher = Hidden(told, theirs)
    weights = torch.full((size.rows,), 1 / size.rows)
    divergence = TABLE.load(way if way in TABLE else "forward_kl")
    target: Any = teacher
    if way in ("interpolated", "watched"):
        target = interpolated(OfStudent(size.rows, size.vocab, told), teacher, 0.4)
    if way == "shifted":
        torch.manual_seed(1)
        others = [Hidden(torch.randn_like(told), torch.roll(theirs, k, 0)) for k in (1, 2)]
        target = shifted(others[0], towards=teacher, away_from=others[1])
    written = torch.randint(size.vocab, (size.rows,), generator=torch.Generator().manual_seed(2))
    asked = written if way == "decoupled" else None

    def loss(hidden: torch.Tensor, weight: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        student, view, met = Hidden(hidden, weight), None, target
        if way == "standardised":
            view, met = standardised(student), standardised(target)
        terms = [Against(divergence, met, weights, target=asked, student=view)]  # type: ignore[arg-type]
        if way == "watched":
            terms.append(Against(TABLE.load("cross_entropy"), met, weights, watched=True))
        return evaluate(student, terms)[0]

    return Trained(size, loss)


def measured(size: Size, repeats: int) -> dict[str, Any]:
    """Seconds of every way, and their ratios to the plain one."""
    worker = Worker(make)
    times = take_turns({way: (worker, (size, way)) for way in WAYS}, repeats)
    worker.close()
    seconds = medians(times)
    return {
        **vars(size),
        "seconds": seconds,
        "spread": {way: [min(values), max(values)] for way, values in times.items()},
        "ratio": {way: value / seconds["plain"] for way, value in seconds.items()},
    }


def text(said: Mapping[str, Any]) -> str:
    """A document of this benchmark in Markdown."""
    sizes = said["results"]["sizes"]
    columns = [
        "way",
        *(f"{one['rows']:,} x {one['vocab']:,}, width {one['width']}: times plain" for one in sizes),
    ]
    rows = [
        [
            f"`{way}`: {what}",
            *(
                f"{one['ratio'][way]:.2f} ({one['spread'][way][0] / one['seconds']['plain']:.2f} to "
                f"{one['spread'][way][1] / one['seconds']['plain']:.2f})"
                for one in sizes
            ),
        ]
        for way, what in WAYS.items()
    ]
    return f"{table(columns, rows)}\n\n{made_with(said)}"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--vocab", type=int, default=50_257)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512])
    where_to(parser)
    asked = parser.parse_args()
    sizes = [measured(Size(asked.rows, asked.vocab, width), asked.repeats) for width in asked.widths]
    said = document("moving", {"sizes": sizes})
    write(asked.json, said)
    print(text(said))


if __name__ == "__main__":
    main()
