"""`tutelage plan`: numbers as people write them, an answer, an exit status, and no torch."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from small_studies import small_study, write_table
from tutelage.cli import answered, asking, planning
from tutelage.cli.planning import RECIPE, PlanGroup, plan


def said(capsys, *words: str, status: int = 0) -> str:
    """What a command line prints, after its exit status was compared."""
    assert answered(["plan", *words]) == status
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    """The three lines of a command line that is wrong."""
    assert answered(["plan", *words]) == 2
    told = capsys.readouterr().err
    assert [line[:11] for line in told.splitlines()[1:]] == ["  expected ", "  to fix   "]
    return told


def test_a_teacher_for_one_student_alone_is_answered_with_no(capsys):
    """Exit status 3, the answer on the first line, the gain and where the margin comes from below."""
    told = said(capsys, "student", "1B", "--budget", "1e21", status=3)
    assert told.startswith("train without a teacher\n")
    assert "gain -0.0788 nats per token, margin 0.0222 (1 % of the loss, the law's own error)" in told
    assert "`reconciled` is not published" in told


def test_teachers_that_exist_are_ranked_and_the_answer_may_be_yes(capsys):
    """Sizes with suffixes, losses in nats; distil is exit status 0."""
    words = ["--teacher", "size=975M,loss=2.374102", "--teacher", "size=2.72B,loss=2.169793,name=mine"]
    told = said(capsys, "student", "3B", "--budget", "1e20", *words)
    assert told.startswith("distil\n")
    assert told.index("    mine ") < told.index("    975M ")


def test_no_difference_is_an_answer_of_its_own(capsys):
    """It is not a no: exit status 0."""
    told = said(capsys, "student", "1B", "--budget", "1e21", "--scenario", "inference")
    assert told.startswith("no difference that the law can resolve\n")


def test_as_json_it_is_one_document(capsys):
    """The same answer, raw numbers, the exit status inside."""
    told = json.loads(said(capsys, "student", "300M", "--budget", "1e20", "--scenario", "free", "--json"))
    assert told["student"]["parameters"] == 3e8
    assert told["distilled"]["loss_nats"] == pytest.approx(2.428402, abs=2e-6)
    assert told["answer"] == "distil"
    assert told["exit_status"] == 0


def test_money_storage_targets_and_little_text_are_part_of_the_answer(capsys):
    """Everything that was asked for, and nothing of it where it was not."""
    words = "--scenario inference --teacher-tokens 300B --target-loss 2.7 --served-tokens 1T --peak 989e12"
    words += " --devices 8 --price-per-hour 2.5 --stored-entries 64 --price-per-terabyte 20"
    words += " --unique-tokens 5B --epochs 2 --top-k 64"
    told = said(capsys, "student", "500M", "--budget", "1e20", *words.split())
    parts = ("bill", "stored rows", "to 2.7 nats", "cheapest size", "unused", "heuristic", "4 epochs")
    for part in parts:
        assert part in told, part
    plain = said(capsys, "student", "500M", "--budget", "1e20", "--scenario", "free")
    for part in parts:
        assert part not in plain, part


def test_sharing_is_said_by_a_number_or_by_shares(capsys):
    """Sixteen students pay a sixteenth of the training each."""
    words = dict.fromkeys(asking.PROBLEM) | {"students": 16, "rows_shared": False}
    shares = words | {"students": 1, "logits_share": 1.0, "training_share": 0.0625}
    assert asking.who_pays(words, teachers=False) == asking.who_pays(shares, teachers=False)
    assert "said twice" in refused(
        capsys, "student", "1B", "--budget", "1e21", "--students", "4", "--scenario", "free"
    )


def test_the_wanted_teacher_and_the_worst_one(capsys):
    """A teacher that is worse than the text says so, and the answer is no."""
    told = said(capsys, "teacher", "1B", "--budget", "1e21", "--teacher", "size=7B,loss=3.0", status=3)
    assert "this teacher is worse than training on the text" in told.replace("\n  ", " ")
    assert "best teacher      2.010 nats" in told
    free = said(capsys, "teacher", "1B", "--budget", "1e20")
    assert free.startswith("distil\n")


def test_laws_are_listed_with_where_they_are_from(capsys):
    """Published sets, the derived one named as that."""
    told = said(capsys, "laws")
    assert "derived, not published" in told
    found = json.loads(said(capsys, "laws", "--json"))
    assert [laws["name"] for laws in found] == ["reconciled", "table6", "hoffmann", "besiroglu"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["student", "1", "--budget", "1e21"], "the student is 1: parameters or billions of parameters?"),
        (["student", "0.3", "--budget", "1e21"], "the student is 0.3: parameters or billions"),
        (["student", "1B", "--tokens", "20", "--budget", "1e21"], "tokens or billions of tokens?"),
        (["student", "big", "--budget", "1e21"], "the size of the student is 'big'"),
        (["student", "1B", "--budget", "300"], "too small for one token"),
        (["student", "1B"], "neither a budget nor a number of tokens"),
        (["student", "1B", "--tokens", "20B"], "a teacher that is to be trained"),
        (["student", "1B", "--budget", "1e21", "--teacher", "sise=7B"], "cannot read 'sise=7B'"),
        (["student", "1B", "--budget", "1e21", "--teacher", "size=7B"], "has no loss"),
        (["student", "1B", "--budget", "1e21", "--teacher", "loss=2.0"], "has no size"),
        (["student", "1B", "--budget", "1e21", "--teacher", "size=7B,loss=1.0"], "another tokenizer?"),
        (["student", "1B", "--budget", "1e21", "--scenario", "inferense"], "unknown scenario 'inferense'"),
        (["student", "1B", "--budget", "1e21", "--law", "recoverd"], "unknown laws 'recoverd'"),
        (["student", "1B", "--budget", "1e21", "--law", "hoffmann"], "say nothing about distillation"),
        (["student", "1B", "--budget", "1e21", "--target-loss", "1.9"], "below what this size reaches"),
        (["student", "1B", "--budget", "1e21", "--logits-share", "1.5"], "logits is 1.5"),
        (["student", "1B", "--budget", "1e21", "--price-per-hour", "2"], "a price without a throughput"),
        (["student", "1B", "--budget", "1e21", "--epochs", "0.5"], "epochs is 0.5"),
        (["studnet", "1B"], "No such command 'studnet'"),
    ],
)
def test_what_is_wrong_is_said_in_three_lines(capsys, words, problem):
    """The value, what was expected, how to mend it; exit status 2."""
    assert problem in refused(capsys, *words)


def test_a_plan_needs_no_torch():
    """What is asked before anything is spent must not wait for what is spent later."""
    code = (
        "import sys\n"
        "from tutelage.cli import answered\n"
        "assert answered(['plan', 'student', '1B', '--budget', '1e20', '--scenario', 'free']) == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)


def test_a_first_word_that_is_no_verb_is_a_recipe_once_recipes_can_be_planned():
    """A path or a name goes to the hidden command; a slip of a verb's name is still a slip."""
    import typer

    app = typer.Typer(cls=PlanGroup)
    app.command("student")(lambda: None)
    app.command(RECIPE, hidden=True)(lambda words: None)
    group = typer.main.get_command(app)
    context = group.make_context("plan", ["student"], resilient_parsing=True)
    for words, chosen in ((["student"], "student"), (["a/b.yaml"], RECIPE), (["demo", "x=1"], RECIPE)):
        name, _, rest = group.resolve_command(context, list(words))
        assert name == chosen
        assert rest == (words if chosen == RECIPE else [])
    assert plan.info.cls is PlanGroup


def test_a_page_can_be_written_beside_the_answer(capsys, tmp_path):
    """`--html FILE`: the answer is printed all the same."""
    page = tmp_path / "plan.html"
    told = said(capsys, "student", "1B", "--budget", "1e21", "--html", str(page), status=3)
    assert told.startswith("train without a teacher\n")
    assert "<h1>A student of 1B parameters</h1>" in page.read_text(encoding="utf-8")


def test_a_page_about_teachers_can_be_written_beside_the_json(capsys, tmp_path):
    """`plan teacher --html FILE --json`: one document on standard output, the same gain on the page."""
    page = tmp_path / "teacher.html"
    words = ["--budget", "1e21", "--teacher", "size=7B,loss=2.0", "--html", str(page), "--json"]
    told = json.loads(said(capsys, "teacher", "3B", *words))
    shown = page.read_text(encoding="utf-8")
    assert "<h1>A teacher for a student of 3B parameters</h1>" in shown
    assert f"Gain {told['gain_nats']:+.4f} nats" in shown


def test_a_page_of_a_fit_shows_the_runs_of_a_table_whatever_they_are_called(capsys, tmp_path):
    """`plan fit --html FILE --json`: a point for every run of the CSV file, names escaped."""
    runs = [
        replace(run, name=f"<script>{run.name}</script>")
        for run in small_study(noise=0.004, seed=5)
        if not run.distilled
    ]
    table, page = write_table(tmp_path / "runs.csv", runs), tmp_path / "fit.html"
    told = json.loads(said(capsys, "fit", str(table), "--draws", "0", "--html", str(page), "--json"))
    shown = page.read_text(encoding="utf-8")
    assert told["answer"] == "usable"
    assert "Usable: a law to plan with." in shown
    assert "&lt;script&gt;s0&lt;/script&gt;" in shown
    assert "<script>s0" not in shown
    agreement = shown.split("<h3>Predicted against measured")[1].split("</figure>")[0]
    assert agreement.count('class="mark run') == told["runs"]["supervised"] == 15


@pytest.mark.parametrize("verb", ["student", "teacher"])
def test_a_page_that_cannot_be_written_costs_an_error_and_not_the_answer(capsys, tmp_path, verb):
    """Exit status 2 and three lines; the answer is printed all the same."""
    (tmp_path / "file").write_text("no folder")
    assert (
        answered(["plan", verb, "1B", "--budget", "1e20", "--html", str(tmp_path / "file" / "x.html")]) == 2
    )
    told = capsys.readouterr()
    assert told.out.startswith(("distil\n", "train without"))
    assert [line[:11] for line in told.err.splitlines()[1:]] == ["  expected ", "  to fix   "]


def test_what_comes_out_is_asked_for_last_and_in_the_same_order_everywhere():
    """`--json`, then `--html`, of every plan that has a page."""
    for verb in (planning.student, planning.teacher, planning.fit):
        assert list(inspect.signature(verb).parameters)[-2:] == ["as_json", "html"]


@pytest.mark.parametrize(
    "words",
    [
        ("--mfu", "0.3"),
        ("--teacher-mfu", "0.3"),
        ("--epochs", "2"),
        ("--entry-bytes", "8"),
        ("--price-per-terabyte", "20"),
        ("--teacher", "size=1B,loss=2", "--teacher-tokens", "1T"),
        ("--divergence", "revers_kl"),
    ],
    ids=" ".join,
)
def test_an_option_that_would_be_ignored_is_refused(capsys, words):
    """What says nothing by itself names what is missing; an unknown divergence names the nearest."""
    told = refused(capsys, "student", "1B", "--budget", "1e21", *words)
    assert words[-2] in told or "'reverse_kl'" in told


def test_an_objective_outside_the_law_is_a_caution(capsys):
    """The prediction is that of forward KL."""
    told = said(capsys, "student", "1B", "--budget", "1e21", "--divergence", "reverse_kl", status=3)
    assert "reverse_kl: the runs used forward KL" in told


@pytest.mark.parametrize(
    "words",
    [("--flops-per-second", "1e10"), ("--no-probe", "--pilot", "5"), ("--no-probe", "--law", "reconciled")],
    ids=" ".join,
)
def test_what_a_forecast_would_ignore_is_refused(capsys, words):
    """Before anything is loaded."""
    told = refused(capsys, "gkd", *words)
    assert next(word for word in words if word not in ("--no-probe",)) in told
