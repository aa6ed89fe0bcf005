"""Examples of different lengths become one batch: padded on the right, the mask from lengths."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tutelage.errors import TutelageError
from tutelage.interfaces import Batch
from tutelage.text.template import Example


def collate(examples: Sequence[Example], pad_id: int, writers: str | Sequence[str] = "dataset") -> Batch:
    """Rows padded on the right to the longest.

    `attention` is made from lengths and `mask` from what each example counts, never from token ids: a
    padding id that is also the end token changes nothing.

    Args:
        examples: at least one row; the first token of a row never counts, whatever the row says.
        pad_id: fills the short rows up; any id of the vocabulary will do.
        writers: who wrote the rows; one word for all of them, or one a row.

    Raises:
        TutelageError: there is no row, or not as many writers as rows.
    """
    if not examples:
        raise TutelageError(
            "a batch without rows", expected="at least one example", fix="check that the data are not empty"
        )
    each = (writers,) * len(examples) if isinstance(writers, str) else tuple(writers)
    if len(each) != len(examples):
        raise TutelageError(
            f"{len(each)} writers for {len(examples)} rows",
            expected="one word for all rows, or one a row",
            fix="list `dataset`, `teacher` or `student` once for each row",
        )
    lengths = [len(example.tokens) for example in examples]
    longest = max(lengths)
    spare = [longest - length for length in lengths]
    # One tensor of nested lists: a tensor for each row took a twentieth of a small model's step.
    tokens = torch.tensor(
        [[*one.tokens, *[pad_id] * left] for one, left in zip(examples, spare, strict=True)], dtype=torch.long
    )
    mask = torch.tensor(
        [[*one.counted, *[False] * left] for one, left in zip(examples, spare, strict=True)], dtype=torch.bool
    )
    attention = torch.arange(longest) < torch.tensor(lengths)[:, None]
    mask[:, 0] = False
    names = dict.fromkeys(name for example in examples for name in example.columns)
    columns = {name: tuple(example.columns.get(name) for example in examples) for name in names}
    kinds = dict.fromkeys(name for example in examples for name in example.recorded)
    recorded = {name: torch.zeros(tokens.shape, dtype=torch.float64) for name in kinds}
    for row, example in enumerate(examples):
        for name, values in example.recorded.items():
            recorded[name][row, : len(values)] = torch.tensor(values, dtype=torch.float64)
    return Batch(tokens, attention, mask, each, columns, recorded)


def preceded(batch: Batch, before: Sequence[Sequence[int]], start: int | None, pad_id: int) -> Batch:
    """The same rows with more to read: tokens in front of each; what counts are the same tokens as before.

    A row that begins with the start token still does; the tokens come after it.

    Args:
        batch: padded on either side; its columns and records are left behind.
        before: tokens for each row, which may be none.
        start: id of the start token, or None.
        pad_id: fills the short rows up.
    """
    if not any(before):
        return batch
    here = batch.to("cpu")
    rows = []
    for number, tokens in enumerate(before):
        real = here.attention[number]
        said, counted = here.tokens[number][real].tolist(), here.mask[number][real].tolist()
        head = int(said[0] == start)
        rows.append(
            Example(
                [*said[:head], *tokens, *said[head:]],
                [*counted[:head], *[False] * len(tokens), *counted[head:]],
            )
        )
    return collate(rows, pad_id, batch.writers).to(batch.tokens.device)
