"""One of the processes that share a step; started as ``python -m tutelage.conformance.worker FOLDER``."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tutelage.conformance.sameness import steps_apart, told_of
from tutelage.conformance.subject import Step, opened
from tutelage.files import write_text
from tutelage.recipes import from_dict
from tutelage.run.loop import counted_tokens

PROCESSES = 2
QUESTION, ANSWER, MEETING = "recipe.json", "answer.json", "meeting"


def main(folder: Path) -> None:
    """Open the recipe of the folder, take every other row, and let the first process tell the difference."""
    rank = int(os.environ["RANK"])
    # Where they meet is a file: a free port that is found beforehand may be taken by then.
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / MEETING}", rank=rank, world_size=PROCESSES
    )
    subject = opened(from_dict(json.loads((folder / QUESTION).read_text(encoding="utf-8"))))
    accelerator, learner = subject.accelerator, subject.learner
    if accelerator.num_processes != PROCESSES:
        raise RuntimeError(f"{accelerator.num_processes} processes, not {PROCESSES}")
    alone = subject.whole if rank == 0 else None
    batch = subject.batch_of(subject.rows[rank::PROCESSES])
    told = told_of(subject, batch)
    wrapped = accelerator.prepare(learner)
    share, _ = wrapped(batch, told, counted_tokens([batch], learner, accelerator))
    # As in a run: data parallelism averages gradients, and a share is of the whole step.
    accelerator.backward(share * PROCESSES)
    loss: Any = accelerator.reduce(share.detach().double(), "sum")
    if alone is not None:
        weights = [p for p in learner.parameters() if p.requires_grad]
        parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        step = Step(float(loss), torch.cat([part.float().flatten() for part in parts]))
        answer = {name: dataclasses.asdict(found) for name, found in steps_apart(subject, step).items()}
        write_text(folder / ANSWER, json.dumps(answer))
    accelerator.wait_for_everyone()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
