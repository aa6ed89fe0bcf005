"""TRL's trainers on rows that are already tokenised; `train.py` runs this in the environment of peers.txt.

The last line printed is the answer, JSON: when each step ended, peak memory, and where the student is.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import resident_mib
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DistillationConfig, DistillationTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

BETA = {"forward_kl": 0.0, "jensen_shannon": 0.5, "reverse_kl": 1.0}


class Clock(TrainerCallback):
    """Remembers when each step ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the trainer."""
        self.seconds.append(time.perf_counter())


class OnData(DistillationTrainer):
    """TRL's trainer with the chunked loss, which only knows text that the student writes: the rows of the
    data take the place of what it would generate, so that nothing is generated."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        begins = [row["completion_mask"].index(1) for row in inputs]
        ids = [torch.tensor(row["input_ids"]) for row in inputs]
        prompts = [row[:begin] for row, begin in zip(ids, begins, strict=True)]
        completions = [row[begin:] for row, begin in zip(ids, begins, strict=True)]
        fill = self._tokenizer.pad_token_id
        masks = _filled([torch.ones_like(row) for row in completions], 0, left=False)
        return {
            "prompt_ids": _filled(prompts, fill, left=True),
            "prompt_mask": _filled([torch.ones_like(row) for row in prompts], 0, left=True),
            "completion_ids": _filled(completions, fill, left=False),
            "completion_mask": masks,
            "num_items_in_batch": masks.sum(),
        }


def _filled(rows: list[torch.Tensor], fill: int, *, left: bool) -> torch.Tensor:
    side = "left" if left else "right"
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill, padding_side=side)


def trainer(how: dict[str, Any], clock: Clock) -> Any:
    """TRL's trainer with the settings of the recipe."""
    rows = json.loads(Path(how["rows"]).read_text(encoding="utf-8"))["train"]
    rows = [{**row, "prompt": ""} for row in rows]
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(how[name], dtype=torch.float32)
        for name in ("student", "teacher")
    )
    settings = {
        **how["training"],
        "output_dir": how["out"],
        "beta": BETA[how["divergence"]],
        "temperature": 1.0,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_dropout": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    common = {
        "model": student,
        "teacher_model": teacher,
        "train_dataset": Dataset.from_list(rows),
        "processing_class": AutoTokenizer.from_pretrained(how["student"]),
        "callbacks": [clock],
    }
    if how["kind"] == "GKDTrainer":
        order = {"train_sampling_strategy": "sequential", "lmbda": 0.0, "max_length": how["max_length"]}
        return GKDTrainer(args=GKDConfig(**settings, **order), **common)
    return OnData(args=DistillationConfig(**settings, shuffle_dataset=False), **common)


def main() -> None:
    """Train, save, and say what it took."""
    how = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    clock = Clock()
    run = trainer(how, clock)
    run.train()
    peak = resident_mib("VmHWM")
    run.model.save_pretrained(Path(how["out"], "student"))
    print(json.dumps({"ended": clock.seconds, "peak_mib": peak, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
