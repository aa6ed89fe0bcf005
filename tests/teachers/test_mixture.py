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


def test_a_mixture_of_sequences_is_the_mean_of_the_probabilities_of_whole_texts(folders: list[str]) -> None:
    """Its tokens multiply up to `log p(row) = logsumexp_k (log w_k + log p_k(row))`; token by token not."""
    members = tuple(ModelTeacher(folder) for folder in folders)
    rows = batch("0", "1")
    told = {
        by: MixtureTeacher(members, weights=(1.0, 3.0), by=by).open(Machine())(rows)
        for by in ("tokens", "sequences")
    }
    texts = {by: text_logs(said.log_probs(), rows) for by, said in told.items()}
    alone = [member.open(Machine())(rows).log_probs()[:, :2048].log_softmax(-1) for member in members]
    each = torch.stack([text_logs(said, rows) for said in alone])
    expected = (each + torch.tensor([0.25, 0.75]).double().log()[:, None]).logsumexp(0)
    torch.testing.assert_close(texts["sequences"], expected, atol=1e-4, rtol=1e-6)
    assert (texts["tokens"] - expected).abs().min() > 1e-3
    # At the first counted token of a row both are one.
    first = torch.tensor([0, int((rows.positions[0] == 0).sum())])
    one, other = (said.log_probs()[first] for said in told.values())
    torch.testing.assert_close(one, other)


def text_logs(log_probs: torch.Tensor, rows: Batch) -> torch.Tensor:
    """Log-probability ``[B]`` of the counted tokens of each row together."""
    said = log_probs.gather(1, rows.gold[:, None])[:, 0].double()
    return torch.zeros(len(rows.writers)).double().index_add(0, rows.positions[0], said)


def test_a_mixture_of_sequences_writes_as_it_is_asked(folders: list[str]) -> None:
    """Token by token, in rows of different lengths of which one ends early, it reads what it says."""
    mixture = MixtureTeacher(
        tuple(ModelTeacher(folder) for folder in folders), weights=(1.0, 3.0), by="sequences"
    ).open(Machine())
    rows = batch("0", "1")
    lengths = rows.attention.sum(1).tolist()
    told = mixture(rows).log_probs()
    whole = [row[:length].tolist() for row, length in zip(rows.tokens, lengths, strict=True)]
    with torch.no_grad():
        reading = mixture.reader([row[:1] for row in whole], None)
        left = list(range(len(whole)))
        for place in range(1, max(lengths)):
            left_now = [row for row in left if place < lengths[row]]
            for at, row in enumerate(left):
                if row in left_now:
                    index = sum(length - 1 for length in lengths[:row]) + place - 1
                    torch.testing.assert_close(
                        reading.logits[at][:2048].log_softmax(0), told[index], atol=1e-4, rtol=1e-4
                    )
            said = torch.tensor([whole[row][place] if row in left_now else 0 for row in left])
            reading.step(said, torch.tensor([row in left_now for row in left]))
            left = left_now
            if not left:
                break


def test_a_mixture_of_sequences_cannot_be_routed(folders: list[str]) -> None:
    """What a member weighs follows from the text; a column cannot say it too."""
    with pytest.raises(TutelageError, match="that is routed"):
        MixtureTeacher(tuple(map(ModelTeacher, folders)), route="who", by="sequences")


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
