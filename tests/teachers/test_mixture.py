"""Several teachers as one: by weight, routed by a column, and padded differently."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Machine
from tutelage.models import load_model, load_tokenizer, new_model, save_student
from tutelage.teachers import MixtureTeacher, ModelTeacher
from tutelage.text import Example, collate

TOKENIZER = Path(__file__).parents[2] / "recipes" / "demo" / "tokenizer"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models of one family whose tables are padded to different sizes."""
    made = []
    for seed, rows in ((1, 2048), (2, 2100)):
        config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": rows}
        model = new_model(config, TOKENIZER, seed=seed, machine=Machine())
        made.append(str(save_student(model, tmp_path_factory.mktemp("models") / str(seed))))
    return made


def batch(*routes: str) -> Batch:
    tokenizer = load_tokenizer(TOKENIZER)
    rows = [
        Example(
            tokenizer(text).input_ids, [False, *[True] * (len(tokenizer(text).input_ids) - 1)], {"who": route}
        )
        for text, route in zip(("One day a dog", "Lily was sad."), routes, strict=True)
    ]
    return collate(rows, 0)


def test_a_mixture_is_the_weighted_mean_of_probabilities_on_the_shared_tokens(folders: list[str]) -> None:
    """Members with different tables meet on the ids that both have."""
    members = tuple(ModelTeacher(folder) for folder in folders)
    mixture = MixtureTeacher(members, weights=(1.0, 3.0)).open(Machine())
    rows = batch("0", "1")
    one, other = (member.open(Machine())(rows).log_probs() for member in members)
    other = other[:, :2048].log_softmax(-1)  # the padding rows say nothing
    expected = 0.25 * one.exp() + 0.75 * other.exp()
    torch.testing.assert_close(mixture(rows).log_probs().exp(), expected)


def test_a_routed_mixture_asks_the_teacher_that_the_row_names(folders: list[str]) -> None:
    """Each row's positions are one member's, whole."""
    members = tuple(ModelTeacher(folder) for folder in folders)
    routed = MixtureTeacher(members, route="who", names=("first", "second")).open(Machine())
    rows = batch("second", "first")
    one, other = (member.open(Machine())(rows).log_probs()[:, :2048].log_softmax(-1) for member in members)
    row_of = rows.positions[0]
    expected = torch.where((row_of == 1)[:, None], one, other)
    torch.testing.assert_close(routed(rows).log_probs(), expected)


def test_a_mixture_is_as_large_as_its_members_together(folders: list[str]) -> None:
    """Once it is open; before, nothing is known of it."""
    members = tuple(ModelTeacher(folder) for folder in folders)
    sizes = [load_model(folder, machine=Machine()).parameters for folder in folders]
    assert [member.open(Machine()).parameters for member in members] == sizes
    assert MixtureTeacher(members).open(Machine()).parameters == sum(sizes)
    assert MixtureTeacher(members).parameters is None


def test_a_mixture_of_one_weight_is_that_teacher(folders: list[str]) -> None:
    """Weight 1 gives the plain thing back (law 4)."""
    members = tuple(ModelTeacher(folder) for folder in folders)
    rows = batch("0", "1")
    alone = MixtureTeacher(members, weights=(1.0, 0.0)).open(Machine())(rows)
    torch.testing.assert_close(alone.log_probs(), members[0].open(Machine())(rows).log_probs())


def test_routes_that_lead_nowhere_are_named(folders: list[str]) -> None:
    """A missing column and an unknown value each say what there is."""
    members = tuple(ModelTeacher(folder) for folder in folders)
    with pytest.raises(TutelageError, match="no column 'topic'"):
        MixtureTeacher(members, route="topic").open(Machine())(batch("0", "1"))
    bare = dataclasses.replace(batch("0", "1"), columns={})
    with pytest.raises(TutelageError, match="no column 'topic'"):
        MixtureTeacher(members, route="topic").open(Machine())(bare)
    with pytest.raises(TutelageError, match="says 'third'"):
        MixtureTeacher(members, route="who", names=("first", "second")).open(Machine())(
            batch("third", "first")
        )
    with pytest.raises(TutelageError, match="has 1 weights"):
        MixtureTeacher(members, weights=(1.0,))


def test_describing_a_teacher_loads_nothing() -> None:
    """It can be printed and compared; asked to speak, it says how it is opened."""
    described = ModelTeacher("no/such/model")
    assert described == ModelTeacher("no/such/model")
    with pytest.raises(TutelageError, match="is not open"):
        described(batch("0", "1"))
