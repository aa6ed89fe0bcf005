"""Fused evaluation on a GPU against the matrix products alone and the dense way.

    python benchmarks/fused_gpu.py --json benchmarks/fused_gpu.json

What runs against what is said in `fused.py`, and is the same here but for this: everything runs in one
process, in float32 (TF32 stays off) and in bfloat16, products alone in the same type (bfloat16 in and out);
the dense way makes its log-probabilities in float32; times are those between two events on the device; peaks
are torch's own, beyond the inputs, gradients included. ``eager`` is ours without a compiler. What does not
fit into the card's memory has no time. Other libraries' losses (``--peers``, where they are installed) run
beside ours at the first number of rows.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from common import MIB, document, made_with, medians, table, where_to, write
from contestants import Contestant, Size, Trained, dense, inputs, make, teacher, top_k
from fused import LIBRARIES, limits, needed, ours, products
from peers import PEERS

from tutelage import compiled
from tutelage.divergences import TABLE, loss

EAGER = "eager "


def seconds_of(run: Callable[[], None], device: str) -> float:
    """Seconds of one run, on the device's own clock."""
    if device == "cpu":
        began = time.perf_counter()
        run()
        return time.perf_counter() - began
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    run()
    ended.record()
    ended.synchronize()
    return began.elapsed_time(ended) / 1000


@contextmanager
def as_named(name: str) -> Iterator[None]:
    """Without a compiler, where the name asks for that."""
    wanted = compiled.Kernel._wanted
    if name.startswith(EAGER):
        compiled.Kernel._wanted = lambda self, first: False
    try:
        yield
    finally:
        compiled.Kernel._wanted = wanted


def peak_mib(run: Callable[[], None], size: Size) -> float | None:
    """Peak memory of one run beyond that of the inputs, in MiB; None on a CPU."""
    clear = getattr(run, "clear", None)
    if size.device == "cpu" or clear is None:
        return None
    clear()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    clear()
    return peak / MIB


def cleared(runs: Mapping[str, Any]) -> None:
    """Throw all gradients away."""
    for run in runs.values():
        if hasattr(run, "clear"):
            run.clear()


def measured(size: Size, contestants: Mapping[str, Contestant], repeats: int) -> dict[str, Any]:
    """All contestants at one size, taking turns."""
    runs: dict[str, Any] = {}
    warm: dict[str, float] = {}
    for name, of in contestants.items():
        try:
            with as_named(name):
                run = make(of)
                began = time.perf_counter()
                for _ in range(2):
                    seconds_of(run, size.device)
                warm[name] = time.perf_counter() - began
            runs[name] = run
        except torch.OutOfMemoryError:
            print(f"{name}: does not fit", flush=True)
            _give_back(size)
        except Exception as error:
            if of.kind not in PEERS:
                raise
            print(f"{name} does not run here: {type(error).__name__}: {error}", flush=True)
        cleared(runs)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats):
        names = list(runs)
        # Another one begins each turn: what comes after something large finds its memory scattered.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            with as_named(name):
                times[name].append(seconds_of(runs[name], size.device))
            cleared({name: runs[name]})
    peaks = {}
    for name, run in runs.items():
        with as_named(name):
            peaks[name] = peak_mib(run, size)
    seconds = medians(times)
    limit = limits(seconds)
    ratio = {name: value / limit[needed(name.removeprefix(EAGER))] for name, value in seconds.items()}
    return {
        **vars(size),
        "seconds": seconds,
        "spread": {name: [min(values), max(values)] for name, values in times.items()},
        "first_two_runs": warm,
        "ratio": ratio,
        "tflops": 2e-12 * 4 * size.rows * size.vocab * size.width / limit["four"],
        "peak_mib": {name: peak for name, peak in peaks.items() if peak is not None},
    }


def _give_back(size: Size) -> None:
    if size.device != "cpu":
        torch.cuda.empty_cache()


def forget() -> None:
    """Throw away the tensors of the size before."""
    for cache in (inputs, dense, top_k):
        cache.cache_clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def chosen(size: Size, asked: argparse.Namespace) -> dict[str, Contestant]:
    """Every divergence; every kind of teacher at the first size; where a run takes long, some of them."""
    found = products(size)
    teachers = asked.teachers if (size.rows, size.vocab) == (asked.rows[0], asked.vocab[0]) else ["hidden"]
    long = size.dtype == "float32" and size.rows != asked.rows[0]
    names = [name for name in asked.divergences if not long or name in asked.dense_way]
    found |= ours(size, teachers, names)
    if size.rows == asked.rows[0]:
        found |= {
            EAGER + f"hidden {name}": Contestant(size, "hidden", name)
            for name in asked.dense_way
            if name in names
        }
        found |= {
            f"{peer} {name}": Contestant(size, peer, name)
            for peer in asked.peers
            if PEERS[peer].is_here
            for name in asked.dense_way
            if name in PEERS[peer].divergences
        }
    return found | {f"plain {name}": Contestant(size, "plain", name) for name in asked.dense_way}


def grown(size: Size, divergence: str) -> dict[str, Any]:
    """Peak memory at these rows and at eight times as many."""
    peaks = []
    for rows in (size.rows, 8 * size.rows):
        forget()
        larger = Size(rows, size.vocab, size.width, size.device, size.dtype)
        run = make(Contestant(larger, "hidden", divergence))
        run()
        peaks.append(peak_mib(run, larger))
    gradients = [
        size.width * (size.vocab + rows) * torch.finfo(getattr(torch, size.dtype)).bits / 8 / MIB
        for rows in (size.rows, 8 * size.rows)
    ]
    return {
        **vars(size),
        "divergence": divergence,
        "peak_mib": peaks[0],
        "peak_mib_of_eight_times": peaks[1],
        "gradients_mib": gradients[0],
        "gradients_mib_of_eight_times": gradients[1],
    }


def cut(size: Size, divergence: str, chunk_rows: int, repeats: int) -> dict[str, Any]:
    """Time and peak with so many rows evaluated at a time."""
    forget()
    told = teacher(Contestant(size, "hidden", divergence))
    run = Trained(size, lambda h, w, *_: loss(h, w, told, divergence, chunk_rows=chunk_rows))
    for _ in range(2):
        run()
    seconds = [seconds_of(run, size.device) for _ in range(repeats)]
    return {
        **vars(size),
        "divergence": divergence,
        "chunk_rows": chunk_rows,
        "seconds": statistics.median(seconds),
        "spread": [min(seconds), max(seconds)],
        "peak_mib": peak_mib(run, size),
    }


def all_cut(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """`cut` at every vocabulary and width, the numbers of rows in turn."""
    found = []
    for dtype, vocab, width in itertools.product(asked.dtypes, asked.vocab, asked.widths):
        size = Size(asked.rows[0], vocab, width, asked.device, dtype)
        for name, rows in itertools.product(asked.dense_way, asked.chunks):
            found.append(cut(size, name, rows, asked.repeats))
    return found


def text(said: Mapping[str, Any]) -> str:
    """A document of this benchmark in Markdown."""
    results = said["results"]
    notes = []
    if "sizes" in results:
        notes.append(
            "Times the products that each needs (`hidden` and the dense way four, the others three); medians."
        )
    parts = []
    sizes = results.get("sizes", [])
    for dtype, rows in dict.fromkeys((one["dtype"], one["rows"]) for one in sizes):
        of = [one for one in sizes if (one["dtype"], one["rows"]) == (dtype, rows)]
        parts.append(_ratios(dtype, rows, of))
    if "memory" in results:
        parts.append(_memory(results["memory"]))
    if results.get("chunks"):
        parts.append(_chunks(results["chunks"]))
    not_compiled = results.get("not_compiled")
    if not_compiled:
        notes.append(f"Not compiled: {not_compiled}.")
    return "\n\n".join([*notes, *parts, f"{said['machine']['device']}; {made_with(said)}"])


def _ratios(dtype: str, rows: int, sizes: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(name for one in sizes for name in one["seconds"] if "products" not in name)
    columns = [
        f"{dtype}, {rows:,} rows",
        *(f"{one['vocab']:,} tokens, width {one['width']}" for one in sizes),
        "peak MiB in the last",
    ]
    lines: list[list[Any]] = [
        ["four products, ms", *(f"{1000 * limits(one['seconds'])['four']:.3g}" for one in sizes), None],
        ["four products, TFLOP/s", *(f"{one['tflops']:.0f}" for one in sizes), None],
    ]
    for name in names:
        ratios = [one["ratio"].get(name) for one in sizes]
        peak = sizes[-1]["peak_mib"].get(name)
        label = f"dense way: {name.split()[1]}" if name.startswith("plain") else name
        cells = [None if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        lines.append([label, *cells, None if peak is None else f"{peak:,.0f}"])
    return table(columns, lines)


def _memory(memory: Sequence[Mapping[str, Any]]) -> str:
    rows = memory[0]["rows"]
    columns = (
        "peak MiB beyond the inputs (gradients therein)",
        f"{rows:,} rows",
        f"{8 * rows:,} rows",
    )
    return table(
        columns,
        [
            [
                f"{one['dtype']}, {one['divergence']}, {one['vocab']:,} tokens, width {one['width']}",
                f"{one['peak_mib']:,.0f} ({one['gradients_mib']:,.0f})",
                f"{one['peak_mib_of_eight_times']:,.0f} ({one['gradients_mib_of_eight_times']:,.0f})",
            ]
            for one in memory
        ],
    )


def _chunks(chunks: Sequence[Mapping[str, Any]]) -> str:
    columns = ("rows at a time", *dict.fromkeys(f"{one['chunk_rows']:,}" for one in chunks))
    lines: dict[str, list[Any]] = {}
    for one in chunks:
        label = (
            f"{one['dtype']}, {one['divergence']}, {one['rows']:,} x {one['vocab']:,}, width {one['width']}"
        )
        peak = "" if one["peak_mib"] is None else f", {one['peak_mib']:,.0f} MiB"
        lines.setdefault(label, [label]).append(f"{1000 * one['seconds']:.3g} ms{peak}")
    return table(columns, list(lines.values()))


def parsed() -> argparse.Namespace:
    """What was asked for."""
    trained = [name for name, entry in TABLE.items() if entry.trains]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    where_to(parser)
    parser.set_defaults(repeats=7)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu is for trying it out.")
    parser.add_argument(
        "--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["bfloat16", "float32"]
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[4096, 16384, 512])
    parser.add_argument("--vocab", type=int, nargs="+", default=[50257, 32000, 151936])
    parser.add_argument("--widths", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--divergences", nargs="+", choices=trained, default=trained)
    parser.add_argument("--teachers", nargs="+", default=["hidden", "dense", "top_k", "gold"])
    parser.add_argument("--dense-way", nargs="*", default=["forward_kl", "jensen_shannon"])
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument(
        "--chunks",
        type=int,
        nargs="*",
        default=[],
        help="Instead: time and memory with so many rows evaluated at a time, at every vocabulary and width.",
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="No further size is begun after these.")
    return parser.parse_args()


def main() -> None:
    """Print a Markdown table; with --json also write the numbers, after every size."""
    asked = parsed()
    if asked.chunks:
        said = document("fused_gpu", {"chunks": all_cut(asked)}, device=asked.device)
        write(asked.json, said)
        print(text(said))
        return
    began = time.monotonic()
    results: dict[str, Any] = {"memory": [], "sizes": []}
    if asked.device == "cuda":
        for dtype in asked.dtypes:
            size = Size(asked.rows[0], max(asked.vocab), asked.widths[0], asked.device, dtype)
            results["memory"] += [grown(size, name) for name in asked.dense_way]
    else:
        del results["memory"]
    for rows, dtype, vocab, width in itertools.product(asked.rows, asked.dtypes, asked.vocab, asked.widths):
        if time.monotonic() - began > asked.seconds:
            print(f"left out: {dtype}, {rows} rows, {vocab} tokens, width {width}", flush=True)
            continue
        if dtype == "float32" and rows != asked.rows[0] and vocab != asked.vocab[0]:
            continue  # as the products alone take seconds there, and the ratios say nothing new
        forget()
        size = Size(rows, vocab, width, asked.device, dtype)
        results["sizes"].append(measured(size, chosen(size, asked), asked.repeats))
        results["not_compiled"] = compiled.NOT_COMPILED
        said = document("fused_gpu", results, LIBRARIES if asked.peers else (), device=asked.device)
        write(asked.json, said)
        print(f"{time.monotonic() - began:.0f} s", flush=True)
    print(text(said))


if __name__ == "__main__":
    main()
