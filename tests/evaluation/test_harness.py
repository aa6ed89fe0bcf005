"""Tasks of lm-eval, through its own package, with a task and data of our own: nothing is fetched."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest
import torch

from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.evaluation.harness import run_tasks
from tutelage.interfaces import Machine
from tutelage.models import LanguageModel, load_model
from tutelage.recipes import find

pytest.importorskip("lm_eval", reason="the extra `evaluation` is not installed")
# Their way with their own dependencies; nothing of ours is heard in it.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STORIES = Path(__file__).parents[2] / "data" / "tinystories" / "valid.txt.gz"
ROWS = 12


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task: which of two last sentences ends this story? The right one comes first every other time."""
    folder = tmp_path_factory.mktemp("tasks")
    stories = gzip.decompress(STORIES.read_bytes()).decode().split("<|endoftext|>")
    parts = [story.strip().rsplit(". ", 1) for story in stories if story.strip().count(". ") > 3][: ROWS + 1]
    with (folder / "endings.jsonl").open("w") as file:
        for number, ((start, end), (_, other)) in enumerate(itertools.pairwise(parts)):
            two = [end, other] if number % 2 == 0 else [other, end]
            file.write(json.dumps({"start": start[-200:] + ".", "ends": two, "right": number % 2}) + "\n")
    (folder / "endings.yaml").write_text(
        f"""
task: endings
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder / "endings.jsonl"}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{start}}}}"
doc_to_choice: "{{{{ends}}}}"
doc_to_target: "{{{{right}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
    )
    return folder / "endings.yaml"


@pytest.fixture(scope="module")
def teacher() -> LanguageModel:
    return load_model(find("package:demo/teacher"), machine=Machine())


def likelier(model: LanguageModel, row: dict) -> int:
    """The ending whose tokens the model gives the higher probability after the start."""
    nats = []
    for end in row["ends"]:
        start = model.tokenizer(row["start"], add_special_tokens=False)["input_ids"]
        both = model.tokenizer(f"{row['start']} {end}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logs = model.model(torch.tensor([both])).logits[0].log_softmax(-1)
        nats.append(-sum(float(logs[i - 1, both[i]]) for i in range(len(start), len(both))))
    return nats.index(min(nats))


def test_a_task_of_ones_own_gives_what_the_models_own_probabilities_say(
    endings: Path, teacher: LanguageModel
) -> None:
    """Accuracy over documents, with an interval over them; the model is left in its mode."""
    teacher.model.train()
    found = run_tasks(teacher, [str(endings)], limit=ROWS)
    assert teacher.model.training
    teacher.model.eval()
    rows = [json.loads(line) for line in (endings.parent / "endings.jsonl").read_text().splitlines()]
    right = [likelier(teacher, row) == row["right"] for row in rows]
    accuracy = found["endings/acc,none"]
    assert accuracy.values == [pytest.approx(sum(right) / ROWS)]
    interval = accuracy.interval()
    assert 0 <= interval.low <= accuracy.values[0] <= interval.high <= 1


def test_tasks_stand_in_the_table_of_evaluate(endings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document on standard output, whatever lm-eval prints; two students on the same documents."""
    students = ["package:demo/student", "package:demo/teacher"]
    assert answered(["evaluate", *students, "--tasks", str(endings), "--max-rows", "6", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    first, second = said["students"].values()
    assert 0 <= first["endings/acc,none"]["mean"] <= 1
    difference = next(iter(said["paired"].values()))["endings/acc,none"]
    gap = second["endings/acc,none"]["mean"] - first["endings/acc,none"]["mean"]
    assert difference["mean"] == pytest.approx(gap)


def test_a_task_that_cannot_be_run_is_told_in_three_lines(tmp_path: Path, teacher: LanguageModel) -> None:
    """An unknown name, a file that is not there, a file that names no task."""
    with pytest.raises(TutelageError, match="lm-eval cannot run no_such_task"):
        run_tasks(teacher, ["no_such_task"])
    with pytest.raises(TutelageError, match="cannot be read as a task"):
        run_tasks(teacher, [str(tmp_path / "nothing.yaml")])
    (tmp_path / "empty.yaml").write_text("dataset_path: json\n")
    with pytest.raises(TutelageError, match="names no task"):
        run_tasks(teacher, [str(tmp_path / "empty.yaml")])
