"""The recipes in `recipes/real` can be read, and say what the issue of a real teacher asks for."""

from __future__ import annotations

from pathlib import Path

import yaml

from tutelage.interfaces import Machine
from tutelage.models import new_model
from tutelage.recipes import find, load

FOLDER = Path(__file__).parents[2] / "recipes" / "real"
TOKENS = 49_152


def test_the_student_of_smollm2_is_small_and_has_a_control_arm() -> None:
    """5 to 20 million parameters beside the teacher's vocabulary; three seeds of each arm."""
    words = ["teacher.model=package:demo/teacher", "student.tokenizer=package:demo/student"]
    recipe = load(str(FOLDER / "smollm2-live.yaml"), words)
    assert recipe.control == "sft"
    assert {seed for _, seed, _ in recipe.runs()} == {0, 1, 2}
    assert not recipe.arms["sft"].needs_teacher
    assert recipe.arms["forward_kl"].needs_teacher
    config = {**recipe.student.config, "vocab_size": TOKENS}
    student = new_model(config, find("package:demo/student"), seed=0, machine=Machine())
    assert 5e6 < student.parameters < 20e6
    assert student.longest >= recipe.samples.options["max_length"]


def test_the_caches_are_built_from_the_text_that_is_trained_on() -> None:
    """Both recipes have the same student, text, training and evaluation; one of them reads caches."""
    live, cached = (
        yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
        for name in ("smollm2-live.yaml", "smollm2.yaml")
    )
    for key in ("student", "samples", "training", "evaluation", "seeds", "control"):
        assert live[key] == cached[key]
    assert cached["teacher"]["kind"] == "cached"
    assert cached["arms"]["forward_kl_top_64"]["teacher"]["kind"] == "cached"
