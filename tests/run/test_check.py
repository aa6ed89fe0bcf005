"""What `tutelage check` says before anything is spent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from small_runs import ROOT, TOKENIZER, tiny_config

from tutelage.errors import NotShared
from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student
from tutelage.recipes import load
from tutelage.run import check, distil


@pytest.fixture
def schooled(recipe_file: Path, tmp_path: Path) -> Path:
    """A model that was trained a little on the stories: it knows more than single-token frequencies."""
    changes = [
        "teacher=none",
        "divergence=cross_entropy",
        "training.max_steps=150",
        f"out={tmp_path / 'school'}",
    ]
    changes += [
        "training.learning_rate=0.01",
        "samples.max_rows=300",
        "training.per_device_train_batch_size=8",
    ]
    changes += ["training.logging_steps=50", "training.eval_steps=150", "training.save_steps=150"]
    return distil(load(str(recipe_file), changes)) / "student"


def test_the_three_verdicts(recipe_file: Path, schooled: Path, teacher: Path) -> None:
    """Go: the teacher is ahead and the student speaks. Cold start: it does not speak. Nothing: not ahead."""
    against_itself = check(load(str(recipe_file), [f"teacher={schooled}", f"student={schooled}"]))
    assert (against_itself.verdict, against_itself.exit_status) == ("this teacher adds nothing here", 3)
    untaught = check(load(str(recipe_file), [f"teacher={schooled}"]))
    assert (untaught.verdict, untaught.exit_status) == ("cold start first", 3)
    worse = check(load(str(recipe_file), [f"teacher={teacher}", f"student={schooled}"]))
    assert worse.verdict == "this teacher adds nothing here"


def test_go_where_the_teacher_knows_more(recipe_file: Path, schooled: Path, tmp_path: Path) -> None:
    """The teacher is the student, trained further."""
    changes = [
        "teacher=none",
        "divergence=cross_entropy",
        f"student={schooled}",
        f"out={tmp_path / 'further'}",
    ]
    changes += ["training.max_steps=150", "training.learning_rate=0.01", "samples.max_rows=300"]
    changes += [
        "training.per_device_train_batch_size=8",
        "training.save_steps=150",
        "training.eval_steps=150",
    ]
    further = distil(load(str(recipe_file), changes)) / "student"
    found = check(
        load(str(recipe_file), [f"teacher={further}", f"student={schooled}", "evaluation.max_rows=40"])
    )
    assert (found.verdict, found.exit_status) == ("go", 0)
    said = found.text()
    for part in ("2,048 tokens are shared", "nats per token", "GiB", "[[", "go: the teacher is"):
        assert part in said
    assert (
        found.to_json()["numbers"]["teacher_nats"]["mean"]
        < found.to_json()["numbers"]["student_nats"]["mean"]
    )


def test_tokenizers_that_differ_are_refused_with_the_first_difference(
    recipe_file: Path, tmp_path: Path
) -> None:
    """GPT-2's tokens mean something else than the demo's."""
    other = new_model(tiny_config(n_embd=4), ROOT / "data" / "tokenizers" / "gpt2", seed=1, machine=Machine())
    save_student(other, tmp_path / "other")
    with pytest.raises(NotShared, match=r"the token 0 is .* in .* and '!' in"):
        check(load(str(recipe_file), [f"teacher={tmp_path / 'other'}"]))


def test_text_in_tokens_that_the_teacher_lacks_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    """The student's tokenizer has one token more, and the text says it."""
    from tutelage.models import load_tokenizer

    tokenizer = load_tokenizer(TOKENIZER)
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(tmp_path / "more")
    (tmp_path / "text.jsonl").write_text('{"text": "Use the <tool> now."}\n')
    words = yaml.safe_load(recipe_file.read_text())
    words["student"]["tokenizer"] = str(tmp_path / "more")
    words["samples"]["data"] = str(tmp_path / "text.jsonl")
    recipe_file.write_text(yaml.safe_dump(words))
    with pytest.raises(NotShared, match=r"'<tool>' \(id 2048\)"):
        check(load(str(recipe_file), []))


def test_a_check_changes_nothing(recipe_file: Path, tmp_path: Path) -> None:
    """No folder is made, no model is written."""
    before = sorted(path.name for path in tmp_path.iterdir())
    check(dataclasses.replace(load(str(recipe_file), [])))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
