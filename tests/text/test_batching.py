"""A batch holds its rows unchanged, and its masks come from lengths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import TutelageError
from tutelage.text import Example, collate

# A row is its tokens, each with whether it counts; examples are made in the tests.
drawn = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8), min_size=1, max_size=5
)


def made(rows: list[list[tuple[int, bool]]]) -> list[Example]:
    return [
        Example([t for t, _ in row], [i > 0 and c for i, (_, c) in enumerate(row)], {"route": row[0][0]})
        for row in rows
    ]


@settings(deadline=None)
@given(drawn=drawn, pad=st.integers(0, 3))
def test_every_row_comes_back_whatever_token_pads(drawn: list[list[tuple[int, bool]]], pad: int):
    """Token 0 to 3 are padding and text at once; nothing is taken for the other."""
    rows = made(drawn)
    batch = collate(rows, pad)
    for i, row in enumerate(rows):
        length = len(row.tokens)
        assert batch.tokens[i, :length].tolist() == row.tokens
        assert batch.mask[i, :length].tolist() == row.counted
        assert batch.attention[i].sum() == length
        assert not batch.mask[i, length:].any()
        assert (batch.tokens[i, length:] == pad).all()
    assert batch.counted == sum(sum(row.counted) for row in rows)
    assert batch.columns["route"] == tuple(row.tokens[0] for row in rows)


@settings(deadline=None)
@given(drawn=drawn)
def test_the_gold_tokens_are_the_counted_ones_in_order(drawn: list[list[tuple[int, bool]]]):
    rows = made(drawn)
    gold = [t for row in rows for t, c in zip(row.tokens, row.counted, strict=True) if c]
    assert collate(rows, 0).gold.tolist() == gold


def test_the_first_token_never_counts():
    """There is no output of the model in front of it."""
    assert collate([Example([1, 2], [True, True])], 0).mask.tolist() == [[False, True]]


def test_writers_are_one_word_for_all_or_one_a_row():
    rows = [Example([1, 2], [False, True]), Example([1], [False])]
    assert collate(rows, 0, "teacher").writers == ("teacher", "teacher")
    assert collate(rows, 0, ["student", "dataset"]).writers == ("student", "dataset")
    with pytest.raises(TutelageError, match="3 writers for 2 rows"):
        collate(rows, 0, ["student"] * 3)


def test_a_batch_without_rows_is_refused():
    with pytest.raises(TutelageError, match="a batch without rows"):
        collate([], 0)
