"""Run and study folders as the files describe them, with numbers of the size that small models give."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)
STEPS = tuple(range(0, 401, 20))
ENDS = {"sft": 2.604, "forward_kl": 2.561, "jensen_shannon": 2.583}
T95 = 4.303
"""Student's t for two degrees of freedom."""

WHAT = {
    "untouched": "the student before training",
    "sft": "cross-entropy on the gold tokens, the same tokens and steps",
    "forward_kl": "KL from the teacher to the student, exact over the vocabulary",
    "jensen_shannon": "Jensen-Shannon with beta 0.5",
}

STORY = """\
Once upon a time, there was a little girl named Lily. She loved to play in the garden with her dog, Max. \
One day, Lily saw a big red ball near the tree.
"Look, Max! A ball!" she said. Max ran to the ball, but it was stuck under a bush. Lily was sad.
Her mom came and pulled the ball out. Lily was so happy that she hugged her mom."""

TEXTS = {
    "teacher": """, there was a little boy named Tim. Tim had a toy car that he loved very much. One day it \
rolled under the couch, and Tim could not reach it. His mom used a broom to get it back.
Tim was happy again.""",
    "untouched": """ mug ," Ses up gre. le tin ttowbig the,, He "wasr pon ok

an thI st Lilyed. nevshe bird""",
    "sft": """, there was a little girl named Lily. She liked to play with her mom. One day she saw a dog. \
The dog was very happy and she was very happy. They played and played and the dog was happy.""",
    "forward_kl": """, there was a little boy named Tim. Tim had a toy that he liked to play with. One day \
he lost the toy. He looked under the bed and found it. Tim was happy and hugged his mom.""",
    "jensen_shannon": """, there was a little girl named Sue. Sue had a red ball. She went to the park \
with her mom and played with the ball all day. They were happy.""",
}


def write_study(folder: Path) -> Path:
    """A study of three trained arms and the untouched student, three seeds each."""
    chance = random.Random(7)
    arms = [_untouched(), *(_arm(name, chance) for name in ENDS)]
    results = {
        "held_out": {"path": "data/tinystories/valid.txt.gz", "rows": 100, "tokens": 20480},
        "teacher": {"nats_per_token": 2.0431},
        "arms": arms,
        "compared_with": "sft",
        "differences": [_difference(arms, name, metric) for metric in METRICS for name in (*ENDS, "untouched")
                        if name != "sft"],
        "noise_floor": {
            "student_nats": 0.0041, "forward_kl_nats": 0.0047, "agreement": 0.0019,
            "how": "spread of the control arm over its seeds, standard deviation of three runs",
        },
    }  # fmt: skip
    _put(folder, "run.json", run_file(seeds=list(SEEDS)))
    _put(folder, "results.json", results)
    _put(folder, "texts.json", texts(["teacher", "untouched", *ENDS]))
    _put(folder, "heat.json", [heat(chance, name) for name in ENDS])
    for arm in arms[1:]:
        for curve in arm["curves"]:
            place = folder / "arms" / arm["name"] / f"seed-{curve['seed']}"
            place.mkdir(parents=True)
            (place / "metrics.jsonl").write_text(metrics(curve))
    return folder


def write_plain(folder: Path, *, finished: bool = True) -> Path:
    """A run of one arm and one seed; without results if it is not finished."""
    chance = random.Random(11)
    arm = _arm("forward_kl", chance, seeds=(0,)) | {"name": "student", "what": "the trained student"}
    curve = arm["curves"][0]
    _put(folder, "run.json", run_file(seed=0))
    (folder / "metrics.jsonl").write_text(metrics(curve))
    if finished:
        results = {
            "held_out": {"path": "data/dolly/dev.jsonl.gz", "rows": 100, "tokens": 9120},
            "teacher": {"nats_per_token": 2.0431},
            "arms": [arm],
            "compared_with": None,
            "differences": [],
            "noise_floor": {},
        }
        _put(folder, "results.json", results)
        _put(folder, "texts.json", texts(["teacher", "student"]))
        _put(folder, "heat.json", [heat(chance, "student")])
    return folder


def change(folder: Path, name: str, what: Callable[[Any], Any]) -> None:
    """Rewrite one JSON file: ``what`` changes its content in place."""
    content = json.loads((folder / name).read_text())
    what(content)
    _put(folder, name, content)


METRICS = ("student_nats", "forward_kl_nats", "agreement")


def _arm(name: str, chance: random.Random, seeds: tuple[int, ...] = SEEDS) -> dict[str, Any]:
    # A seed shifts all arms alike (same weights at the start, same order of rows); little is left to chance.
    curves = [_curve(ENDS[name] + 0.004 * (seed - 1), seed, chance) for seed in seeds]
    last = [{key: curve[f"eval_{key}"][-1] for key in METRICS} for curve in curves]
    return {
        "name": name,
        "what": WHAT[name],
        "seeds": list(seeds),
        "numbers": {key: [row[key] for row in last] for key in METRICS},
        "curves": curves,
        "calibration": calibration(0.02),
    }


def calibration(too_sure: float) -> dict[str, Any]:
    """Bins of a student that is right so much less often than it says; the first two have no tokens."""
    bins = [
        [100.0 * i, 100.0 * i * (i + 0.5) / 15, 100.0 * i * ((i + 0.5) / 15 - too_sure)] for i in range(15)
    ]
    bins[1] = [0.0, 0.0, 0.0]
    return {"error": too_sure, "bins": bins}


def _curve(end: float, seed: int, chance: random.Random) -> dict[str, Any]:
    falls = [end + (7.62 - end) * math.exp(-step / 55) + chance.gauss(0, 0.0015) for step in STEPS[1:]]
    nats = [7.6214, *falls]
    kl = [value - 2.0431 + 0.05 + chance.gauss(0, 0.001) for value in nats]
    return {
        "seed": seed,
        "step": list(STEPS),
        "eval_student_nats": nats,
        "eval_forward_kl_nats": kl,
        "eval_agreement": [0.62 - 0.09 * value for value in kl],
        "loss_nats": [None, *(value + chance.gauss(0, 0.06) for value in falls)],
    }


def _untouched() -> dict[str, Any]:
    numbers = {"student_nats": [7.6214], "forward_kl_nats": [5.6283], "agreement": [0.0004]}
    what = WHAT["untouched"]
    return {"name": "untouched", "what": what, "seeds": [0], "numbers": numbers, "curves": []}


def _difference(arms: list[dict[str, Any]], name: str, metric: str) -> dict[str, Any]:
    numbers = {arm["name"]: arm["numbers"][metric] for arm in arms}
    mine = numbers[name] * (len(SEEDS) if name == "untouched" else 1)
    gaps = [a - b for a, b in zip(mine, numbers["sft"], strict=True)]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1))
    half = T95 * spread / math.sqrt(len(gaps))
    ends = {"low": mean - half, "high": mean + half}
    return {"arm": name, "metric": metric, "mean": mean, **ends, "confidence": 0.95}


def metrics(curve: dict[str, Any]) -> str:
    """A curve as the lines of ``metrics.jsonl``: evaluation and training on lines of their own."""
    lines = []
    for i, step in enumerate(curve["step"]):
        if curve["loss_nats"][i] is not None:
            speed = {"tokens_per_second": 5100.0, "seconds": 0.24 * step, "counted_tokens": 2048 * step}
            lines.append({"step": step, "loss_nats": curve["loss_nats"][i], "learning_rate": 1e-3, **speed})
        lines.append({"step": step, **{key: curve[key][i] for key in curve if key.startswith("eval_")}})
    return "".join(json.dumps(line) + "\n" for line in lines)


def run_file(**seeds: Any) -> dict[str, Any]:
    """``run.json`` of the demo."""
    return {
        "sentence": {
            "teacher": "the model tutelage-demo/teacher",
            "divergence": "forward KL",
            "samples": "the data set tinystories",
            "constraint": "none",
            "plan": "none",
        },
        "recipe": {
            "out": "tutelage-demo/run",
            **seeds,
            "student": {"config": {"model_type": "gpt2", "n_embd": 128, "n_layer": 2, "n_head": 4}},
            "teacher": {"kind": "model", "model": "tutelage-demo/teacher"},
            "objective": [{"divergence": "forward_kl", "weight": 1.0, "temperature": 1.0, "on": "dataset"}],
            "samples": {"kind": "dataset", "data": "data/tinystories/train.txt.gz", "max_length": 256},
            "training": {"learning_rate": 0.001, "max_steps": 400, "lr_scheduler_type": "cosine"},
            "arms": {name: {"divergence": name} for name in ("cross_entropy", "jensen_shannon")},
            "control": "sft",
        },
        "recipe_hash": "9f2c4be0a1d35c8b7e6f0a1b2c3d4e5f60718293a4b5c6d7e8f9012345678abc",
        **seeds,
        "versions": {"tutelage": "0.1.0", "torch": "2.13.0", "transformers": "5.24.0"},
        "commit": None,
        "machine": {"cpu": "an x86-64 processor", "cores": 2, "memory_gib": 23.4, "device": "cpu"},
        "data": [
            {
                "path": "data/tinystories/train.txt.gz",
                "sha256": "5b1d0c8e7f6a5b4c3d2e1f009182736455463728190a0b0c0d0e0f1011121314",
                "rows": 2200,
                "found": "text",
            }
        ],
        "papers": ["hinton", "jensen-shannon", "gkd"],
        "command": "tutelage run recipe.yaml out=tutelage-demo/run",
        "started": "2026-11-24T21:40:02+00:00",
        "finished": "2026-11-24T21:43:11+00:00",
        "minutes": 3.15,
        "student": {"parameters": 680_064},
        "teacher": {"parameters": 5_243_904},
    }  # fmt: skip


def texts(writers: list[str]) -> list[dict[str, Any]]:
    """``texts.json``: two beginnings, each continued by every writer."""
    prompts = ["Once upon a time", "Lily and Tom went to the park"]
    written = TEXTS | {"student": TEXTS["forward_kl"]}
    return [
        {"prompt": prompt, "texts": [{"writer": w, "text": written[w]} for w in writers]}
        for prompt in prompts
    ]


def heat(chance: random.Random, arm: str) -> dict[str, Any]:
    """One arm of ``heat.json``, a story in words and line ends; the first three tokens do not count."""
    pieces = STORY.replace("\n", " \n ").replace(" \n  ", "\n").split(" ")
    tokens = [pieces[0], *(piece if piece == "\n" else f" {piece}" for piece in pieces[1:])]
    cells = []
    for i, token in enumerate(tokens):
        other = chance.choice([" the", " was", " big", " her", ",", " and"])
        sure = chance.uniform(0.04, 0.92)
        nats = min(chance.lognormvariate(-1.9, 1.4), 6.0)
        cells.append(
            {
                "token": token,
                "nats": nats if i > 2 else 0.0,
                "counted": i > 2,
                "student": [other, sure],
                "teacher": [token, chance.uniform(0.2, 0.98)],
            }
        )
    return {"arm": arm, "seed": 0, "divergence": "forward_kl", "tokens": cells}


def _put(folder: Path, name: str, content: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content, indent=1))
