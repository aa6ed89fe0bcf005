"""Fused evaluation against the matrix products alone, the dense way, and other libraries.

    python benchmarks/fused.py --json benchmarks/fused.json
    python benchmarks/fused.py --peers --json benchmarks/peers.json      (in the environment of peers.txt)
    python benchmarks/fused.py --memory --json benchmarks/memory.json

Student and teacher are equally wide (``--widths``); forward and backward, gradients of the student's hidden
states and output layer; float32; for every vocabulary and width:

(a) the matrix products that any evaluation needs: the student's logits, the gradients of its hidden states
    and its output layer, and, unless the teacher's logits are given, those: three or four, in the faster of
    two forms (slices of the vocabulary with all rows; chunks of rows with the whole vocabulary);
(b) `tutelage.loss` for every divergence against a teacher given as hidden states and output layer, as
    logits, as its 64 most likely tokens with a column for the rest, and against the written tokens;
(c) the dense way: all log-probabilities at once, gradient by autograd.

``--peers``: TRL's, torchtune's and Liger's losses on the same tensors, beside ours and the products. That
each computes the same as ours is measured on small tensors first and printed. A peer runs in processes of its
own, one plain and one with settings that help code which asks for fresh memory all the time; its better time
counts.

``--memory``: the peak for 8 times the rows, at the largest vocabulary.

Contestants take turns, one run each, and ratios are of medians over the turns; the first run of each is not
counted. Peak memory is the peak of the resident set beyond the inputs, in a process of its own for each
contestant (Linux's VmHWM); it holds the gradients, which every way has to make.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from common import (
    KEEPING_MEMORY,
    MIB,
    Worker,
    compiling_apart,
    document,
    made_with,
    medians,
    peak_mib,
    table,
    take_turns,
    where_to,
    write,
)
from contestants import Contestant, Size, make
from peers import PEERS, differences

from tutelage.divergences import TABLE

FORMS = ("by vocabulary", "by rows")
TEACHERS = ("hidden", "dense", "top_k", "gold")
SETTINGS = ("plain", "keeping memory")
LIBRARIES = ("trl", "liger-kernel", "torchtune")
SMALL = Size(rows=64, vocab=500, width=32)


def ours(size: Size, teachers: Sequence[str], divergences: Sequence[str]) -> dict[str, Contestant]:
    """`tutelage.loss` against every kind of teacher, by the names of the table."""
    found = {}
    for kind in teachers:
        for name in divergences:
            if (TABLE[name].against == "gold") == (kind == "gold"):
                found[f"{kind} {name}"] = Contestant(size, kind, name)
    return found


def products(size: Size) -> dict[str, Contestant]:
    """The products alone: three or four, in two forms."""
    return {
        f"{'four' if teacher else 'three'} products {form}": Contestant(size, "products", form, teacher)
        for teacher in (True, False)
        for form in FORMS
    }


def limits(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of three and of four products, each in its faster form."""
    return {many: min(seconds[f"{many} products {form}"] for form in FORMS) for many in ("three", "four")}


def needed(name: str) -> str:
    """How many products the contestant of this name needs."""
    return "three" if name.split()[0] in ("dense", "top_k", "gold") else "four"


def measured(size: Size, asked: argparse.Namespace) -> dict[str, Any]:
    """All of (a), (b) and (c) at one size."""
    contestants = products(size) | ours(size, asked.teachers, asked.divergences)
    if asked.dense_way:
        contestants |= {f"plain {name}": Contestant(size, "plain", name) for name in asked.dense_way}
    worker = Worker(make)
    times = take_turns({name: (worker, of) for name, of in contestants.items()}, asked.repeats)
    worker.close()
    seconds = medians(times)
    limit = limits(seconds)
    peaks = {
        name: peak_mib(make, of, small(of))
        for name, of in contestants.items()
        if asked.peaks and of.kind != "products" and name in seconds
    }
    return {
        **vars(size),
        "seconds": seconds,
        "spread": {name: [min(values), max(values)] for name, values in times.items()},
        "ratio": {name: value / limit[needed(name)] for name, value in seconds.items()},
        "ratio_to_four": {name: value / limit["four"] for name, value in seconds.items()},
        "peak_mib": peaks,
    }


def small(of: Contestant) -> Contestant:
    """The same contestant on small tensors."""
    return Contestant(SMALL, of.kind, of.option, of.teacher, of.k)


def beside_peers(size: Size, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Every peer beside ours and the products at one size."""
    found = []
    for name, peer in PEERS.items():
        chosen = [one for one in peer.divergences if one in asked.peer_divergences and peer.is_here]
        if chosen:
            found += _beside(name, chosen, size, asked)
    return found


def _beside(
    name: str, divergences: Sequence[str], size: Size, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    workers = {"ours": Worker(make), "plain": Worker(make), "keeping memory": Worker(make, KEEPING_MEMORY)}
    turns: dict[str, tuple[Worker, Any]] = {
        form: (workers["ours"], Contestant(size, "products", form)) for form in FORMS
    }
    for divergence in divergences:
        turns[f"ours {divergence}"] = (workers["ours"], Contestant(size, "hidden", divergence))
        for how in SETTINGS:
            turns[f"{how} {divergence}"] = (workers[how], Contestant(size, name, divergence))
    times = take_turns(turns, asked.repeats)
    for worker in workers.values():
        worker.close()
    seconds = medians(times)
    limit = min(seconds[form] for form in FORMS)
    found = []
    for divergence in divergences:
        us, them = Contestant(size, "hidden", divergence), Contestant(size, name, divergence)
        settings = {
            how: seconds[f"{how} {divergence}"] for how in SETTINGS if f"{how} {divergence}" in seconds
        }
        if not settings:
            continue
        better = min(settings, key=lambda how: settings[how])
        ours_seconds = seconds[f"ours {divergence}"]
        found.append(
            {
                **vars(size),
                "peer": name,
                "divergence": divergence,
                "seconds": settings[better],
                "better_setting": better,
                "ours_seconds": ours_seconds,
                "products_seconds": limit,
                "times_the_products": settings[better] / limit,
                "ours_times_the_products": ours_seconds / limit,
                "times_ours": settings[better] / ours_seconds,
                "peak_mib": peak_mib(make, them, small(them)) if asked.peaks else None,
                "ours_peak_mib": peak_mib(make, us, small(us)) if asked.peaks else None,
                "spread": {
                    who: [min(values), max(values)] for who, values in times.items() if divergence in who
                },
            }
        )
        print(table(PEER_COLUMNS, [_peer_row(found[-1])]).splitlines()[-1], flush=True)
    return found


def same(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """How far every peer is from ours on small tensors."""
    found = []
    worker = Worker(make)
    for name, peer in PEERS.items():
        for divergence in peer.divergences if peer.is_here else ():
            if divergence in asked.peer_divergences:
                off = worker.call(differences, name, divergence)
                found.append({"peer": name, "divergence": divergence, **off})
    worker.close()
    return found


def grown(size: Size, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak memory at these rows and at eight times as many."""
    found = []
    for divergence in asked.divergences:
        peaks = []
        for rows in (size.rows, 8 * size.rows):
            of = Contestant(Size(rows, size.vocab, size.width), "hidden", divergence)
            peaks.append(peak_mib(make, of, small(of)))
        entries = 2 * size.width * (size.vocab + 8 * size.rows)
        found.append(
            {
                **vars(size),
                "divergence": divergence,
                "peak_mib": peaks[0],
                "peak_mib_of_eight_times": peaks[1],
                "ratio": peaks[1] / peaks[0],
                "inputs_mib_of_eight_times": 4 * entries / MIB,
            }
        )
    return found


PEER_COLUMNS = (
    "peer",
    "divergence",
    "tokens",
    "width",
    "seconds",
    "times the products",
    "ours",
    "times ours",
    "peak MiB",
    "ours",
)


def _peer_row(one: Mapping[str, Any]) -> list[Any]:
    return [
        one["peer"],
        one["divergence"],
        f"{one['vocab']:,}",
        one["width"],
        f"{one['seconds']:.3g}",
        f"{one['times_the_products']:.2f}",
        f"{one['ours_times_the_products']:.2f}",
        f"{one['times_ours']:.2f}",
        *(None if one[key] is None else f"{one[key]:.0f}" for key in ("peak_mib", "ours_peak_mib")),
    ]


def text(said: Mapping[str, Any]) -> str:
    """A document of this benchmark in Markdown."""
    results = said["results"]
    parts = []
    if "sizes" in results:
        parts += _ours_text(results["sizes"])
    if "peers" in results:
        parts += _peers_text(results)
    if "memory" in results:
        parts += _memory_text(results["memory"])
    return "\n\n".join([*parts, made_with(said)])


def _ours_text(sizes: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = []
    for rows, width in dict.fromkeys((one["rows"], one["width"]) for one in sizes):
        chosen = [one for one in sizes if (one["rows"], one["width"]) == (rows, width)]
        names = dict.fromkeys(name for one in chosen for name in one["seconds"])
        last = chosen[-1]
        columns = [
            f"{rows:,} rows, width {width}",
            *(f"{one['vocab']:,} tokens" for one in chosen),
            f"peak MiB at {last['vocab']:,}",
        ]
        lines = []
        for many in ("four", "three"):
            values = [limits(one["seconds"])[many] for one in chosen]
            lines.append([f"{many} products, seconds", *(f"{value:.3g}" for value in values), None])
        for name in names:
            if "products" not in name:
                ratios = [one["ratio"].get(name) for one in chosen]
                peak = last["peak_mib"].get(name)
                cells = [None if value is None else f"{value:.2f}" for value in ratios]
                label = f"dense way: {name.split()[1]}" if name.startswith("plain") else name
                lines.append([label, *cells, None if peak is None else f"{peak:.0f}"])
        parts.append(table(columns, lines))
    note = "Times the products that each needs (`hidden` and the dense way four, the others three); medians."
    return [note, *parts]


def _peers_text(results: Mapping[str, Any]) -> list[str]:
    off = [
        [one["peer"], one["divergence"], f"{one['value']:.1e}", f"{one['gradient']:.1e}"]
        for one in results["same"]
    ]
    return [
        "Other libraries against a `hidden` teacher; their better time of two settings.",
        table(PEER_COLUMNS, [_peer_row(one) for one in results["peers"]]),
        "That they compute the same, on small tensors:",
        table(("peer", "divergence", "difference, nats", "largest relative difference of a gradient"), off),
    ]


def _memory_text(memory: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        [
            f"{one['divergence']}, {one['vocab']:,} tokens, width {one['width']}",
            f"{one['peak_mib']:.0f}",
            f"{one['peak_mib_of_eight_times']:.0f}",
            f"{one['ratio']:.3f}",
            f"{one['inputs_mib_of_eight_times']:.0f}",
        ]
        for one in memory
    ]
    rows = memory[0]["rows"]
    columns = (
        "peak MiB beyond the inputs",
        f"{rows:,} rows",
        f"{8 * rows:,} rows",
        "ratio",
        f"inputs of {8 * rows:,} rows, MiB",
    )
    return [table(columns, lines)]


def parsed() -> argparse.Namespace:
    """What was asked for."""
    trained = [name for name, entry in TABLE.items() if entry.trains]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    where_to(parser)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--vocab", type=int, nargs="+", default=[32000, 50257, 151936])
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--divergences", nargs="+", choices=trained)
    parser.add_argument("--teachers", nargs="+", choices=TEACHERS, default=TEACHERS)
    parser.add_argument("--dense-way", nargs="*", default=["forward_kl", "jensen_shannon"])
    parser.add_argument("--no-peaks", dest="peaks", action="store_false", help="Leave memory out.")
    parser.add_argument("--peers", action="store_true", help="Other libraries beside ours, instead.")
    parser.add_argument("--peer-divergences", nargs="+", default=["forward_kl", "jensen_shannon"])
    parser.add_argument("--memory", action="store_true", help="Peaks at eight times the rows, instead.")
    asked = parser.parse_args()
    if asked.divergences is None:
        asked.divergences = ["forward_kl", "jensen_shannon"] if asked.memory else trained
    return asked


def main() -> None:
    """Print a Markdown table; with --json also write the numbers, after every size."""
    asked = parsed()
    sizes = [Size(asked.rows, vocab, width) for width in asked.widths for vocab in asked.vocab]
    results: dict[str, Any] = {}
    with compiling_apart():
        if asked.peers:
            results = {"same": same(asked), "peers": []}
            for one in results["same"]:
                print(one, flush=True)
        for size in sizes:
            if asked.memory:
                if size.vocab == max(asked.vocab):
                    results.setdefault("memory", []).extend(grown(size, asked))
            elif asked.peers:
                results["peers"].extend(beside_peers(size, asked))
            else:
                results.setdefault("sizes", []).append(measured(size, asked))
            said = document("fused", results, LIBRARIES if asked.peers else ())
            write(asked.json, said)
    print(text(said))


if __name__ == "__main__":
    main()
