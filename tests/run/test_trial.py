"""A trial: a few steps of the very recipe, whose numbers are carried on to the whole run."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import environment, same, trained

from tutelage.cli import answered
from tutelage.forecast import plan_recipe
from tutelage.recipes import Recipe, SamplesWord
from tutelage.run.checkpoint import newest_checkpoint, read_checkpoint
from tutelage.run.loop import train
from tutelage.run.opened import Shelf
from tutelage.run.single import Job, Probe, opened_job
from tutelage.run.stopwatch import Chosen, Stopwatch, order_of_trial, sizes_of_steps
from tutelage.run.study import make_accelerator


def opened(recipe: Recipe, folder: Path):
    """The words of a recipe, ready to be trained."""
    accelerator = make_accelerator(recipe)
    shelf = Shelf(accelerator, folder)
    job = Job("student", recipe.seed, recipe, folder)
    return job, shelf, accelerator, *opened_job(job, shelf, accelerator)


def test_a_run_that_ends_early_made_the_first_steps_of_the_whole_one(recipe, recipe_file, tmp_path):
    """Bit for bit: rate and text are those of the whole run; the last step is measured and saved."""
    trained(recipe_file, tmp_path / "whole", "training.save_steps=3")
    job, shelf, accelerator, words, running = opened(recipe, tmp_path / "early")
    watch = Stopwatch(job.folder / "metrics.jsonl", words.steps)
    probe = Probe(job, shelf, running, accelerator)
    train(words, job.folder, accelerator, watch, probe, lambda done: done == 3)
    assert len(watch.stepped) == 3
    assert watch.evaluated is not None
    early, whole = (newest_checkpoint(tmp_path / name / "state") for name in ("early", "whole"))
    assert early is not None
    assert whole is not None
    third = read_checkpoint(next((tmp_path / "whole" / "state").glob("*3")))
    assert (early.step, third.step, whole.step) == (3, 3, 6)
    assert same(early.weights, third.weights)
    assert not same(early.weights, whole.weights)


@pytest.mark.parametrize("kind", ["dataset", "student", "mixture"])
def test_lengths_are_known_before_anything_is_written(recipe, tmp_path, kind):
    """Exact for the data set's rows, a bound for rows that somebody writes."""
    options = dict(recipe.samples.options)
    if kind != "dataset":
        options |= {"max_new_tokens": 6}
    arm = dataclasses.replace(recipe, samples=SamplesWord(kind, options))
    *_, words, _ = opened(arm, tmp_path / "run")
    samples = words.samples
    for step in range(2):
        told = samples.lengths(step)
        for batch, lengths in zip(samples.micro_batches(step), told, strict=True):
            real = batch.attention.sum(1).tolist()
            assert all(r == n if kind == "dataset" else r <= n for r, n in zip(real, lengths, strict=True))


def test_a_trial_makes_the_longest_step_first_and_third(recipe, tmp_path):
    """The optimiser's moments are there at the second meeting; the others lie around the middle."""
    long = dataclasses.replace(recipe.samples, options={**recipe.samples.options, "max_length": 256})
    *_, words, _ = opened(dataclasses.replace(recipe, samples=long), tmp_path / "run")
    order = order_of_trial(words.samples, words.steps, 5)
    sizes = sizes_of_steps(words.samples, words.steps)
    assert order[0] == order[2] == max(sizes, key=sizes.__getitem__)
    assert len(order) == 5
    chosen = Chosen(words.samples, order)
    for place, step in enumerate(order):
        assert sum(batch.tokens.numel() for batch in chosen.micro_batches(place)) == sizes[step]
    assert chosen.padded == [sizes[step] for step in order]
    assert chosen.steps(1.0) == words.samples.steps(1.0), "all else is asked of the samples"


def test_shapes_answer_without_torch():
    """From the command line, with the steps and FLOP of every arm."""
    code = (
        "import sys; from tutelage.cli import answered; "
        "status = answered(['plan', 'gkd', '--no-probe', '--flops-per-second', '1e10', '--json']); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["fits"]
    assert said["memory"]["from_shapes"]["gkd"]["steps"] == 64
    assert said["time"]["seconds"]["total"] > 0


def test_what_does_not_fit_is_told_with_what_to_change(capsys):
    """Exit status 3, and nothing is tried."""
    assert answered(["plan", "gkd", "--memory-limit", "650MiB"]) == 3
    said = capsys.readouterr().out
    assert "it does not fit" in said
    assert "per_device_train_batch_size" in said
    assert "not tried" in said


@pytest.mark.parametrize("words", [["--memory-limit", "8"], ["--memory-limit", "lots"], ["--pilot", "-1"]])
def test_what_cannot_be_meant_is_refused(words, capsys):
    """Exit status 2."""
    assert answered(["plan", "gkd", "--no-probe", *words]) == 2
    assert capsys.readouterr().err


@pytest.mark.slow
def test_a_trial_measures_and_leaves_nothing(recipe):
    """Memory, time by what takes it, and nats of teacher and student; the recipe's folder is not touched."""
    found = plan_recipe(recipe, pilot=0)
    assert found.probed is not None
    assert not Path(recipe.out).exists()
    assert found.peak_bytes > 2**28
    arm = found.probed.measured["arms"]["student"]
    assert arm["steps"] == 6
    assert 3 <= len(arm["computing_seconds"]) <= 16
    assert found.duration is not None
    assert found.duration.seconds > found.duration.training > 0
    assert found.worth is not None
    # A teacher with random weights knows nothing that the student does not.
    assert found.exit_status == 3


@pytest.mark.slow
def test_a_teacher_that_is_worse_than_the_text_is_refused(tmp_path, capsys):
    """The demo's models the wrong way round, from the command line."""
    words = [
        f"out={tmp_path / 'run'}",
        "student=package:demo/teacher",
        "teacher=package:demo/student",
        "evaluation.max_rows=8",
        "evaluation.prompts=[]",
        "training.max_steps=4",
        "samples.max_length=48",
    ]
    assert answered(["plan", "dkd", *words, "--pilot", "0"]) == 3
    said = capsys.readouterr().out
    assert "this teacher is worse than training on the text" in said
    assert "it fits" in said


@pytest.mark.slow
def test_an_error_inside_a_trial_is_the_users_three_lines(recipe_file, capsys):
    """Rows longer than the student's positions: what the other process says of them, not its traceback."""
    assert answered(["plan", str(recipe_file), "samples.max_length=200"]) == 2
    said = capsys.readouterr().err
    assert "to fix" in said
    assert "Traceback" not in said
