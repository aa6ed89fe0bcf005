"""What the loop must not depend on: micro-batches, processes, padding of the vocabulary."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_runs import STORIES, TOKENIZER, close, lines, run_by_two, tiny_config, trained
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.interfaces import Machine
from tutelage.models import load_model, new_model, save_student
from tutelage.recipes import load
from tutelage.run import distil
from tutelage.seeds import stream_seed


def test_micro_batches_change_nothing(recipe_file: Path, tmp_path: Path) -> None:
    """4 rows at once or 4 micro-batches of one: rows of unlike lengths, one mean (law 1)."""
    uncut = ["samples.max_length=128", "samples.long=cut"]
    whole = trained(recipe_file, tmp_path / "a", *uncut)
    split = trained(
        recipe_file,
        tmp_path / "b",
        "training.per_device_train_batch_size=1",
        "training.gradient_accumulation_steps=4",
        *uncut,
    )
    assert close(whole, split)


@pytest.mark.slow
def test_two_processes_train_what_one_does(recipe_file: Path, tmp_path: Path) -> None:
    """Each takes half of the rows of a step; the weights agree (law 1)."""
    alone = trained(recipe_file, tmp_path / "alone", "samples.max_length=96")
    out = tmp_path / "two"
    changes = [f"out={out}", "training.per_device_train_batch_size=2", "samples.max_length=96"]
    run_by_two(recipe_file, 29517, *changes)
    assert json.loads((out / "run.json").read_text())["machine"]["processes"] == 2
    assert close(alone, load_file(out / "student" / "model.safetensors"))
    assert [line["step"] for line in lines(out)] == [line["step"] for line in lines(tmp_path / "alone")]


def test_the_loss_falls_and_the_end_token_is_learnt(recipe_file: Path, tmp_path: Path) -> None:
    """Padding and end are one token; the mask comes from lengths, so the end is taught all the same."""
    data = tmp_path / "same.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": "One", "completion": " day."}) for _ in range(8)))
    changes = [
        f"samples.data={data}",
        "samples.max_rows=8",
        "evaluation=none",
        "teacher=none",
        "divergence=cross_entropy",
        "training.max_steps=60",
        "training.learning_rate=0.02",
        "training.lr_scheduler_type=constant",
    ]
    out = distil(load(str(recipe_file), [f"out={tmp_path / 'end'}", *changes]))
    losses = [line["loss_nats"] for line in lines(out) if "loss_nats" in line]
    assert losses[-1] < 0.05 < losses[0]
    student = load_model(out / "student", machine=Machine())
    start = [student.tokenizer.bos_token_id, *student.tokenizer("One day.").input_ids]
    with torch.no_grad():
        logits = student.model(torch.tensor([start])).logits[0, -1]
    assert int(logits.argmax()) == student.tokenizer.eos_token_id


def test_families_padded_to_different_sizes_train_on_what_they_share(
    recipe_file: Path, tmp_path: Path
) -> None:
    """A student of 2,100 rows and a teacher of 2,176 share the tokenizer's 2,048 tokens."""
    teacher = new_model(tiny_config(n_embd=32, vocab_size=2176), TOKENIZER, seed=7, machine=Machine())
    with torch.no_grad():
        # The teacher would like a padding row best: it must not be able to say so.
        teacher.model.get_output_embeddings().weight[2100] *= 50
    save_student(teacher, tmp_path / "padded")
    words = yaml.safe_load(recipe_file.read_text())
    words["teacher"] = str(tmp_path / "padded")
    words["student"]["config"]["vocab_size"] = 2100
    recipe_file.write_text(yaml.safe_dump(words))
    out = distil(load(str(recipe_file), []))
    student = load_model(out / "student", machine=Machine())
    assert student.model.get_output_embeddings().weight.shape[0] == 2100
    evaluated = [line for line in lines(out) if "eval_mass_left_out" in line]
    assert evaluated[-1]["eval_mass_left_out"] > 0.1
    drawn = stream_seed(0, "student")
    before = new_model(words["student"]["config"], TOKENIZER, seed=drawn, machine=Machine())
    assert torch.isfinite(torch.tensor([line["eval_forward_kl_nats"] for line in evaluated])).all()
    # No gradient ever reached the padding rows: AdamW without decay left them where they began.
    rows, began = (m.model.get_output_embeddings().weight for m in (student, before))
    assert torch.equal(rows[2048:], began[2048:])
    assert not torch.equal(rows[:2048], began[:2048])


def test_the_student_opens_anywhere_and_the_record_is_complete(
    recipe_file: Path, tmp_path: Path, teacher: Path
) -> None:
    """A plain folder for transformers; run.json says what it was made of."""
    out = distil(load(str(recipe_file), []), command="tutelage run recipe.yaml")
    AutoModelForCausalLM.from_pretrained(out / "student")
    AutoTokenizer.from_pretrained(out / "student")
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == "tutelage run recipe.yaml"
    assert {"sentence", "recipe", "recipe_hash", "versions", "machine", "papers", "minutes"} <= record.keys()
    sizes = [record[who]["parameters"] for who in ("student", "teacher")]
    assert sizes == [load_model(path, machine=Machine()).parameters for path in (out / "student", teacher)]
    read = {Path(data["path"]).name: data["sha256"] for data in record["data"]}
    assert read["train.txt.gz"] == sha256(STORIES / "train.txt.gz")
    assert not [path for path in out.rglob("*") if path.suffix in (".pkl", ".bin", ".pt")]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
