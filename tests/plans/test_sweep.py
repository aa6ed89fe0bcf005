"""A scaling study of one's own: the recipes that are written, and two of them really run and read back."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tutelage.cli import answered
from tutelage.errors import OutOfRange, TutelageError
from tutelage.plans.design import refuse_unidentified
from tutelage.plans.ladder import Ladder, vocabulary_of
from tutelage.plans.run_folders import read_runs
from tutelage.plans.runs import Trained
from tutelage.plans.sweep import Sweep, write_sweep
from tutelage.recipes import load

ROOT = Path(__file__).parents[2]
LADDER = Ladder((1, 2, 3), aspect=16, head_size=8, context=32, vocabulary=2048)
TOKENIZER = str(ROOT / "src" / "tutelage" / "demo" / "student")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Forty stories, one a row."""
    with gzip.open(ROOT / "data" / "tinystories" / "train.txt.gz", "rt", encoding="utf-8") as lines:
        stories = [story.strip() for story in lines.read(60_000).split("<|endoftext|>") if story.strip()][:40]
    path = tmp_path / "stories.jsonl"
    path.write_text("".join(f"{json.dumps({'text': story})}\n" for story in stories), encoding="utf-8")
    return path


def written(text: Path, folder: Path, **changed: object) -> Sweep:
    """A study of three sizes that fits a test."""
    asked: dict[str, object] = {
        "text": text,
        "held_out": str(text),
        "tokenizer": TOKENIZER,
        "ladder": LADDER,
        "tokens": (1024, 3072),
        "held_out_rows": 4,
        "throughput": 1e9,
    }
    return write_sweep(folder, **(asked | changed))  # type: ignore[arg-type]


def rows(path: Path) -> list[str]:
    """The texts of a file."""
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_every_recipe_is_one_that_tutelage_run_takes(text: Path, tmp_path: Path) -> None:
    """Each file is read by the strict reader, and its folder, data and teacher are those of the study."""
    made = written(text, tmp_path / "study")
    files = sorted((made.folder / "recipes").iterdir())
    assert [path.stem.partition("-")[2] for path in files] == [run.name for run in made.runs]
    for path, run in zip(files, made.runs, strict=True):
        if run.teacher:
            # A recipe names what is there when its turn comes.
            shutil.copytree(TOKENIZER, made.folder / "runs" / run.teacher / "student", dirs_exist_ok=True)
        recipe = load(path)
        assert Path(recipe.out) == made.folder / "runs" / run.name
        assert bool(run.teacher) == recipe.compares
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(made.to_json()))
    assert manifest["hours"] == pytest.approx(made.flops / 1e9 / 3600)


def test_a_teacher_is_run_before_its_students(text: Path, tmp_path: Path) -> None:
    """The script names every recipe once, and no student stands before the run it learns from."""
    made = written(text, tmp_path / "study")
    order = [run.name for run in made.runs]
    assert all(order.index(run.teacher) < order.index(run.name) for run in made.runs if run.teacher)
    script = (made.folder / "run.sh").read_text().splitlines()[3:]
    recipes = made.folder / "recipes"
    assert script == [f"tutelage run {recipes / f'{i:03d}-{name}.yaml'}" for i, name in enumerate(order, 1)]


def test_teachers_and_students_learn_from_disjoint_halves(text: Path, tmp_path: Path) -> None:
    """Every document is in exactly one half, and recipes read the half that is theirs."""
    made = written(text, tmp_path / "study")
    parts = {
        part: "\n\n".join(rows(made.folder / "text" / f"{part}.jsonl")) for part in ("teacher", "student")
    }
    stories = rows(text)
    assert all((story in parts["teacher"]) != (story in parts["student"]) for story in stories)
    for path, run in zip(sorted((made.folder / "recipes").iterdir()), made.runs, strict=True):
        data = yaml.safe_load(path.read_text())["samples"]["data"]
        assert Path(data).stem == ("student" if run.teacher else "teacher")


def test_the_runs_identify_both_laws(text: Path, tmp_path: Path) -> None:
    """The tool's own refusal has nothing against the design, whatever the runs reach."""
    made = written(text, tmp_path / "study")
    losses = np.random.default_rng(0).uniform(2, 3, len(made.runs)).tolist()
    reached = {run.name: loss for run, loss in zip(made.runs, losses, strict=True)}
    alone = [
        Trained(run.name, float(run.parameters), float(run.tokens), reached[run.name])
        for run in made.runs
        if not run.teacher
    ]
    taught = [
        Trained(
            run.name,
            float(run.parameters),
            float(run.tokens),
            reached[run.name],
            run.teacher,
            reached[run.teacher],
        )
        for run in made.runs
        if run.teacher
    ]
    refuse_unidentified(alone, 5)
    refuse_unidentified(taught, 8)
    assert len({run.parameters for run in made.runs if run.name in made.teachers}) > 1


@pytest.mark.slow
def test_a_sweep_written_from_the_command_line_runs_and_is_read_back(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model and a student of it are trained by `tutelage run` unchanged; the fit's reader finds both."""
    folder = tmp_path / "study"
    asked = ["--text", str(text), "--held-out", str(text), "--tokenizer", TOKENIZER, "--layers", "1,2,3"]
    small = ["--aspect", "16", "--head-size", "8", "--context", "32", "--tokens", "1024,3072"]
    assert answered(["plan", "sweep", str(folder), *asked, *small, "--held-out-rows", "4", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    teacher = manifest["runs"][[run["name"] for run in manifest["runs"]].index(manifest["teachers"][-1])]
    student = next(run for run in manifest["runs"] if run["teacher"] == teacher["name"])
    recipes = {path.stem.partition("-")[2]: path for path in (folder / "recipes").iterdir()}
    for run in (teacher, student):
        assert answered(["run", str(recipes[run["name"]])]) == 0
    runs, said = read_runs(folder / "runs")
    assert said == []
    found = {run.name: run for run in runs}
    assert set(found) == {teacher["name"], student["name"]}
    for run in (teacher, student):
        assert found[run["name"]].parameters == run["parameters"]
        assert found[run["name"]].tokens == pytest.approx(run["tokens"], rel=0.05)
    assert found[student["name"]].teacher_loss == pytest.approx(found[teacher["name"]].loss, abs=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tokens": (4096,)}, "numbers of tokens"),
        ({"tokens": (8, 4096)}, "numbers of tokens"),
        ({"teachers": 1}, "1 teachers"),
        ({"students": 1}, "1 sizes of student"),
        ({"teachers": 2}, "8 distilled runs"),
        ({"tokens": (4096, 10**9)}, "bytes of text"),
    ],
)
def test_a_study_that_could_not_identify_the_laws_is_refused(
    changed: dict[str, object], said: str, text: Path, tmp_path: Path
) -> None:
    """The value is named, and no recipe is written."""
    with pytest.raises(OutOfRange, match=said):
        written(text, tmp_path / "study", **changed)
    assert not (tmp_path / "study" / "recipes").exists()


def test_nothing_is_written_over(text: Path, tmp_path: Path) -> None:
    """A folder that holds something is left as it is."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine").write_text("kept")
    with pytest.raises(TutelageError, match="not empty"):
        written(text, tmp_path / "study")
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("layers", "said"), [((1, 2), "layers"), ((1, 2, 0), "layers"), ((1, 2, 3), "no multiple of a head")]
)
def test_a_ladder_needs_three_sizes_whose_heads_fill_them(layers: tuple[int, ...], said: str) -> None:
    """Two sizes show no curvature, and a head that does not divide the width makes no model."""
    with pytest.raises(OutOfRange, match=said):
        Ladder(layers, aspect=16, head_size=12, context=32, vocabulary=256)


def test_the_tokens_of_a_tokenizer_are_counted_in_its_folder(tmp_path: Path) -> None:
    """As many as the model of the tokenizer's own library has; elsewhere the number has to be said."""
    assert vocabulary_of(TOKENIZER) == 2048
    with pytest.raises(TutelageError, match="cannot be counted"):
        vocabulary_of(str(tmp_path))


@pytest.mark.parametrize("row", ["nonsense", '{"words": "x"}', '{"text": 3}'])
def test_a_row_without_text_is_named(row: str, tmp_path: Path) -> None:
    """File and line are in the error."""
    path = tmp_path / "odd.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{row}\n', encoding="utf-8")
    with pytest.raises(TutelageError, match=r"odd\.jsonl:2: "):
        written(path, tmp_path / "study")
