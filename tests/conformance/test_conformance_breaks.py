"""Things that are really broken: each is found by the line that is about it, and the status is 3."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from part import answers, part, said
from torch import Tensor

from live_servers import served
from small_caches import cache_of, saved_model, stories
from tutelage.cli import answered
from tutelage.conformance.cached import compared
from tutelage.conformance.found import Found
from tutelage.conformance.result import line_of
from tutelage.conformance.subject import Subject, opened
from tutelage.conformance.table import IDENTITIES
from tutelage.distribution import Sampled, TopK, drawn, kept
from tutelage.divergences import TABLE
from tutelage.divergences.kl import forward_kl
from tutelage.divergences.separable import separable
from tutelage.interfaces import Machine
from tutelage.registry import Entry
from tutelage.stores.payload import Form
from tutelage.teachers import ModelTeacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has opinions."""
    return saved_model(tmp_path_factory.mktemp("breaks") / "teacher", seed=3, initializer_range=0.3)


@pytest.fixture
def subject(tmp_path: Path, teacher: Path) -> Subject:
    """A sound recipe, open."""
    return opened(stories(tmp_path, teacher))


def body(subject: Subject) -> Any:
    """The teacher's network below its output layer."""
    found: Any = subject.teacher
    return found.loaded.model.base_model


def test_an_output_layer_that_does_more_than_we_know_is_found(subject: Subject) -> None:
    """A student whose logits are scaled after the layer that we read: our losses would be others'."""
    model: Any = subject.student.model
    hook = model.lm_head.register_forward_hook(lambda module, inputs, logits: logits * 1.001)
    found = part(subject, "hidden = logits")
    assert (found.exit_status, [line.name for line in found.failed]) == (3, ["hidden = logits, student"])
    hook.remove()
    assert part(subject, "hidden = logits").exit_status == 0


def test_a_model_that_looks_at_its_neighbours_is_found(subject: Subject) -> None:
    """Rows that leak into one another: what is said depends on the batch and its padding."""
    neighbours: Callable[..., Any] = lambda module, inputs, output: type(output)(
        {**output, "last_hidden_state": output.last_hidden_state + output.last_hidden_state.mean((0, 1))}
    )
    hook = body(subject).register_forward_hook(neighbours)
    found = part(subject, "micro-batches", "padding", "order of rows", "chunk_rows")
    failed = {line.identity for line in found.failed}
    assert failed == {"micro-batches", "padding"}, found.text()
    hook.remove()  # and opened anew, for what the teacher said is kept
    assert part(opened(subject.study), "micro-batches", "padding").exit_status == 0


def test_a_model_that_depends_on_the_place_of_a_row_is_found(subject: Subject) -> None:
    """The first row of a batch is treated in another way."""

    def first_row(module: Any, inputs: Any, output: Any) -> Any:
        hidden = output.last_hidden_state.clone()
        hidden[0] *= 1.01
        return type(output)({**output, "last_hidden_state": hidden})

    body(subject).register_forward_hook(first_row)
    found = part(subject, "order of rows", "served = local")
    assert [line.identity for line in found.failed if line.identity == "order of rows"], found.text()
    assert found.exit_status == 3


def test_a_wrong_gradient_of_a_divergence_is_found(
    tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its value is right, so the plain twin's autograd alone can tell."""
    named = Entry("test_conformance_breaks:halved_slope", laws=TABLE["forward_kl"].laws)
    monkeypatch.setitem(TABLE._entries, "halved_slope", named)
    sound = opened(stories(tmp_path, teacher))
    term = dataclasses.replace(sound.terms[0], divergence="halved_slope")
    found = part(dataclasses.replace(sound, terms=(term,)), "fused = plain")
    assert [line.name for line in found.failed] == ["fused = plain, gradient"]


@separable
def halved_slope(log_q: Tensor, log_p: Tensor, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Forward KL whose slope is half of what it should be."""
    value, slope = forward_kl.density(log_q, log_p, q, p)
    return value, slope / 2


def test_a_server_with_fewer_digits_than_the_local_copy_is_found(tmp_path: Path, teacher: Path) -> None:
    """A model in bfloat16 behind the URL, float32 at hand; the command line ends with 3."""
    short = ModelTeacher(str(teacher), dtype="bfloat16").open(Machine())
    with served(short) as url:
        words = {"kind": "server", "url": url, "probe": str(teacher), "agree_within": 1.0}
        found = part(stories(tmp_path, words), "served = local")
    assert [line.name for line in found.failed] == ["served = local"]
    (line,) = found.lines
    assert line.found is not None
    assert 1e-6 < line.found < 1


def test_a_server_of_another_model_is_found(tmp_path: Path, teacher: Path) -> None:
    """Where the recipe's own bound is too wide to refuse it at the handshake."""
    other = ModelTeacher(str(saved_model(tmp_path / "other", seed=5))).open(Machine())
    with served(other) as url:
        words = {"kind": "server", "url": url, "probe": str(teacher), "agree_within": 100.0}
        assert part(stories(tmp_path, words), "served = local").exit_status == 3
        refused = {**words, "agree_within": 1e-3}
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(_yaml(tmp_path, refused), encoding="utf-8")
        assert answered(["check", str(recipe), "--conformance"]) == 2, "the recipe itself is refused"


def test_a_cache_that_was_changed_ends_the_command_with_3(
    tmp_path: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit in the middle of every shard: the lines that read it say so, others are there too."""
    recipe = tmp_path / "recipe.yaml"
    cache_of(stories(tmp_path, teacher), tmp_path / "cache", precision="float32")
    words = {"kind": "cached", "cache": str(tmp_path / "cache"), "of": str(teacher)}
    recipe.write_text(_yaml(tmp_path, words), encoding="utf-8")
    for shard in (tmp_path / "cache" / "shards").iterdir():
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    assert answered(["check", str(recipe), "--conformance", "evaluation=none", "samples.max_rows=8"]) == 3
    printed = capsys.readouterr().out
    assert "FAILS" in printed
    assert "damaged" in printed
    assert "teacher = student, loss" in printed
    assert "Traceback" not in printed


def test_an_estimate_with_a_bias_is_found(subject: Subject) -> None:
    """Drawn tokens whose weights are a tenth too large; with the right ones nothing is found."""
    generator = torch.Generator().manual_seed(0)
    fair = drawn(subject.told, 2000, generator)
    unfair = Sampled(fair.ids, fair.log_probs_drawn, fair.weights * 1.1, fair.vocabulary, fair.never)
    bounds = next(one for one in IDENTITIES if one.name == "cached = local").bounds
    bound = next(one for one in bounds if one.measure == "sampled")
    answer = {}
    for name, told in (("fair", fair), ("unfair", unfair)):
        found = compared(subject, subject.told, told, Form("sampled", "float32"))
        answer[name] = line_of(IDENTITIES[2], bound, found, False).answer
    assert answer == {"fair": "ok", "unfair": "FAILS"}


def test_kept_tokens_that_are_no_bound_are_found(subject: Subject) -> None:
    """Kept tokens taken for all there is: for a student that knows little the loss is above the full one."""
    best = kept(subject.told, 8)
    for tail, holds in (("bucket", True), ("renormalise", False)):
        cut = TopK(best.ids, best.log_probs_kept, best.vocabulary, best.log_tail, best.never, tail)
        found = compared(subject, subject.told, cut, Form("top_k", "float32"))
        assert isinstance(found, Found)
        assert (found.apart <= 1e-5 * found.scale) == holds, found


def test_what_is_no_number_fails() -> None:
    """Not a number is below no bound."""
    identity = IDENTITIES[0]
    line = line_of(identity, identity.bounds[0], Found(float("nan")), False)
    assert (line.answer, line.found) == ("FAILS", None)


@pytest.mark.slow
def test_a_process_that_cannot_start_fails_and_says_why(tmp_path: Path) -> None:
    """The teacher's folder is gone when the processes open the recipe anew."""
    folder = saved_model(tmp_path / "teacher", seed=1)
    subject = opened(stories(tmp_path, folder))
    part(subject, "padding")  # what is asked of the teacher here has been asked
    folder.rename(tmp_path / "elsewhere")
    found = part(subject, "processes")
    assert answers(found) == {"processes, loss": "FAILS", "processes, gradient": "FAILS"}
    assert "status" in said(found)["processes, loss"]
    (tmp_path / "elsewhere").rename(folder)
    assert part(subject, "processes").exit_status == 0


def _yaml(folder: Path, teacher: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(stories(folder, teacher).resolved())
