"""Shards and their index: what is written is read back, a row at a time, or the damage is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import Damaged
from tutelage.stores.index import Entry, Index
from tutelage.stores.rows import KEY_BYTES, keys_of, row_key
from tutelage.stores.shards import Shard, planned, write_shard
from tutelage.text import Example, collate

KEYS = [bytes([n]) * KEY_BYTES for n in (9, 3, 200)]
COUNTS = [2, 3, 1]


def tensors() -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)
    return {
        "hidden": torch.randn(6, 4, generator=drawn).bfloat16(),
        "log_tail": torch.randn(6, generator=drawn),
    }


@given(counts=st.lists(st.integers(1, 30), max_size=40), most=st.integers(1, 60))
def test_shards_hold_every_row_once_and_in_order(counts: list[int], most: int) -> None:
    """None is too large, unless a single row is."""
    shards = planned(counts, most)
    assert [row for shard in shards for row in shard] == list(range(len(counts)))
    assert all(len(shard) == 1 or sum(counts[row] for row in shard) <= most for shard in shards)


def test_a_row_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """Rows lie behind one another; each is cut out by its place."""
    written = tensors()
    write_shard(tmp_path / "one", written, KEYS, COUNTS)
    shard, start = Shard(tmp_path / "one"), 0
    for row, count in enumerate(COUNTS):
        found = shard.row(row, start, count)
        assert all(torch.equal(found[name], written[name][start : start + count]) for name in written)
        start += count
    assert shard.counts == COUNTS


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    """The name of a shard is the hash of its bytes, so they must not depend on chance."""
    hashes = {write_shard(tmp_path / str(n), tensors(), KEYS, COUNTS) for n in range(5)}
    assert len(hashes) == 1


def test_a_flipped_bit_in_a_row_is_found_when_the_row_is_read(tmp_path: Path) -> None:
    """Only that row is refused; its neighbours can be read."""
    write_shard(tmp_path / "one", tensors(), KEYS, COUNTS)
    content = bytearray((tmp_path / "one").read_bytes())
    at = content.find(tensors()["log_tail"].numpy().tobytes())
    content[at + 4 * 3] ^= 1  # position 3 belongs to the second row
    (tmp_path / "one").write_bytes(content)
    shard = Shard(tmp_path / "one")
    shard.row(0, 0, 2)
    shard.row(2, 5, 1)
    with pytest.raises(Damaged, match="row 1 is not what was written"):
        shard.row(1, 2, 3)


def test_a_shard_that_is_cut_short_is_no_shard(tmp_path: Path) -> None:
    """The file is named."""
    write_shard(tmp_path / "one", tensors(), KEYS, COUNTS)
    content = (tmp_path / "one").read_bytes()
    for length in (0, 5, 40, len(content) - 1):
        (tmp_path / "one").write_bytes(content[:length])
        with pytest.raises(Damaged, match="one: damaged"):
            Shard(tmp_path / "one")


@given(
    keys=st.sets(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), max_size=30),
    others=st.lists(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), max_size=5),
)
def test_an_index_finds_what_is_in_it_and_nothing_else(keys: set[bytes], others: list[bytes]) -> None:
    """Also keys that end in zeros, which some comparisons of bytes leave out."""
    padded = keys | {key[:3].ljust(KEY_BYTES, b"\0") for key in keys}
    index = Index.of(Entry(key, n, n + 1, n + 2, n + 3) for n, key in enumerate(padded))
    for key, place in zip(padded, index.find(list(padded)), strict=True):
        assert index.keys[place].tobytes() == key
        assert int(index.starts[place]) == int(index.shards[place]) + 2
    found = index.find(others)
    assert [place >= 0 for place in found] == [key in padded for key in others]


def test_an_index_is_read_back_and_damage_is_told(tmp_path: Path) -> None:
    """A file that is cut short is refused by name."""
    index = Index.of([Entry(key, 0, n, n, 1) for n, key in enumerate(KEYS)])
    (tmp_path / "index").write_bytes(index.file())
    assert Index.read(tmp_path / "index").find(KEYS) == index.find(KEYS)
    (tmp_path / "index").write_bytes(index.file()[:-3])
    with pytest.raises(Damaged, match="index of the cache"):
        Index.read(tmp_path / "index")


rows = st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=2, max_size=12)


@given(first=rows, second=rows, side=st.sampled_from(["left", "right"]))
def test_padding_on_either_side_changes_no_key(
    first: list[tuple[int, bool]], second: list[tuple[int, bool]], side: str
) -> None:
    """A key is made of a row's own tokens and mask."""
    examples = [Example([t for t, _ in row], [c for _, c in row]) for row in (first, second)]
    batch = collate(examples, pad_id=7)
    if side == "left":
        for row, example in enumerate(examples):
            shift = batch.tokens.shape[1] - len(example.tokens)
            for tensor in (batch.tokens, batch.attention, batch.mask):
                tensor[row] = tensor[row].roll(shift)
    assert keys_of(batch) == [row_key(e.tokens, e.counted) for e in examples]


@given(one=rows, other=rows)
def test_rows_that_differ_in_tokens_or_mask_have_different_keys(
    one: list[tuple[int, bool]], other: list[tuple[int, bool]]
) -> None:
    """The first token never counts, whatever its mask says."""

    def content(row: list[tuple[int, bool]]) -> tuple[list[int], list[bool]]:
        return [t for t, _ in row], [False, *(c for _, c in row[1:])]

    same = content(one) == content(other)
    assert (row_key(*zip(*one, strict=True)) == row_key(*zip(*other, strict=True))) == same


def test_columns_that_the_teacher_looks_at_are_part_of_the_key() -> None:
    """The same text routed to two teachers is two rows."""
    keys = {row_key([1, 2], [False, True], columns) for columns in ((), ("a",), ("b",), ("a", "b"))}
    assert len(keys) == 4
