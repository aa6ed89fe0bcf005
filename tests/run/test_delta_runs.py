"""Runs whose teacher is a delta: every reading of `onto`, own samples, caches of members, `check`, kills."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_runs import TOKENIZER, close, ends_the_same_when_killed, lines, same, tiny_config, trained, weights

from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student
from tutelage.recipes import load
from tutelage.run import check
from tutelage.run.caching import build_cache
from tutelage.stores.payload import Form


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The teacher of the other recipes plays the aligned model; this one its base."""
    model = new_model(tiny_config(n_embd=32), TOKENIZER, seed=8, machine=Machine())
    return save_student(model, tmp_path / "base")


@pytest.fixture
def delta_file(recipe_file: Path, teacher: Path, base: Path) -> Path:
    """The small recipe with a delta as its teacher."""
    words = yaml.safe_load(recipe_file.read_text())
    words["teacher"] = {"kind": "delta", "aligned": str(teacher), "base": str(base)}
    path = recipe_file.with_name("delta.yaml")
    path.write_text(yaml.safe_dump(words))
    return path


def test_a_delta_of_strength_0_from_the_initial_student_teaches_nothing(
    delta_file: Path, tmp_path: Path
) -> None:
    """Its target is where the student begins: the loss of the first step is zero."""
    trained(delta_file, tmp_path / "still", "teacher.strength=0")
    first = lines(tmp_path / "still")[0]
    assert first["step"] == 1
    assert abs(first["loss_nats"]) < 1e-6
    trained(delta_file, tmp_path / "moved")
    assert lines(tmp_path / "moved")[0]["loss_nats"] > 1e-4


def test_the_initial_student_is_the_checkpoint_that_the_run_begins_from(
    delta_file: Path, tmp_path: Path
) -> None:
    """Named as a model or called by its place in the run, onto is the same, to rounding."""
    begun = save_student(new_model(tiny_config(), TOKENIZER, seed=3, machine=Machine()), tmp_path / "begun")
    implied = trained(delta_file, tmp_path / "implied", f"student={begun}")
    named = trained(delta_file, tmp_path / "named", f"student={begun}", f"teacher.onto={begun}")
    assert close(implied, named)


def test_onto_the_current_student_a_run_warns_and_goes_on(
    delta_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a direction and no target; held-out text is measured all the same."""
    trained(delta_file, tmp_path / "moving", "teacher.onto=current_student")
    assert "collapsing" in capsys.readouterr().err
    measured = [line for line in lines(tmp_path / "moving") if "eval_forward_kl_nats" in line]
    assert measured
    assert all(line["eval_mass_left_out"] < 1e-6 for line in measured)


def test_on_the_students_own_samples_with_reverse_kl(delta_file: Path, tmp_path: Path) -> None:
    """The frozen delta is asked about whatever the student writes."""
    own = "samples={kind: student, data: %s, max_length: 48, long: cut, max_new_tokens: 6, max_rows: 40}"
    data = yaml.safe_load(delta_file.read_text())["samples"]["data"]
    trained(delta_file, tmp_path / "own", own % data, "divergence=reverse_kl", "teacher.max_delta=2")
    found = lines(tmp_path / "own")
    assert [line["step"] for line in found if "loss_nats" in line] == [1, 2, 3, 4, 5, 6]
    assert all(line["loss_nats"] > 0 for line in found if "loss_nats" in line)


def test_members_from_a_cache_of_the_kind_hidden_say_what_the_models_say(
    delta_file: Path, tmp_path: Path, teacher: Path, base: Path
) -> None:
    """Also mixed with a plain model; the run ends with the same weights to rounding."""
    caches = {}
    for name, model in {"aligned": teacher, "base": base}.items():
        caches[name] = str(tmp_path / "caches" / name)
        build_cache(load(str(delta_file), [f"teacher={model}"]), caches[name], Form("hidden", "float32"))

    def mixture(aligned: str, before: str) -> str:
        delta = f"{{kind: delta, aligned: {aligned}, base: {before}}}"
        return f"teacher={{kind: mixture, teachers: [{delta}, {teacher}], weights: [2, 1]}}"

    live = trained(delta_file, tmp_path / "live", mixture(str(teacher), str(base)))
    said = mixture(*(f"{{kind: cached, cache: {caches[name]}}}" for name in ("aligned", "base")))
    kept = trained(delta_file, tmp_path / "kept", said)
    assert close(live, kept)


def test_a_delta_of_fixed_models_is_cached_as_top_k_within_its_bound(
    delta_file: Path, tmp_path: Path, teacher: Path
) -> None:
    """Not as `hidden`: it has no single output layer. Of two top-k caches no delta is made."""
    begun = save_student(new_model(tiny_config(), TOKENIZER, seed=3, machine=Machine()), tmp_path / "begun")
    fixed = load(str(delta_file), [f"student={begun}", f"teacher.onto={begun}"])
    with pytest.raises(TutelageError, match="no single output layer"):
        build_cache(fixed, str(tmp_path / "hidden"), Form("hidden"))
    with pytest.raises(TutelageError, match="made of the student"):
        build_cache(load(str(delta_file), []), str(tmp_path / "initial"), Form("top_k"))
    build_cache(fixed, str(tmp_path / "top_k"), Form("top_k", "float32", k=64))
    cache = f"teacher={{kind: cached, cache: {tmp_path / 'top_k'}}}"
    trained(delta_file, tmp_path / "from_cache", f"student={begun}", cache)
    trained(delta_file, tmp_path / "live", f"student={begun}", f"teacher.onto={begun}")
    live, top_k = (lines(tmp_path / name)[0]["loss_nats"] for name in ("live", "from_cache"))
    assert 0 <= top_k <= live + 1e-7
    build_cache(load(str(delta_file), [f"teacher={teacher}"]), str(tmp_path / "a"), Form("top_k", k=8))
    base_model = yaml.safe_load(delta_file.read_text())["teacher"]["base"]
    build_cache(load(str(delta_file), [f"teacher={base_model}"]), str(tmp_path / "b"), Form("top_k", k=8))
    two = [f"teacher.{name}={{kind: cached, cache: {tmp_path / name[0]}}}" for name in ("aligned", "base")]
    with pytest.raises(TutelageError, match="kept different tokens"):
        trained(delta_file, tmp_path / "refused", *two)


def test_check_looks_inside_a_delta(delta_file: Path) -> None:
    """Nats of onto, aligned and base, of three strengths, and KL(base || onto)."""
    found = check(load(str(delta_file), []))
    said = found.findings["inside the teacher"]
    for part in ("onto", "aligned", "base", "strength 0.5", "strength 1.5", "kl base onto"):
        assert part in said
    numbers: dict[str, Any] = found.numbers["examined"]
    assert numbers["onto_nats"]["mean"] == pytest.approx(found.numbers["student_nats"]["mean"], abs=1e-5)
    assert numbers["strength_1_nats"]["mean"] == pytest.approx(
        found.numbers["teacher_nats"]["mean"], abs=1e-5
    )
    assert "delta, the initial student moved by 1 times" in found.findings["teacher"]
    assert json.dumps(found.to_json())
    moving = check(load(str(delta_file), ["teacher.onto=current_student"]))
    assert "collapsing" in moving.findings["warning 1"]


def test_a_recipe_says_what_a_delta_may_be(delta_file: Path) -> None:
    """Ranges and names are told before anything is opened."""
    for change, part in {
        "teacher.max_delta=0": "max_delta",
        "teacher.plausibility=1": "plausibility",
        "teacher.strength=.inf": "strength",
        "teacher.onto=first_student": "first_student",
        "teacher.aligned=none": "a teacher",
    }.items():
        with pytest.raises(TutelageError) as error:
            load(str(delta_file), [change])
        assert part in str(error.value)
    assert load(str(delta_file), ["teacher.base=uniform"]).teacher.options["base"] == "uniform"


@pytest.mark.slow
@pytest.mark.parametrize("onto", ["initial_student", pytest.param("current_student", marks=pytest.mark.long)])
def test_killed_and_gone_on_with_it_ends_the_same(delta_file: Path, tmp_path: Path, onto: str) -> None:
    """The copy of the student before training is made anew, bit for bit (law 6)."""
    words = yaml.safe_load(delta_file.read_text())
    words["teacher"]["onto"] = onto
    words["training"] |= {"max_steps": 12, "save_steps": 2, "lr_scheduler_type": "cosine"}
    delta_file.write_text(yaml.safe_dump(words))
    assert ends_the_same_when_killed(delta_file, tmp_path / "killed")
    assert same(weights(Path(words["out"])), weights(tmp_path / "killed"))
