"""Every measure of the table on real models: the demo's student and teacher, on real text."""

from __future__ import annotations

import dataclasses
import gzip
import inspect
import json
import math
import re
from pathlib import Path

import pytest
import torch

from tutelage.citations import PAPERS
from tutelage.cli import answered
from tutelage.distribution import Dense
from tutelage.errors import OutOfRange, TutelageError, UnknownName
from tutelage.evaluation import HELD_OUT, TABLE, compare, needs
from tutelage.evaluation.asking import asked
from tutelage.evaluation.evidence import Evidence
from tutelage.evaluation.found import Pooled
from tutelage.evaluation.writing import Questions, questions_of, written
from tutelage.interfaces import Machine
from tutelage.models import LanguageModel, load_model, prove_shared
from tutelage.recipes import find
from tutelage.registry import options
from tutelage.teachers import TABLE as TEACHERS
from tutelage.text import Example, Layout, collate, examples_of, read_rows

for library in ("rouge_score", "sacrebleu"):
    pytest.importorskip(library, reason="the extra `evaluation` is not installed")

DATA = Path(__file__).parents[2] / "data"
ROWS = 12


def demo(name: str) -> LanguageModel:
    return load_model(find(f"package:demo/{name}"), machine=Machine())


def evidence_of(student: LanguageModel, teacher: LanguageModel | None, order: list[int]) -> Evidence:
    """Instructions and answers of people, in some order; two seeds, short texts."""
    rows = read_rows(DATA / "dolly" / "eval.jsonl.gz", max_rows=ROWS)
    layout = Layout("{instruction}\n", "{output}", 96)
    examples = examples_of(rows, student.tokenizer, layout).examples
    examples = [examples[i] for i in order if i < len(examples)]
    questions = questions_of(examples, student.tokenizer, plain_text=False, room=64)
    shared = prove_shared(student.vocabulary, (teacher or student).vocabulary)
    batches = [collate(examples, student.pad_id)]
    return Evidence(student, teacher, shared, batches, questions, (10, 20), 24)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return evidence_of(demo("student"), demo("teacher"), list(range(ROWS)))


@pytest.fixture(scope="module")
def beside_itself() -> Evidence:
    model = demo("student")
    return evidence_of(model, model, list(range(ROWS)))


@pytest.mark.parametrize("name", TABLE)
def test_every_measure_can_be_taken_and_says_what_it_is(name: str, evidence: Evidence) -> None:
    """A finite value for each seed, an interval around the mean, a unit, needs and a summary."""
    (one,) = asked([name])
    found = one.of(evidence)
    assert found is not None
    assert all(map(math.isfinite, found.values))
    interval = found.interval()
    assert interval.low <= interval.mean <= interval.high
    assert len(found.values) == (2 if one.writes else 1)
    assert one.unit
    assert one.measure.better in ("", "lower", "higher")
    assert TABLE[name].summary.endswith(".")
    assert TABLE[name].paper is None or TABLE[name].paper in PAPERS


@pytest.mark.parametrize("name", TABLE)
def test_options_of_a_measure_are_those_that_its_source_says(name: str) -> None:
    """Read without importing it, each with a default and an explanation."""
    keywords = [
        parameter
        for parameter in inspect.signature(TABLE.load(name)).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert {one.name: one.default for one in keywords} == {
        key: one.default for key, one in options(TABLE[name]).items()
    }
    assert all(one.help for one in options(TABLE[name]).values())


def test_a_student_that_is_its_teacher_is_apart_from_it_by_nothing(beside_itself: Evidence) -> None:
    """No divergence, full agreement, equal risks; its exposure bias is undefined and says why."""
    values = {one.label: one.of(beside_itself) for one in asked(["all"])}
    for name in (
        "forward_kl_nats",
        "sequence_reverse_kl",
        "js_bound",
        "tv_bound",
        "sequence_js",
        "sequence_tv",
    ):
        assert values[name].values == pytest.approx([0] * len(values[name].values), abs=1e-6), name
    assert values["agreement"].values == [1]
    assert values["likelihood_risk"].values == pytest.approx(values["coverage_risk"].values)
    assert all(map(math.isnan, values["exposure_bias"].values))
    assert "do not differ" in values["exposure_bias"].note


@pytest.mark.parametrize("name", ["rouge_l", "bleu", "chrf", "dist", "repetition", "calibration_error"])
def test_the_order_of_rows_changes_no_value(name: str, evidence: Evidence) -> None:
    """The same texts and references in another order."""
    order = torch.randperm(
        len(evidence.questions.prompts), generator=torch.Generator().manual_seed(0)
    ).tolist()

    def turned(parts: tuple) -> tuple:
        return tuple(parts[i] for i in order)

    questions = Questions(turned(evidence.questions.prompts), turned(evidence.questions.references or ()))
    batch = evidence.batches[0]
    examples = [
        Example(batch.tokens[i][batch.attention[i]].tolist(), batch.mask[i][batch.attention[i]].tolist())
        for i in order
    ]
    other = dataclasses.replace(
        evidence, questions=questions, batches=[collate(examples, evidence.student.pad_id)]
    )
    other.__dict__["texts"] = tuple(
        dataclasses.replace(one, tokens=turned(one.tokens), texts=turned(one.texts), ended=turned(one.ended))
        for one in evidence.texts
    )
    (one,) = asked([name])
    ours, theirs = one.of(evidence), one.of(other)
    assert ours is not None
    assert theirs is not None
    assert ours.values == pytest.approx(theirs.values, rel=1e-5)


def test_texts_depend_on_seed_and_prompt_and_on_nothing_else(evidence: Evidence) -> None:
    """A prompt alone is continued like beside others; another seed writes something else."""
    alone = Questions(evidence.questions.prompts[:1], None)
    there = evidence.texts
    for seed, texts in zip(evidence.seeds, there, strict=True):
        one = written(evidence.student, alone, seed=seed, max_new_tokens=24, shared=evidence.shared)
        assert one.tokens[0] == texts.tokens[0]
    assert there[0].texts != there[1].texts


def test_bounds_are_bounds(evidence: Evidence) -> None:
    """On the same texts: JS of sequences is under its bound in each seed, total variation at most 1."""
    values = {one.label: one.of(evidence).values for one in asked(["js_bound", "sequence_js", "sequence_tv"])}
    assert all(0 <= value <= math.log(2) + 1e-9 for value in values["sequence_js"])
    assert all(0 <= value <= 1 for value in values["sequence_tv"])
    # Both are means over the same 24 texts; the bound is several times larger here.
    assert min(values["js_bound"]) > max(values["sequence_js"])


def test_rates_and_lengths_are_those_of_the_texts(evidence: Evidence) -> None:
    """Counted again from the tokens themselves."""
    end = evidence.student.tokenizer.eos_token_id
    found = {one.label: one.of(evidence) for one in asked(["length", "end_rate", "truncation_rate"])}
    for seed, texts in enumerate(evidence.texts):
        assert found["length"].values[seed] == sum(map(len, texts.tokens)) / len(texts.tokens)
        ended = sum(row[-1] == end for row in texts.tokens) / len(texts.tokens)
        assert found["end_rate"].values[seed] == ended
        assert found["truncation_rate"].values[seed] == pytest.approx(1 - ended)


def test_a_measure_that_lacks_something_says_what(evidence: Evidence) -> None:
    """Named it is an error; under `all` it is left out."""
    alone = dataclasses.replace(evidence, teacher=None)
    (named,) = asked(["coverage_risk"])
    with pytest.raises(TutelageError, match="coverage_risk needs a teacher that writes, which is not here"):
        named.of(alone)
    left = {one.label for one in asked(["all"]) if one.of(alone) is not None}
    assert left == {
        name for name in TABLE if TABLE.load(name).needs <= {needs.HELD_OUT, needs.TEXTS, needs.REFERENCES}
    }


def test_a_teacher_that_only_answers_serves_what_is_measured_on_the_students_texts(
    evidence: Evidence,
) -> None:
    """The same numbers as from the model itself; what it would have to write is not there."""
    described = TEACHERS.load("model")(find("package:demo/teacher"))
    answering = dataclasses.replace(evidence, teacher=described.open(Machine()))
    for name in ("likelihood_risk", "sequence_reverse_kl", "forward_kl_nats"):
        (one,) = asked([name])
        ours, theirs = one.of(answering), one.of(evidence)
        assert ours is not None
        assert theirs is not None
        assert ours.values == pytest.approx(theirs.values, rel=1e-5)
    with pytest.raises(TutelageError, match="needs a teacher that writes"):
        asked(["exposure_bias"])[0].of(answering)


def test_names_and_options_are_checked() -> None:
    """An unknown measure, an unknown option, a value that means nothing."""
    assert asked(["dist:n=2"])[0].options == {"n": 2}
    assert asked(["exposure_bias:live=0.5"])[0].options == {"live": 0.5}
    assert [one.label for one in asked(None)] == list(HELD_OUT)
    with pytest.raises(UnknownName, match="unknown measure 'rouge'"):
        asked(["rouge"])
    with pytest.raises(TutelageError, match="the measure 'dist' has no option 'm'"):
        asked(["dist:m=2"])
    for value in ("0", "x", "1.5", "", "true", "[1]"):
        with pytest.raises(TutelageError, match="n is"):
            asked([f"dist:n={value}"])


def test_calibration_of_held_out_text_is_that_of_its_rows(evidence: Evidence) -> None:
    """Bins by row of text add up to all counted tokens, and their correct ones to top-1 accuracy."""
    bins, batch = evidence.held_out.bins, evidence.batches[0]
    assert bins[:, :, 0].sum(1).tolist() == evidence.held_out.tokens.tolist()
    with torch.no_grad():
        logits = evidence.student.model(batch.tokens, attention_mask=batch.attention.long()).logits
    rows, columns = batch.positions
    said = Dense(logits[rows, columns][:, : evidence.shared.width]).log_probs().argmax(1)
    assert float(bins[:, :, 2].sum()) == int((said == batch.gold).sum())


def test_prompts_that_are_too_long_lose_their_beginning_and_plain_text_is_cut_up() -> None:
    """And references are what follows, or a column."""

    class Letters:
        def decode(self, ids: list[int], **_: object) -> str:
            return "".join(map(chr, ids))

    row = Example([65, 66, 67, 68, 69], [False, False, False, True, True], {"known": ["x", "y"], "one": "z"})
    found = questions_of([row], Letters(), plain_text=False, room=2)
    assert (found.prompts, found.references, found.cut) == (((66, 67),), (("DE",),), 1)
    text = Example(row.tokens, [False, True, True, True, True])
    found = questions_of([text], Letters(), plain_text=True, room=None, prompt_tokens=2)
    assert (found.prompts, found.references) == (((65, 66),), (("CDE",),))
    assert questions_of([row], Letters(), plain_text=False, room=9, references="known").references == (
        ("x", "y"),
    )
    assert questions_of([row], Letters(), plain_text=False, room=9, references="one").references == (("z",),)
    with pytest.raises(TutelageError, match="no column 'other'"):
        questions_of([row], Letters(), plain_text=False, room=9, references="other")


def test_evaluate_compares_what_two_students_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Self-Instruct by the command line: one document with intervals, paired differences and noise floors."""
    command = ["evaluate", "package:demo/student", "package:demo/teacher", "--max-rows", "6"]
    command += ["--data", str(DATA / "self_instruct" / "user_oriented_eval.jsonl.gz")]
    command += ["--prompt", "{instruction}\\n{input}\\n", "--completion", "{output}", "--max-length", "60"]
    command += ["--measures", "rouge_l,dist:n=2", "--seeds", "1,2,3", "--max-new-tokens", "12"]
    assert answered([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    first, second = said["students"]
    assert set(said["students"][first]) == {"rouge_l", "dist:n=2"}
    gap = said["students"][second]["rouge_l"]["mean"] - said["students"][first]["rouge_l"]["mean"]
    assert said["paired"][second]["rouge_l"]["mean"] == pytest.approx(gap)
    noise = said["noise"][first]["rouge_l"]
    assert len(noise["values"]) == 3
    assert noise["floor"] > noise["spread"] > 0
    assert said["units"]["rouge_l"] == "0 to 100"
    assert said["rows"] + int(re.findall(r"(\d+) dropped as too long", said["notes"][0])[0]) == 6
    assert answered(command) == 0
    shown = capsys.readouterr().out
    assert "minus A" in shown
    assert "noise floor" in shown


def test_one_row_has_no_interval_and_json_has_no_nan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is unknown is null."""
    story = gzip.decompress((DATA / "tinystories" / "valid.txt.gz").read_bytes()).decode()[:200]
    (tmp_path / "one.txt").write_text(story)
    command = ["evaluate", "package:demo/student", "--data", str(tmp_path / "one.txt"), "--max-rows", "1"]
    assert (
        answered([*command, "--max-length", "200", "--measures", "student_nats,calibration_error", "--json"])
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    (found,) = said["students"].values()
    assert found["student_nats"]["low"] is None
    assert found["student_nats"]["mean"] > 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "nothing to measure the students on"),
        (["--seeds", "1,x", "--data", "DATA"], "--seeds is '1,x'"),
        (["--seeds", "1,1", "--data", "DATA"], "the seeds are 1, 1"),
        (["--measures", "rouge", "--data", "DATA"], "unknown measure 'rouge'"),
        (["--measures", "coverage_risk", "--data", "DATA"], "coverage_risk needs a teacher"),
        (
            ["--measures", "length", "--max-new-tokens", "100000", "--data", "DATA"],
            "max_new_tokens is 100000",
        ),
    ],
)
def test_mistakes_are_told_in_three_lines(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, nothing on standard output."""
    data = str(DATA / "tinystories" / "valid.txt.gz")
    command = ["evaluate", "package:demo/student", *(data if word == "DATA" else word for word in words)]
    assert answered([*command, "--max-rows", "2"]) == 2
    said = capsys.readouterr()
    assert not said.out
    lines = said.err.strip().splitlines()
    assert lines[0].startswith(problem)
    assert len(lines) == 3


def test_rows_that_are_all_too_long_are_nothing_to_measure_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a table of NaN."""
    command = ["evaluate", "package:demo/student", "--data", str(DATA / "dolly" / "eval.jsonl.gz")]
    command += [
        "--prompt",
        "{instruction}",
        "--completion",
        "{output}",
        "--max-rows",
        "3",
        "--max-length",
        "3",
    ]
    assert answered(command) == 2
    assert "nothing is left to measure on" in capsys.readouterr().err


def test_numbers_that_mean_nothing_are_refused() -> None:
    """Also in Python."""
    with pytest.raises(OutOfRange, match="prompt_tokens is 0"):
        compare([str(find("package:demo/student"))], data="x", prompt_tokens=0)


def test_list_shows_measures_by_their_name(capsys: pytest.CaptureFixture[str]) -> None:
    """And the contract of the whole list stays as it was."""
    assert answered(["list", "measures", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in said["measures"]] == list(TABLE)


def test_pooled_values_without_rows_are_those_of_fewer_rows(evidence: Evidence) -> None:
    """Leaving rows out of BLEU is BLEU of the others."""
    (one,) = asked(["bleu"])
    found = one.of(evidence)
    assert isinstance(found, Pooled)
    half = range(0, found.rows, 2)
    fewer = dataclasses.replace(
        evidence,
        questions=Questions(
            tuple(evidence.questions.prompts[i] for i in half),
            tuple((evidence.questions.references or ())[i] for i in half),
        ),
    )
    fewer.__dict__["texts"] = tuple(
        dataclasses.replace(texts, texts=tuple(texts.texts[i] for i in half)) for texts in evidence.texts
    )
    other = one.of(fewer)
    assert other is not None
    assert found.of(0, half) == pytest.approx(other.values[0])
