"""What `train.py` and `cache.py` ask of processes of their own; the last line printed is the answer, JSON.

child.py tutelage VERB ...                  any command line of tutelage: its status, output and peak memory
child.py prepare RECIPE FOLDER              the student as a folder, and the rows of text of every step
child.py held_out TEACHER STUDENT ROWS      how far a student is from its teacher and from the text
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from common import resident_mib


def tutelage(*words: str) -> dict[str, Any]:
    """A command line of tutelage, in this process."""
    from tutelage.cli import answered

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = answered(words)
    return {"status": status, "said": said.getvalue(), "peak_mib": resident_mib("VmHWM")}


def prepare(recipe: str, folder: str) -> dict[str, Any]:
    """Write ``student/`` and ``rows.json``: tokens, and which of them count, in the order of the steps."""
    from tutelage.models import save_student
    from tutelage.recipes import load
    from tutelage.run.opened import Shelf
    from tutelage.run.study import make_accelerator

    read = load(recipe)
    shelf = Shelf(make_accelerator(read))
    student = shelf.student(read, read.seed)
    training = read.training
    samples = shelf.samples(read.samples, student).shared_out(
        seed=read.seed,
        micro_rows=training.per_device_train_batch_size,
        micro_steps=training.gradient_accumulation_steps,
    )
    steps = [samples.micro_batches(step) for step in range(training.max_steps)]
    written = {
        "train": [row for batches in steps for batch in batches for row in _rows(batch)],
        "held_out": [row for batch in shelf.held_out(read, student) for row in _rows(batch)],
    }
    save_student(student, Path(folder, "student"))
    Path(folder, "rows.json").write_text(json.dumps(written), encoding="utf-8")
    counted = [sum(int(batch.mask.sum()) for batch in batches) for batches in steps]
    return {"counted": counted, "parameters": student.parameters, "tokens": student.vocabulary.width}


def _rows(batch: Any) -> list[dict[str, list[int]]]:
    found = []
    for tokens, real, counts in zip(batch.tokens, batch.attention, batch.mask, strict=True):
        mask = counts[real].int().tolist()
        assert all(mask[mask.index(1) :]), "a prompt, then what counts: the only rows that TRL knows too"
        found.append({"input_ids": tokens[real].tolist(), "completion_mask": mask})
    return found


def held_out(teacher: str, student: str, rows: str) -> dict[str, float]:
    """Means per counted token in nats; plain torch and transformers, nothing of ours."""
    import torch
    from transformers import AutoModelForCausalLM

    models = [
        AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32).eval() for one in (teacher, student)
    ]
    kl, written, tokens = 0.0, 0.0, 0
    for row in json.loads(Path(rows).read_text(encoding="utf-8"))["held_out"]:
        ids, counts = torch.tensor([row["input_ids"]]), torch.tensor(row["completion_mask"][1:]).bool()
        with torch.no_grad():
            log_p, log_q = (model(ids).logits[0, :-1][counts].log_softmax(-1) for model in models)
        kl += float((log_p.exp() * (log_p - log_q)).sum())
        written -= float(log_q.gather(1, ids[0, 1:][counts][:, None]).sum())
        tokens += int(counts.sum())
    return {"forward_kl_nats": kl / tokens, "cross_entropy_nats": written / tokens, "tokens": tokens}


if __name__ == "__main__":
    verbs = {"tutelage": tutelage, "prepare": prepare, "held_out": held_out}
    print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
