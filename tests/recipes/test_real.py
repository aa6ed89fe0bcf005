"""The recipes in `recipes/real` can be read, and say what the issue of a real teacher asks for."""

from __future__ import annotations

from pathlib import Path

from tutelage.interfaces import Machine
from tutelage.models import new_model
from tutelage.recipes import find, load

RECIPE = Path(__file__).parents[2] / "recipes" / "real" / "smollm2.yaml"
TOKENS = 49_152


def test_the_student_of_smollm2_is_small_and_has_a_control_arm():
    """5 to 20 million parameters beside the teacher's vocabulary; three seeds of each arm."""
    words = ["teacher.model=package:demo/teacher", "student.tokenizer=package:demo/student"]
    recipe = load(str(RECIPE), words)
    assert recipe.control == "sft"
    assert {seed for _, seed, _ in recipe.runs()} == {0, 1, 2}
    assert not recipe.arms["sft"].needs_teacher
    assert recipe.arms["forward_kl"].needs_teacher
    config = {**recipe.student.config, "vocab_size": TOKENS}
    student = new_model(config, find("package:demo/student"), seed=0, machine=Machine())
    assert 5e6 < student.parameters < 20e6
    assert student.longest >= recipe.samples.options["max_length"]
