"""The miniature scaling study: its text, its family, its design, its claims, and the whole path in little."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import OutOfRange
from tutelage.interfaces import Machine
from tutelage.models import new_model
from tutelage.plans.published import published
from tutelage.reproductions import TABLE
from tutelage.reproductions.claims import NOT_REPRODUCED, REPRODUCED, TOO_SMALL, judged
from tutelage.reproductions.distillation_scaling_laws import distillation_scaling_laws
from tutelage.reproductions.record import PROVES_NOTHING, sheet
from tutelage.reproductions.running import reproduce
from tutelage.reproductions.scaling_arithmetic import ROWS, best_teacher
from tutelage.reproductions.scaling_bed import HALF_HOUR, SIZES, TEN_MINUTES, Bed, config, shape
from tutelage.reproductions.scaling_claims import of_the_study
from tutelage.reproductions.scaling_text import byte_tokenizer, documents, split
from tutelage.reproductions.work import FULL, version

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "reproductions" / "distillation-scaling-laws.json"


def test_a_token_is_a_byte() -> None:
    """Ids are the bytes of the text in UTF-8, whatever the text is, and give it back."""
    tokenizer = byte_tokenizer()
    text = "naïve £5 – 語\n\tend"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == list(text.encode())
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert len(tokenizer) == 256


def test_no_document_is_in_two_parts() -> None:
    """Parts hold 45, 45 and 10 per cent of the bytes, and together every document once."""
    found = documents()
    parts = split(found)
    assert [one for part in parts.values() for one in part] == found
    sizes = {name: sum(len(one.encode()) for one in part) for name, part in parts.items()}
    for name, share in (("teacher", 0.45), ("student", 0.45), ("held_out", 0.10)):
        assert sizes[name] / sum(sizes.values()) == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("size", ["12k", "98k"])
def test_a_size_has_the_parameters_that_it_is_counted_with(size: str, tmp_path: Path) -> None:
    """What the shape says of parameters, embeddings included, is what the model stores."""
    byte_tokenizer().save_pretrained(tmp_path)
    model = new_model(config(*SIZES[size]), tmp_path, seed=0, machine=Machine())
    assert model.model.num_parameters() == shape(size).total_parameters


@pytest.mark.parametrize("design", [TEN_MINUTES, HALF_HOUR], ids=["ten minutes", "half an hour"])
def test_a_design_holds_out_what_it_says(design: Any) -> None:
    """A held-out teacher is no extreme one, a held-out student is the largest on the most tokens."""
    assert set(design.teachers) <= set(design.supervised)
    assert design.held_teacher in design.teachers[1:-1]
    assert design.held_student == (design.students[0], "1M")
    assert set(design.held_supervised) < set(design.supervised)
    assert not set(design.held_supervised) & set(design.again)
    held = [pair for pair in design.taught if design.held(*pair)]
    students = len(design.students) * len(design.amounts)
    assert len(held) == students + len(design.teachers) - 1


def test_every_piece_has_its_needs_and_no_name_is_used_twice() -> None:
    """Of the usual and of the longer version; the longer one goes on from runs of the usual one."""
    of = distillation_scaling_laws()
    assert of.longer is not None
    usual, longer = (one.pieces(Path("x"), 0, False) for one in (of, of.longer))
    for pieces in (usual, longer):
        names = [piece.name for piece in pieces]
        assert len(set(names)) == len(names)
        assert all(need in names for piece in pieces for need in piece.needs)
    known = {piece.name: piece.identity for piece in usual}
    again = [piece for piece in longer if known.get(piece.name) == piece.identity]
    assert sum(piece.name.startswith("supervised/") for piece in again) == len(TEN_MINUTES.supervised) + 3


def test_the_rate_of_a_size_is_the_best_one_by_its_width(tmp_path: Path) -> None:
    """The lowest loss at 98k decides, and widths divide."""
    bed = Bed(tmp_path / "seed-0", 0)
    folder = tmp_path / "every-seed" / "results" / "rate"
    folder.mkdir(parents=True)
    for rate, loss in zip(TEN_MINUTES.rates, (2.5, 2.4, 2.6), strict=True):
        (folder / f"98k-{rate:g}.json").write_text(json.dumps({"numbers": {"loss_nats": loss}}))
    assert bed.rate("98k") == TEN_MINUTES.rates[1]
    assert bed.rate("12k") == TEN_MINUTES.rates[1] * 64 / 32


def test_a_claim_that_fails_by_no_more_than_chance_refutes_nothing() -> None:
    """Two seeds are enough here; three times s stands between a failure and *not reproduced*."""
    claim = of_the_study()[1]
    errors = {"held_median": 0.01, "held_worst": 0.03, "held_rms": 0.02}
    others = dict.fromkeys(("training_mean", "law_without_the_teacher"), 0.1)

    def verdict(nearest: float) -> str:
        arms = {
            "law/supervised": {"noise": 0.005},
            "law/distilled": errors | others | {"nearest_run": nearest},
        }
        return judged(claim, {0: arms, 1: arms}).verdict

    assert verdict(0.03) == REPRODUCED
    assert verdict(0.01) == TOO_SMALL
    assert verdict(0.004) == NOT_REPRODUCED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_reconciled_laws_give_what_is_printed(row: Any) -> None:
    """Every row of the paper's numbers within what is allowed."""
    assert row.off(published("reconciled")) <= row.allowed


def test_a_best_teacher_is_better_than_its_neighbours() -> None:
    """A little to either side of it the student is no better."""
    laws = published("reconciled")
    teacher, student = best_teacher(laws, 1e9, 2.5e11)
    for factor in (0.999, 1.001):
        assert float(laws.student_loss(1e9, 2.5e11, factor * teacher)) >= student


def test_a_reproduction_without_a_longer_version_says_so(tmp_path: Path) -> None:
    """And a smoke test of a longer version is none."""
    with pytest.raises(OutOfRange, match="longer version of 'taid'"):
        reproduce("taid", tmp_path, full=True)
    with pytest.raises(OutOfRange, match="longer version"):
        reproduce("distillation-scaling-laws", tmp_path, full=True, smoke=True)


@pytest.mark.parametrize(
    "path", [RECORD, RECORD.with_stem(f"{RECORD.stem}{FULL}")], ids=lambda path: path.stem
)
def test_the_table_of_runs_has_the_numbers_of_the_record(path: Path) -> None:
    """A line for each arm and seed; the file that is kept says what the JSON says."""
    record = json.loads(path.read_text(encoding="utf-8"))
    of = version(record["name"], record.get("full", False))
    text = path.with_suffix(".csv").read_text(encoding="utf-8")
    assert text == sheet(record, of.sheet)
    lines = list(csv.DictReader(text.splitlines()))
    arms = [arm for arm in record["arms"] if arm["set_up"] in of.sheet]
    assert len(lines) == len(arms) * len(record["seeds"])
    first = next(line for line in lines if line["set_up"] == "distilled")
    arm = next(arm for arm in arms if arm["name"] == first["name"])
    assert float(first["loss_nats"]) == pytest.approx(arm["numbers"]["loss_nats"][0], rel=1e-9)


@pytest.mark.long
def test_the_scaling_study_takes_the_same_path(tmp_path: Path) -> None:
    """Runs, fits and claims in little; an untaught student is at the log of the vocabulary or below."""
    asked = ["reproduce", "distillation-scaling-laws", "--smoke", "--json", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", *asked], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["smoke"] == PROVES_NOTHING
    claims = [claim.name for claim in TABLE.load("distillation-scaling-laws")().claims]
    assert [claim["name"] for claim in record["claims"]] == claims
    arms = {(arm["set_up"], arm["name"]): arm for arm in record["arms"]}
    losses = [arm["numbers"]["loss_nats"][0] for key, arm in arms.items() if key[0] == "distilled"]
    assert len(losses) == 30
    assert max(losses) < math.log(256) + 0.5
    assert arms["law", "held_out"]["courses"]["predicted"][0]
    assert (tmp_path / "distillation-scaling-laws-smoke.csv").is_file()
