"""Fused evaluation against the matrix products alone and against the dense way, in one process.

    python benchmarks/fused.py [--rows 1024] [--vocab 32000 50257 151936] [--repeats 3] [--json FILE]

For every vocabulary it times, interleaved and several times over:

(a) the four matrix products that any evaluation needs: student's logits, teacher's logits, and the
    gradients of the student's hidden states and output layer, in the faster of two forms (slices of the
    vocabulary with all rows; chunks of rows with the whole vocabulary);
(b) `tutelage.loss` forward and backward, for each divergence;
(c) the dense way: all log-probabilities at once, gradient by autograd, for two divergences.

Peak memory is the peak of the resident set beyond the inputs (Linux's VmHWM), in a child process a
measurement; it holds the gradient of the output layer, which every way has to make. Ratios are of medians.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tutelage.distribution import Hidden
from tutelage.divergences import TABLE, loss
from tutelage.divergences.plain import plain_loss

STUDENT_WIDTH = 768
TEACHER_WIDTH = 1024


@functools.lru_cache(maxsize=1)
def inputs(rows: int, vocab: int) -> tuple[torch.Tensor, torch.Tensor, Hidden]:
    """Hidden states and heads as wide as GPT-2's small and medium model."""
    torch.manual_seed(0)
    hidden = torch.randn(rows, STUDENT_WIDTH, requires_grad=True)
    weight = (torch.randn(vocab, STUDENT_WIDTH) * 0.05).requires_grad_()
    teacher = Hidden(torch.randn(rows, TEACHER_WIDTH), torch.randn(vocab, TEACHER_WIDTH) * 0.05)
    return hidden, weight, teacher


def products(rows: int, vocab: int, *, by_vocabulary: bool) -> Callable[[], None]:
    """The matrix products alone, with buffers made beforehand."""
    hidden, weight, teacher = inputs(rows, vocab)
    hidden, weight = hidden.detach(), weight.detach()
    grad_hidden, grad_weight = torch.zeros_like(hidden), torch.zeros_like(weight)
    if by_vocabulary:
        step = 1024
        logits, told = torch.empty(step, rows), torch.empty(step, rows)

        def run() -> None:
            for start in range(0, vocab, step):
                w = weight[start : start + step]
                torch.mm(w, hidden.T, out=logits[: len(w)])
                torch.mm(teacher.weight[start : start + step], teacher.hidden.T, out=told[: len(w)])
                grad_hidden.addmm_(logits[: len(w)].T, w)
                torch.mm(logits[: len(w)], hidden, out=grad_weight[start : start + step])

        return run
    step = 256
    logits, told = torch.empty(step, vocab), torch.empty(step, vocab)

    def run_by_rows() -> None:
        for start in range(0, rows, step):
            h = hidden[start : start + step]
            torch.mm(h, weight.T, out=logits[: len(h)])
            torch.mm(teacher.hidden[start : start + step], teacher.weight.T, out=told[: len(h)])
            torch.mm(logits[: len(h)], weight, out=grad_hidden[start : start + step])
            grad_weight.addmm_(logits[: len(h)].T, h)

    return run_by_rows


def fused(rows: int, vocab: int, divergence: str) -> Callable[[], None]:
    """`tutelage.loss`, forward and backward."""
    hidden, weight, teacher = inputs(rows, vocab)

    def run() -> None:
        hidden.grad = weight.grad = None
        loss(hidden, weight, teacher, divergence).backward()

    return run


def dense(rows: int, vocab: int, divergence: str) -> Callable[[], None]:
    """The obvious way: everything of size rows x vocabulary, gradient by autograd."""
    hidden, weight, teacher = inputs(rows, vocab)
    named = TABLE.load(divergence)

    def run() -> None:
        hidden.grad = weight.grad = None
        plain_loss(Hidden(hidden, weight), teacher, named).mean().backward()

    return run


def make(what: tuple[Any, ...]) -> Callable[[], None]:
    """One contestant from its description."""
    kind, rows, vocab, *rest = what
    if kind == "products":
        return products(rows, vocab, by_vocabulary=rest[0])
    return (fused if kind == "fused" else dense)(rows, vocab, *rest)


def peak_mib(what: tuple[Any, ...]) -> float:
    """Peak resident memory of one run beyond that of its inputs, in MiB, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (what,))


def _peak(what: tuple[Any, ...]) -> float:
    run = make(what)
    # Not getrusage: its maximum is handed down from the process that started this one.
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def seconds(run: Callable[[], None]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def compare(rows: int, vocab: int, divergences: list[str], repeats: int, with_dense: bool) -> dict[str, Any]:
    """Median times, interleaved so that a busy moment of the machine hits all alike."""
    contestants = {
        "products by vocabulary": ("products", rows, vocab, True),
        "products by rows": ("products", rows, vocab, False),
    } | {name: ("fused", rows, vocab, name) for name in divergences}
    if with_dense:
        contestants["dense forward_kl"] = ("dense", rows, vocab, "forward_kl")
        contestants["dense jensen_shannon"] = ("dense", rows, vocab, "jensen_shannon")
    runs = {name: make(what) for name, what in contestants.items()}
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    medians = {name: statistics.median(values) for name, values in times.items()}
    limit = min(medians["products by vocabulary"], medians["products by rows"])
    return {
        "vocab": vocab,
        "rows": rows,
        "seconds": medians,
        "spread": {name: [min(v), max(v)] for name, v in times.items()},
        "ratio": {name: value / limit for name, value in medians.items()},
        "peak_mib": {n: peak_mib(what) for n, what in contestants.items() if not n.startswith("products")},
        "peak_mib_half_the_rows": peak_mib(("fused", rows // 2, vocab, "forward_kl")),
    }


def main() -> None:
    """Print a Markdown table; with --json also write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--vocab", type=int, nargs="+", default=[32000, 50257, 151936])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--divergences", nargs="+", default=[n for n, e in TABLE.items() if e.trains])
    parser.add_argument("--no-dense", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = []
    for vocab in asked.vocab:
        result = compare(asked.rows, vocab, asked.divergences, asked.repeats, not asked.no_dense)
        found.append(result)
        print(f"\n{asked.rows} rows, {vocab} tokens, hidden {STUDENT_WIDTH} / {TEACHER_WIDTH}\n")
        print("| | seconds (median) | times the products | peak MiB |\n|---|---|---|---|")
        for name, value in result["seconds"].items():
            memory = f"{result['peak_mib'][name]:.0f}" if name in result["peak_mib"] else ""
            print(f"| {name} | {value:.2f} | {result['ratio'][name]:.2f} | {memory} |")
        print(f"\nforward_kl with half the rows: {result['peak_mib_half_the_rows']:.0f} MiB")
    about = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": platform.processor(),
        "python": platform.python_version(),
    }
    print(f"\n{about}")
    if asked.json:
        asked.json.write_text(json.dumps({"about": about, "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
