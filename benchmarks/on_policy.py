"""A step on the student's own text: how fast it writes beside transformers, and where the time goes.

    python benchmarks/on_policy.py [--rows 8 32] [--new 64] [--repeats 5] [--json FILE]

`demo` is the packaged student with its teacher and stories; `gpt2` a new model of six layers, width 256, over
GPT-2's number of tokens, beside a teacher twice as wide. Both generators continue the same prompts of eight
tokens, drawing from the model's own distribution; a row that says the end token has ended, and only tokens
that were really written are counted. A step is then cut in three: writing (`samples`), scoring (the teacher's
body), and learning (the student's body, the fused evaluation with both output layers, the way back, AdamW).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from common import ROOT, document, made_with, table, where_to, write

from tutelage.estimators import PerToken
from tutelage.interfaces import Machine, Writers
from tutelage.models import LanguageModel, continued, load_model, new_model, prove_shared
from tutelage.objective import Term
from tutelage.recipes import find
from tutelage.run.learner import Learner
from tutelage.samples import StudentSamples
from tutelage.teachers import ModelTeacher

PROMPT = 8


def models(setting: str) -> tuple[LanguageModel, ModelTeacher]:
    """Student and open teacher of a setting."""
    if setting == "demo":
        teacher = ModelTeacher(find("package:demo/teacher")).open(Machine())
        return load_model(find("package:demo/student"), machine=Machine()), teacher
    tokenizer = ROOT / "recipes" / "demo" / "tokenizer"
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    shape = {"model_type": "gpt2", "n_layer": 6, "n_positions": 512, "vocab_size": 50_257, **still}
    student = new_model({**shape, "n_embd": 256, "n_head": 4}, tokenizer, seed=1, machine=Machine())
    wide = new_model({**shape, "n_embd": 512, "n_head": 8}, tokenizer, seed=2, machine=Machine())
    wide.model.eval().requires_grad_(False)
    return student, ModelTeacher("wide", loaded=wide)


def stories(student: LanguageModel, teacher: ModelTeacher, rows: int, new: int) -> Any:
    """Open samples, all of them the student's own."""
    words: dict[str, Any] = {"max_length": 192, "long": "cut", "prompt_tokens": PROMPT, "max_new_tokens": new}
    samples = StudentSamples(find("package:demo/data/train.txt.gz"), **words).open(student.tokenizer)
    shared = prove_shared(student.vocabulary, teacher.vocabulary)
    return samples.shared_out(seed=0, micro_rows=rows, micro_steps=1).written_with(Writers(student, shared))


def ours(student: LanguageModel, prompts: list[list[int]], new: int, turn: int) -> int:
    """Tokens that our generator wrote."""
    found = continued(student, prompts, most=new, seeds=[turn * 1000 + i for i in range(len(prompts))])
    return int(found.mask.sum())


def theirs(student: LanguageModel, prompts: list[list[int]], new: int, turn: int) -> int:
    """Tokens that transformers' generator wrote, up to each row's end token."""
    torch.manual_seed(turn)
    tokens, end = torch.tensor(prompts), student.tokenizer.eos_token_id
    model: Any = student.model.eval()
    with torch.no_grad():
        said = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=new,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            eos_token_id=end,
            pad_token_id=student.pad_id,
        )[:, tokens.shape[1] :]
    ended = (said == end).long().cumsum(1)
    return int(((ended == 0) | ((ended == 1) & (said == end))).sum())


def step(
    samples: Any, teacher: ModelTeacher, learner: Learner, optimizer: Any, turn: int
) -> dict[str, float]:
    """Seconds of the three parts of one step."""
    began = time.perf_counter()
    (batch,) = samples.micro_batches(turn)
    written = time.perf_counter()
    told = teacher(batch)
    scored = time.perf_counter()
    tokens, rows = batch.counts("student")
    share, _ = learner(batch, told, {"student": tokens, "student rows": rows})
    share.backward()
    optimizer.step()
    optimizer.zero_grad()
    learnt = time.perf_counter()
    return {"writing": written - began, "scoring": scored - written, "learning": learnt - scored}


def measured(setting: str, rows: int, new: int, repeats: int) -> dict[str, Any]:
    """One line of the table."""
    student, teacher = models(setting)
    samples = stories(student, teacher, rows, new)
    prompts = [samples.prompt(samples.examples[i]) for i in range(rows)]
    writers: dict[str, Callable[..., int]] = {"ours": ours, "transformers": theirs}
    speeds: dict[str, list[float]] = {name: [] for name in writers}
    for turn in range(repeats + 1):
        for name, writer in writers.items():
            began = time.perf_counter()
            tokens = writer(student, prompts, new, turn)
            if turn:
                speeds[name].append(tokens / (time.perf_counter() - began))
    learner = Learner(student, (Term("reverse_kl", on="student"),), PerToken(), samples.writers.shared)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-6)
    learner.train()
    parts = [step(samples, teacher, learner, optimizer, turn) for turn in range(repeats + 1)][1:]
    return {
        "setting": setting,
        "rows": rows,
        "new_tokens": new,
        "tokens_per_second": {name: statistics.median(values) for name, values in speeds.items()},
        "ratios": [a / b for a, b in zip(speeds["ours"], speeds["transformers"], strict=True)],
        "seconds": {name: statistics.median(part[name] for part in parts) for name in parts[0]},
    }


def text(said: Mapping[str, Any]) -> str:
    """The document as Markdown."""
    lines = []
    for one in said["results"]["steps"]:
        speed, seconds, ratios = one["tokens_per_second"], one["seconds"], sorted(one["ratios"])
        whole = sum(seconds.values())
        lines.append(
            [
                f"`{one['setting']}`, {one['rows']} rows of {one['new_tokens']} new tokens",
                f"{speed['ours']:,.0f}",
                f"{speed['transformers']:,.0f}",
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                *(f"{seconds[name] / whole:.0%}" for name in ("writing", "scoring", "learning")),
                f"{whole:.2f}",
            ]
        )
    head = ["", "new tokens/s", "transformers", "ratio", "writing", "scoring", "learning", "step, s"]
    return table(head, lines) + "\n\n" + made_with(said)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    where_to(parser)
    parser.add_argument("--settings", nargs="+", default=["demo", "gpt2"], choices=["demo", "gpt2"])
    parser.add_argument("--rows", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--new", type=int, default=64, help="New tokens of a row at most.")
    asked = parser.parse_args()
    steps = [
        measured(setting, rows, asked.new, asked.repeats) for setting in asked.settings for rows in asked.rows
    ]
    said = document("on_policy", {"steps": steps})
    write(None if asked.json is None else Path(asked.json), said)
    print(text(said))


if __name__ == "__main__":
    main()
