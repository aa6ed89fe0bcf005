"""A whole run beside TRL's trainer: tokens a second, peak memory, and whether both learnt the same.

    python benchmarks/train.py --json benchmarks/train.json            (in the environment of peers.txt)

Two settings, both in float32 on the CPU with all threads:

- ``demo``: the demo's GPT-2 teacher (256 wide, 4 layers) and student (128, 2) of 2,048 tokens, TinyStories;
- ``gpt2``: a Llama teacher (256, 4) that was taught for some steps and a new student (128, 2), with GPT-2's
  50,257 tokens, on dolly: prompts, and answers that count.

Contestants: `tutelage run`; TRL's `GKDTrainer` with ``lmbda=0`` (text of the data, all logits); and TRL's
`DistillationTrainer` (chunked loss), which knows only text that the student writes, with the rows of the data
in the place of what it would generate. TRL runs plain and with settings that help code which asks for fresh
memory all the time. The same weights, rows in the same order, steps, rate and its schedule, clipping; no
dropout differs: the models have none. Every contestant runs in a process of its own, in turns.

Tokens a second are the counted tokens of the steps after the first few, over the wall time from the end of
the last of those to the end of the last step: start-up, saving and reports are not in it. Peak memory is
that of the whole process (Linux's VmHWM), libraries included. Held-out numbers are computed from the saved
students by plain torch. Without TRL the rest runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import HERE, KEEPING_MEMORY, ROOT, ask, document, made_with, table, where_to, write
from whole_runs import CHILD, STORIES, run, training, tutelage, written

from tutelage.recipes import find

DOLLY = {
    "kind": "dataset",
    "data": str(ROOT / "data/dolly/train.jsonl.gz"),
    "prompt": "Instruction:\n{instruction}\n\nInput:\n{input}\n\nResponse:\n",
    "completion": "{output}",
    "max_length": 256,
}


def llama(width: int, layers: int) -> dict[str, Any]:
    """A new Llama with GPT-2's tokens."""
    config = {"model_type": "llama", "hidden_size": width, "intermediate_size": 3 * width}
    config |= {"num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 4}
    config |= {"max_position_embeddings": 256, "tie_word_embeddings": True}
    return {"config": config, "tokenizer": str(ROOT / "data/tokenizers/gpt2")}


GPT2 = {
    "samples": DOLLY,
    "evaluation": {"data": str(ROOT / "data/dolly/dev.jsonl.gz"), "max_rows": 40},
    "student": llama(128, 2),
    "teacher": llama(256, 4),
}
SETTINGS = {"demo": STORIES, "gpt2": GPT2}
TRL = {"TRL GKDTrainer": "GKDTrainer", "TRL DistillationTrainer on data": "DistillationTrainer"}
MEMORY = ", keeping memory"


def measured(name: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """All contestants in one setting."""
    setting = {key: dict(value) for key, value in SETTINGS[name].items()}
    if "config" in setting["teacher"]:
        setting["teacher"] = {"kind": "model", "model": taught(setting, folder, asked)}
    recipe = {"out": str(folder / "out"), "seed": 0, **setting, "divergence": asked.divergence}
    recipe["training"] = training(asked.steps, asked.rows)
    prepared = ask([CHILD, "prepare", written(folder / "prepare.yaml", recipe), folder])
    recipe["student"] = {"model": str(folder / "student")}
    recipe.pop("evaluation")
    ours = written(folder / "run.yaml", recipe)
    teacher = find(recipe["teacher"]["model"])
    found: dict[str, list[dict[str, Any]]] = {}
    for turn in range(asked.repeats):
        for contestant in contestants(asked):
            out = folder / f"{contestant}-{turn}"
            if contestant == "tutelage":
                one = run(ours, out, asked.warm)
            else:
                one = trl(contestant, folder, out, teacher, prepared["counted"], asked)
            one["rate"] = one["tokens"] / one["seconds"]
            print(
                f"{name}  {contestant}: {one['rate']:,.0f} tokens/s, {one['peak_mib']:,.0f} MiB", flush=True
            )
            found.setdefault(contestant, []).append(one)
    students = {who: folder / f"{who}-0" / "student" for who in found} | {"untouched": folder / "student"}
    held_out = {
        who: ask([CHILD, "held_out", teacher, student, folder / "rows.json"])
        for who, student in students.items()
    }
    return {
        "setting": name,
        "divergence": asked.divergence,
        "steps": asked.steps,
        "rows": asked.rows,
        "vocab": prepared["tokens"],
        "student_parameters": prepared["parameters"],
        "contestants": {who: _summary(runs) for who, runs in found.items()},
        "held_out": held_out,
    }


def contestants(asked: argparse.Namespace) -> list[str]:
    """Who takes part; TRL where it is installed."""
    if asked.no_trl or importlib.util.find_spec("trl") is None:
        return ["tutelage"]
    return ["tutelage", *(name + more for name in TRL for more in ("", MEMORY))]


def taught(setting: Mapping[str, Any], folder: Path, asked: argparse.Namespace) -> str:
    """A teacher that has read some of the text, so that there is something to be learnt from it."""
    recipe = {"out": str(folder / "teacher"), "seed": 0, "student": setting["teacher"]}
    recipe |= {"samples": setting["samples"], "divergence": "cross_entropy"}
    recipe["training"] = training(asked.teacher_steps, asked.rows) | {"learning_rate": 2.0e-3}
    tutelage(["run", written(folder / "teacher.yaml", recipe)])
    return str(folder / "teacher" / "student")


def trl(
    name: str, folder: Path, out: Path, teacher: str | Path, counted: Sequence[int], asked: argparse.Namespace
) -> dict[str, Any]:
    """One run of one of TRL's trainers."""
    names = (
        "learning_rate",
        "per_device_train_batch_size",
        "lr_scheduler_type",
        "warmup_steps",
        "weight_decay",
    )
    settings = training(asked.steps, asked.rows)
    how = {
        "kind": TRL[name.removesuffix(MEMORY)],
        "rows": str(folder / "rows.json"),
        "student": str(folder / "student"),
        "teacher": str(teacher),
        "out": str(out),
        "divergence": asked.divergence,
        "max_length": 256,
        "training": {key: settings[key] for key in (*names, "max_grad_norm", "max_steps", "logging_steps")},
    }
    path = folder / "trl.json"
    path.write_text(json.dumps(how), encoding="utf-8")
    environment = {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}
    done = ask([HERE / "train_trl.py", path], environment | (KEEPING_MEMORY if name.endswith(MEMORY) else {}))
    ended = done["ended"]
    return {
        "tokens": sum(counted[asked.warm : asked.steps]),
        "seconds": ended[-1] - ended[asked.warm - 1],
        "peak_mib": done["peak_mib"],
    }


def _summary(runs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    rates = [one["rate"] for one in runs]
    return {
        "tokens_per_second": statistics.median(rates),
        "spread": [min(rates), max(rates)],
        "tokens": runs[0]["tokens"],
        "peak_mib": statistics.median(one["peak_mib"] for one in runs),
    }


def text(said: Mapping[str, Any]) -> str:
    """A document of this benchmark in Markdown."""
    parts = []
    for one in said["results"]:
        rates = one["contestants"]
        limit = rates["tutelage"]["tokens_per_second"]
        lines = [
            [
                who,
                f"{of['tokens_per_second']:,.0f}",
                f"{limit / of['tokens_per_second']:.2f}",
                f"{of['peak_mib']:,.0f}",
                f"{one['held_out'][who]['forward_kl_nats']:.4f}",
                f"{one['held_out'][who]['cross_entropy_nats']:.4f}",
            ]
            for who, of in rates.items()
        ]
        before = one["held_out"]["untouched"]
        before = [f"{before[name]:.4f}" for name in ("forward_kl_nats", "cross_entropy_nats")]
        columns = [
            (
                f"`{one['setting']}`: {one['vocab']:,} tokens, {one['divergence']}, {one['steps']} steps of "
                f"{one['rows']} rows"
            ),
            "tokens/s",
            "tutelage is faster by",
            "peak MiB",
            "held out: KL from the teacher, nats",
            "of the text, nats",
        ]
        parts.append(table(columns, [*lines, ["untouched student", None, None, None, *before]]))
    return "\n\n".join([*parts, made_with(said)])


def parsed() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    where_to(parser)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument(
        "--divergence", default="jensen_shannon", choices=("forward_kl", "jensen_shannon", "reverse_kl")
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warm", type=int, default=5, help="First steps that are not timed.")
    parser.add_argument("--rows", type=int, default=8, help="Rows of text in a step.")
    parser.add_argument("--teacher-steps", type=int, default=60, help="Of the teacher of `gpt2`.")
    parser.add_argument("--no-trl", action="store_true", help="Ours alone.")
    return parser.parse_args()


def main() -> None:
    """Print a Markdown table; with --json also write the numbers, after every setting."""
    asked = parsed()
    results = []
    for name in asked.settings:
        with tempfile.TemporaryDirectory(prefix="train-") as folder:
            results.append(measured(name, Path(folder), asked))
        said = document("train", results, ("trl",))
        write(asked.json, said)
    print(text(said))


if __name__ == "__main__":
    main()
