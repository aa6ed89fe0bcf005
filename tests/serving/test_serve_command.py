"""``tutelage serve`` as a person starts it and as a machine stops it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest
import yaml

from live_servers import ServeProcess
from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.recipes.asked import asked_teacher, called
from tutelage.serving.address import bound, url_of

SMALL = {"samples": {"kind": "dataset", "data": "data.txt"}, "divergence": "forward_kl", "out": "run"}


@pytest.mark.slow
def test_it_says_where_it_listens_and_ends_when_it_is_told(folder: str, tmp_path: Path):
    """One line when it answers; status 0 after SIGTERM; nothing on standard error."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    words = ("--token-file", str(token), "--host", "0.0.0.0", "--name", "mine", "--max-tokens", "100")
    with ServeProcess(folder, *words) as process:
        assert process.said["url"] == f"http://0.0.0.0:{process.port}"
        assert process.said["model"] == "mine"
        assert process.said["kinds"] == ["hidden", "top_k", "dense"]
        assert process.said["token"] is True
        assert httpx.get(f"{process.url}/v1/frame", trust_env=False).status_code == 401
        told = httpx.get(
            f"{process.url}/v1/frame",
            headers={"Authorization": "Bearer 0123456789abcdef"},
            trust_env=False,
        ).json()
        assert told["identity"] == process.said["identity"]
        assert told["limits"]["request_tokens"] == 100
        assert process.stop(signal.SIGTERM) == (0, "")


@pytest.mark.slow
def test_ctrl_c_stops_it_as_it_stops_any_verb(folder: str):
    """Status 130 and one word."""
    with ServeProcess(folder) as process:
        status, errors = process.stop(signal.SIGINT)
    assert (status, errors.strip()) == (130, "stopped")


@pytest.mark.slow
def test_the_same_weights_are_the_same_teacher_wherever_they_lie(folder: str, tmp_path: Path):
    """The identity is of the content; a recipe's teacher is served like a model."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(folder)
    recipe = tmp_path / "recipe.yaml"
    (tmp_path / "data.txt").write_text("A dog.\n")
    recipe.write_text(yaml.safe_dump({**SMALL, "student": folder, "teacher": str(elsewhere)}))
    with ServeProcess(folder) as one, ServeProcess(str(recipe)) as other:
        assert one.said["identity"] == other.said["identity"]
        assert (one.said["model"], other.said["model"]) == (called(asked_teacher(folder)), "elsewhere")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines, without a token"),
        (["--token-file", "nothing"], "nothing: can't be read"),
        (["--host", "192.0.2.1"], "192.0.2.1 can be reached from other machines"),
        (["dtype=int8"], "`teacher.dtype` is 'int8'"),
        (["depth=3"], "unknown key 'depth' in `teacher`"),
        (["--port", "99999"], "less than or equal to 65535"),
        (["--max-tokens", "1"], "max_tokens"),
    ],
)
def test_what_cannot_be_started_is_refused_in_three_lines(
    folder: str,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """With status 2, before anything is loaded or listens."""
    monkeypatch.delenv("TUTELAGE_TOKEN", raising=False)
    assert answered(["serve", folder, *words]) == 2
    errors = capsys.readouterr().err
    assert said in errors.replace("-", "_") or said in errors
    assert errors.count("\n") == 3


def test_a_port_where_somebody_listens_is_refused(folder: str, capsys: pytest.CaptureFixture[str]):
    """Before the model is loaded."""
    with bound("127.0.0.1", 0) as other:
        other.listen()
        port = url_of(other).rpartition(":")[2]
        assert answered(["serve", folder, "--port", port]) == 2
    assert f"can't listen on 127.0.0.1, port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["nowhere", "nowhere.yaml", ""])
def test_what_is_not_there_is_refused(what: str, capsys: pytest.CaptureFixture[str]):
    """A folder, a recipe, nothing."""
    assert answered(["serve", what]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_a_recipes_teacher_is_found_in_its_arms_and_changed_by_words(tmp_path: Path, folder: str):
    """The first that there is; without one there is nothing to serve."""
    (tmp_path / "data.txt").write_text("A dog.\n")
    words = {**SMALL, "samples": {"kind": "dataset", "data": str(tmp_path / "data.txt")}, "student": folder}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(words | {"divergence": "cross_entropy"}))
    with pytest.raises(TutelageError, match="has no teacher"):
        asked_teacher(str(recipe))
    recipe.write_text(
        yaml.safe_dump(words | {"divergence": "cross_entropy", "arms": {"a": {"teacher": folder}}})
    )
    assert asked_teacher(str(recipe)).options["model"] == folder
    recipe.write_text(json.dumps(words | {"teacher": folder}))
    assert asked_teacher(str(recipe), ["teacher.dtype=bfloat16"]).options["dtype"] == "bfloat16"
    assert asked_teacher("package:demo/teacher", ["dtype=bfloat16"]).options["dtype"] == "bfloat16"
    assert called(asked_teacher("package:demo/teacher")) == "demo/teacher"
