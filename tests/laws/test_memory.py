"""Memory grows with rows and with the vocabulary, never with their product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tutelage.distribution import (
    Distribution,
    Hidden,
    OfStudent,
    TopK,
    base,
    interpolated,
    mixed,
    renamed,
    shifted,
)
from tutelage.distribution.base import Chunk, OpenRows, Workspace
from tutelage.divergences import TABLE, fused, loss
from tutelage.divergences.fused import CHUNK_BYTES, MAX_CHUNK, Against, choose_chunk, evaluate
from tutelage.interfaces import asks_target

VOCAB, WIDTH, CHUNK = 2500, 8, 64


class Largest(TorchDispatchMode):
    """Notes the most elements that any single operation inside the block gave back."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.elements = max(self.elements, leaf.numel())
        return result


class Noted(Workspace):
    """A workspace that can be asked afterwards how much it held."""

    made: list[Noted] = []  # noqa: RUF012

    def __init__(self, like: Tensor) -> None:
        super().__init__(like)
        Noted.made.append(self)

    def held(self) -> int:
        """Elements of all its tiles."""
        return sum(buffer.numel() for buffer in self._buffers)


def hidden(n: int, seed: int) -> Hidden:
    """Hidden states and an output layer."""
    made = torch.Generator().manual_seed(seed)
    return Hidden(torch.randn(n, WIDTH, generator=made), torch.randn(VOCAB, WIDTH, generator=made))


def top_k(n: int) -> TopK:
    """Five tokens a position."""
    ids = torch.arange(5).expand(n, 5) * 400
    return TopK(ids, torch.full((n, 5), -2.0), VOCAB)


TEACHERS: dict[str, Callable[[int], Distribution]] = {
    "hidden": lambda n: hidden(n, 1),
    "top k": top_k,
    "interpolated": lambda n: interpolated(OfStudent(n, VOCAB), hidden(n, 1), 0.4),
    "mixed": lambda n: mixed([hidden(n, 1), hidden(n, 2)], [0.5, 0.5]),
    "shifted": lambda n: shifted(hidden(n, 1), towards=hidden(n, 2), away_from=hidden(n, 3)),
    "renamed": lambda n: renamed(hidden(n, 1), torch.full((n, 1), 3), torch.full((n, 1), 4)),
}


def measured(monkeypatch: pytest.MonkeyPatch, n: int, terms: Callable[[int], list[Against]]) -> Largest:
    """Forward and backward at ``n`` positions, watched."""
    watched(monkeypatch)
    student = hidden(n, 0)
    student.hidden.requires_grad_()
    student.weight.requires_grad_()
    asked = terms(n)
    with Largest() as largest:
        total, _ = evaluate(student, asked, chunk_rows=CHUNK)
        total.backward()
    return largest


def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on workspaces are noted, and begin with nothing."""
    monkeypatch.setattr(fused, "Workspace", Noted)
    base._keep_small_blocks()
    base._IDLE.__dict__.clear()
    Noted.made.clear()


def one(kind: str, name: str) -> Callable[[int], list[Against]]:
    """A single term against one kind of teacher."""
    told = asks_target(TABLE.load(name))
    return lambda n: [
        Against(
            TABLE.load(name),
            TEACHERS[kind](n),
            torch.full((n,), 1 / n),
            target=torch.arange(n) * 7 if told else None,
        )
    ]


@pytest.mark.parametrize("kind", TEACHERS)
def test_tiles_do_not_grow_with_the_rows_and_no_tensor_is_rows_by_vocabulary(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 256 rows to 1,024 the tiles stay, and the largest tensor is one tile."""
    held = []
    for n in (256, 1024):
        largest = measured(monkeypatch, n, one(kind, "jensen_shannon"))
        assert largest.elements <= CHUNK * VOCAB
        (workspace,) = Noted.made
        held.append(workspace.held())
    assert held[0] == held[1]
    assert held[0] <= 6 * CHUNK * VOCAB


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name].trains])
def test_no_divergence_makes_a_tensor_of_rows_by_vocabulary(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every divergence stays within one tile and within the output layer's own gradient."""
    assert measured(monkeypatch, 256, one("hidden", name)).elements <= CHUNK * VOCAB


def test_terms_share_a_teacher_and_more_teachers_need_one_tile_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terms on one teacher need its tile alone; with others beside it one more, however many there are."""

    def held(teachers: int, names: list[str]) -> int:
        def terms(n: int) -> list[Against]:
            told = [hidden(n, k + 1) for k in range(teachers)]
            weights = torch.full((n,), 1 / n)
            return [Against(TABLE.load(name), teacher, weights) for teacher in told for name in names]

        measured(monkeypatch, 128, terms)
        return Noted.made[0].held()

    alone = held(1, ["forward_kl"])
    assert held(1, ["forward_kl", "reverse_kl", "total_variation"]) == alone
    assert held(2, ["forward_kl"]) == held(4, ["forward_kl", "reverse_kl"]) == alone + CHUNK * VOCAB


def test_kept_tokens_need_no_tile_of_a_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gold tokens and top-k are compared without a tile beside the student's own."""
    measured(monkeypatch, 128, one("top k", "jensen_shannon"))
    assert Noted.made[0].held() < 2 * CHUNK * VOCAB


def test_slopes_lie_where_the_teacher_lay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes the tiles that evaluating without gradients takes, and not one more."""
    measured(monkeypatch, 128, one("hidden", "forward_kl"))
    training = Noted.made[0]
    watched(monkeypatch)
    student = hidden(128, 0)
    student.weight.requires_grad_()
    with torch.no_grad():
        evaluate(student, one("hidden", "forward_kl")(128), chunk_rows=CHUNK)
    assert Noted.made[0].held() == training.held()


def test_a_chunk_chosen_for_a_large_vocabulary_keeps_a_tile_bounded() -> None:
    """Left to itself a tile holds 128 MiB in float32; 256 for up to 384 positions; or 64 where V is huge."""
    for vocab in (32_000, 50_257, 87_000, 151_936, 256_000):
        rows = choose_chunk(vocab, 100_000)
        assert 64 <= rows <= MAX_CHUNK
        assert rows * vocab * 4 <= (CHUNK_BYTES if vocab < 87_000 else 2 * CHUNK_BYTES)
        assert rows * vocab * 4 <= CHUNK_BYTES or rows <= 384
    assert choose_chunk(10_000_000, 5) == 64
    assert choose_chunk(50, 100) == 128


def test_the_next_evaluation_takes_the_same_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one has allocated the next one uses; other sizes add only what is larger."""
    measured(monkeypatch, 128, one("hidden", "forward_kl"))
    before = [buffer.data_ptr() for buffer in Noted.made[0]._buffers]
    evaluate(hidden(96, 0), one("hidden", "reverse_kl")(96), chunk_rows=CHUNK)
    assert [buffer.data_ptr() for buffer in Noted.made[1]._buffers] == before


class Asking(Distribution):
    """A distribution that evaluates something else while it is opened, as one that adapts might."""

    def __init__(self, of: Hidden) -> None:
        self.of = of

    positions = property(lambda self: self.of.positions)
    vocab_size = property(lambda self: self.of.vocab_size)
    like = property(lambda self: self.of.like)

    def open(self, chunk: Chunk, workspace: Workspace, student: Tensor | None = None) -> OpenRows:
        """Another evaluation first."""
        other = hidden(len(self), 9)
        loss(other.hidden, other.weight, hidden(len(self), 8), "reverse_kl")
        return self.of.open(chunk, workspace, student)


def test_an_evaluation_inside_another_one_has_tiles_of_its_own() -> None:
    """Its numbers are those that it has without the inner one."""
    student, teacher = hidden(100, 0), hidden(100, 1)
    values = [
        loss(student.hidden, student.weight, told, "jensen_shannon", chunk_rows=CHUNK)
        for told in (teacher, Asking(teacher))
    ]
    assert torch.equal(values[0], values[1])
