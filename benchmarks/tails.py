"""What `tail: renormalise` and `drop` do to a distillation from top-k lists, beside `bucket` and the whole.

    python benchmarks/tails.py [--k 8 64 512] [--rows 60] [--json FILE]

Teacher, student and held-out text are the demo's. For every k the student's forward KL is computed from the
teacher's k likeliest tokens in each of the three ways and from all tokens, with the gradient by the student's
logits. The bias of a value is its difference from the whole; that of a gradient is told by its relative
error and by the cosine of its angle to the whole gradient, means over positions.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from common import document, made_with, table, where_to, write
from torch import Tensor

from tutelage.distribution import Hidden, TopK, kept
from tutelage.distribution.top_k import Tail
from tutelage.divergences import forward_kl, loss
from tutelage.interfaces import Batch, Machine
from tutelage.models import load_model, rows_of
from tutelage.recipes import find
from tutelage.samples import DatasetSamples

TAILS: tuple[Tail, ...] = ("bucket", "renormalise", "drop")


def batches(rows: int) -> list[Batch]:
    """The demo's held-out text."""
    data = DatasetSamples(
        data=find("package:demo/data/valid.txt.gz"), max_length=192, long="cut", max_rows=rows
    )
    model = load_model(find("package:demo/student"), machine=Machine())
    return data.open(model.tokenizer).in_order(8)


def by_logits(log_q: Tensor, teacher: Any) -> tuple[float, Tensor]:
    """Sum over positions of forward KL in nats, and its gradient by the student's logits ``[N, V]``.

    The student's logits are made the hidden states of a layer that hands them on, so that the fused
    evaluation itself is measured.
    """
    logits = log_q.clone().requires_grad_()
    vocab_size = log_q.shape[1]
    value = loss(logits, torch.eye(vocab_size), teacher, "forward_kl") * len(log_q)
    value.backward()
    assert logits.grad is not None
    return float(value.detach()), logits.grad


def compared(told: list[Batch], ks: list[int]) -> list[dict[str, Any]]:
    """One line for every k and tail."""
    student = load_model(find("package:demo/student"), machine=Machine())
    teacher = load_model(find("package:demo/teacher"), machine=Machine())
    sums: dict[tuple[int, str], dict[str, float]] = {}
    tokens, whole_sum = 0, 0.0
    for batch in told:
        with torch.no_grad():
            rows = []
            for model in (student, teacher):
                hidden, layer = rows_of(model, batch)
                rows.append(Hidden(hidden, layer.weight).log_probs())
            log_q, log_p = rows
        tokens += len(log_q)
        whole, gradient = by_logits(log_q, Hidden(log_p, torch.eye(log_p.shape[1])))
        whole_sum += whole
        assert math.isclose(whole, float(forward_kl(log_q, log_p).sum()), rel_tol=1e-3)
        for k in ks:
            best = kept(Hidden(log_p, torch.eye(log_p.shape[1])), k)
            rest = best.log_tail.exp().sum() if best.log_tail is not None else torch.zeros(())
            for tail in TAILS:
                cut = TopK(best.ids, best.log_probs_kept, best.vocab_size, best.log_tail, tail=tail)
                value, other = by_logits(log_q, cut)
                into = sums.setdefault((k, tail), dict.fromkeys(("value", "error", "cosine", "rest"), 0.0))
                into["value"] += value
                into["error"] += float((other - gradient).norm(dim=1).div(gradient.norm(dim=1)).sum())
                into["cosine"] += float(torch.cosine_similarity(other, gradient, dim=1).sum())
                into["rest"] += float(rest)
    return [
        {
            "k": k,
            "tail": tail,
            "teacher_rest": found["rest"] / tokens,
            "forward_kl_nats": found["value"] / tokens,
            "whole_nats": whole_sum / tokens,
            "gradient_error": found["error"] / tokens,
            "gradient_cosine": found["cosine"] / tokens,
            "tokens": tokens,
        }
        for (k, tail), found in sums.items()
    ]


def text(said: Mapping[str, Any]) -> str:
    """A document of this benchmark in Markdown."""
    lines: Sequence[Mapping[str, Any]] = said["results"]
    columns = [
        f"{lines[0]['tokens']:,} held-out tokens",
        "teacher's mass beyond k",
        f"forward KL (whole: {lines[0]['whole_nats']:.4f})",
        "gradient: relative error",
        "cosine",
    ]
    rows = [
        [
            f"k {line['k']}, `{line['tail']}`",
            f"{line['teacher_rest']:.4f}",
            f"{line['forward_kl_nats']:.4f}",
            f"{line['gradient_error']:.3f}",
            f"{line['gradient_cosine']:.4f}",
        ]
        for line in lines
    ]
    return "\n\n".join([table(columns, rows), made_with(said)])


def main() -> None:
    """Print a Markdown table; with --json also write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    where_to(parser, repeats=False)
    parser.add_argument("--k", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--rows", type=int, default=60)
    chosen = parser.parse_args()
    said = document("tails", compared(batches(chosen.rows), chosen.k))
    write(chosen.json, said)
    print(text(said))


if __name__ == "__main__":
    main()
