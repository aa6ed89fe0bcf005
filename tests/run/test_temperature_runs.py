"""Runs at a learned temperature and on standardised logits: whole steps, kills, company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from small_runs import close, ends_the_same_when_killed, lines, trained

from small_caches import cache_of
from tutelage.cli import answered
from tutelage.estimators import CurriculumTemperature
from tutelage.recipes import load
from tutelage.run import check

LEARNED = {"kind": "curriculum_temperature", "begin": -2.0, "rate": 5.0, "rising": 0.2}
STANDARD = [
    {"divergence": "forward_kl", "standardise": True, "temperature": 0.5, "weight": 0.5},
    {"divergence": "cross_entropy", "against": "gold", "weight": 0.5},
]


def changed(recipe_file: Path, **changes: Any) -> Path:
    """The small recipe with other words, every step saved."""
    words = yaml.safe_load(recipe_file.read_text()) | changes
    if "objective" in changes:
        del words["divergence"]
    words["training"]["save_steps"] = 1
    recipe_file.write_text(yaml.safe_dump(words))
    return recipe_file


def steps(folder: Path) -> list[dict[str, Any]]:
    """The lines of single steps."""
    return [line for line in lines(folder) if "loss_nats" in line]


def test_the_temperature_climbs_what_the_whole_step_says(recipe_file: Path, tmp_path: Path) -> None:
    """Its trace is the one that the watched means give; the loss is the square of it times the KL there."""
    trained(changed(recipe_file, estimator=LEARNED), tmp_path / "run")
    options = {name: value for name, value in LEARNED.items() if name != "kind"}
    again = CurriculumTemperature(**options).begun(6)
    found = steps(tmp_path / "run")
    for step, line in enumerate(found):
        assert line["temperature"] == again.temperature
        seen = {name: line[f"watched_{name}_nats"] for name in again.watches}
        assert line["loss_nats"] == pytest.approx(again.temperature**2 * seen[again.watches[0]], rel=1e-5)
        again.stepped(step, seen)
    assert found[0]["temperature"] == found[1]["temperature"]  # lambda begins at 0
    assert found[-1]["temperature"] != found[1]["temperature"]


@pytest.mark.parametrize("words", [{"estimator": LEARNED}, {"objective": STANDARD}], ids=["ctkd", "standard"])
def test_micro_batches_change_nothing(recipe_file: Path, tmp_path: Path, words: dict[str, Any]) -> None:
    """The same weights however a step is cut (law 1)."""
    path = changed(recipe_file, **words)
    whole = trained(path, tmp_path / "a")
    cut = ["training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=4"]
    assert close(whole, trained(path, tmp_path / "b", *cut))


@pytest.mark.long
def test_a_killed_run_ends_with_the_same_weights(recipe_file: Path, tmp_path: Path) -> None:
    """The temperature is in the checkpoint (law 6)."""
    assert ends_the_same_when_killed(changed(recipe_file, estimator=LEARNED), tmp_path / "killed")


def test_standardised_from_a_cache_is_the_one_from_memory(recipe_file: Path, tmp_path: Path) -> None:
    """Hidden states have a spread in closed form wherever they come from; k tokens and the rest have none."""
    plain = load(str(recipe_file))
    cache_of(plain, tmp_path / "hidden", precision="float32")
    cache_of(plain, tmp_path / "top_k", "top_k", k=8)
    path = changed(recipe_file, objective=STANDARD)
    live = trained(path, tmp_path / "live")
    for kind in ("hidden", "top_k"):
        cached = {"kind": "cached", "cache": str(tmp_path / kind)}
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "teacher": cached}))
        if kind == "hidden":
            assert close(live, trained(path, tmp_path / "cached"))
        else:
            assert answered(["run", str(path), f"out={tmp_path / 'cut'}"]) == 2


def test_standardised_with_a_mixture_of_teachers(recipe_file: Path, tmp_path: Path) -> None:
    """The spread of a mixture is that of its own logarithms; twice the same teacher is that teacher."""
    words = yaml.safe_load(recipe_file.read_text())
    mixture = {"kind": "mixture", "teachers": [words["teacher"], words["teacher"]], "weights": [1, 2]}
    trained(changed(recipe_file, objective=STANDARD), tmp_path / "alone")
    words = yaml.safe_load(recipe_file.read_text())
    recipe_file.write_text(yaml.safe_dump({**words, "teacher": mixture}))
    trained(recipe_file, tmp_path / "mixed")
    for one, other in zip(steps(tmp_path / "alone"), steps(tmp_path / "mixed"), strict=True):
        assert one["loss_nats"] == pytest.approx(other["loss_nats"], rel=1e-5)


@pytest.mark.long
def test_check_and_conformance_take_both(recipe_file: Path) -> None:
    """A step is measured, and the identities hold."""
    path = changed(recipe_file, objective=STANDARD)
    assert check(load(str(path))).numbers["step_bytes"] > 0
    assert answered(["check", str(path), "--conformance"]) == 0
    words = yaml.safe_load(path.read_text())
    del words["objective"]
    path.write_text(yaml.safe_dump({**words, "divergence": "forward_kl", "estimator": LEARNED}))
    assert check(load(str(path))).numbers["step_bytes"] > 0
    assert answered(["check", str(path), "--conformance"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"divergence": "reverse_kl", "estimator": LEARNED}, "at a learned temperature"),
        (
            {"objective": [{"divergence": "cross_entropy", "against": "gold", "standardise": True}]},
            "the gold tokens, which have no logits",
        ),
        (
            {
                "objective": [
                    {"divergence": "forward_kl"},
                    {"divergence": "cross_entropy", "against": "gold", "standardise": True},
                ],
                "estimator": LEARNED,
            },
            "the gold tokens, which have no logits",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], words: dict[str, Any], said: str
) -> None:
    """Status 2, before anything is written."""
    path = changed(recipe_file, **words)
    assert answered(["run", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert not Path(yaml.safe_load(path.read_text())["out"]).exists()
