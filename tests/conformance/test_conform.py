"""The identities hold for sound recipes, and fail where something really is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from small_caches import cache_of, saved_model, stories
from tutelage.cli import answered
from tutelage.conformance import conform
from tutelage.conformance.conform import examined
from tutelage.conformance.subject import opened

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher whose dropout is high, once it is switched on."""
    folder = tmp_path_factory.mktemp("conformance")
    return saved_model(folder / "teacher", seed=1, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)


def test_a_sound_recipe_conforms(teacher: Path, tmp_path: Path) -> None:
    """Every identity is measured, every line is within its bound, and nothing is left behind."""
    recipe = stories(tmp_path, teacher)
    found = conform(recipe)
    assert found.exit_status == 0, found.text()
    assert {line.answer for line in found.lines} == {"ok"}
    assert {line.identity for line in found.lines} >= {
        "teacher = student",
        "hidden = logits",
        "cached = local",
        "served = local",
        "fused = plain",
    }
    assert not (tmp_path / "run").exists()


def test_a_teacher_whose_dropout_is_on_agrees_with_nothing(teacher: Path, tmp_path: Path) -> None:
    """It says something else each time, so its cache, its server and its logits differ from it: status 3."""
    subject = opened(stories(tmp_path, teacher))
    assert subject.teacher is not None
    subject.teacher.loaded.model.train()  # pyright: ignore[reportAttributeAccessIssue]
    torch.manual_seed(0)
    (tmp_path / "room").mkdir()
    found = examined(subject, tmp_path / "room")
    assert found.exit_status == 3
    failed = {line.identity for line in found.failed}
    assert {"cached = local", "served = local"} <= failed
    assert "teacher = student" not in failed
    assert "FAILS" in found.text()


def test_a_recipe_that_reads_a_cache_is_judged_by_that_cache(teacher: Path, tmp_path: Path) -> None:
    """It conforms; after a byte of a shard has changed it does not."""
    recipe = stories(tmp_path, teacher)
    cache_of(recipe, tmp_path / "cache", precision="float32")
    reading = stories(tmp_path, {"kind": "cached", "cache": str(tmp_path / "cache")})
    assert conform(reading).exit_status == 0
    for shard in (tmp_path / "cache" / "shards").glob("*.safetensors"):
        content = bytearray(shard.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        shard.write_bytes(content)
    assert conform(reading).exit_status == 3


def test_without_a_teacher_what_is_about_one_is_not_checked(tmp_path: Path) -> None:
    """A recipe of plain fine-tuning says so, and the rest holds."""
    recipe = stories(tmp_path, "none", divergence="cross_entropy")
    found = conform(recipe)
    assert found.exit_status == 0
    assert any(line.answer == "not checked" for line in found.lines)
    assert any(line.answer == "ok" for line in found.lines)


def test_the_command_line_answers_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`check --conformance --json` on the demo's recipe: one document, status 0, bounds kept."""
    assert answered(["check", "--conformance", "demo", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exit_status"] == 0
    assert all(line["found"] is None or line["found"] <= line["bound"] for line in told["lines"])
