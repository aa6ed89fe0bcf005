"""Without the extra `evaluation` the rest works, and what is missing is told before anything is measured."""

from __future__ import annotations

import sys

import pytest

from tutelage.cli import answered
from tutelage.errors import MissingExtra
from tutelage.evaluation import TABLE
from tutelage.evaluation.asking import asked

LIBRARIES = ("rouge_score", "sacrebleu", "lm_eval")


@pytest.fixture(autouse=True)
def uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own way to say that a module cannot be imported."""
    for name in list(sys.modules):
        if name.partition(".")[0] in LIBRARIES:
            monkeypatch.delitem(sys.modules, name)
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("name", ["rouge_l", "bleu", "chrf", "self_bleu"])
def test_a_named_measure_says_what_to_install(name: str) -> None:
    """The extra, and how."""
    with pytest.raises(MissingExtra, match=r'pip install "tutelage\[evaluation\]"'):
        asked([name])


def test_all_is_all_that_can_be_taken() -> None:
    """The measures of the missing libraries are left out."""
    assert {*TABLE} - {one.label for one in asked(["all"])} == {"rouge_l", "bleu", "chrf", "self_bleu"}


def test_tasks_say_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    """In three lines, before a model is opened."""
    assert answered(["evaluate", "package:demo/student", "--tasks", "arc_easy"]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("the library 'lm-eval' is not installed\n")
