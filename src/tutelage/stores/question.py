"""What a run asks a served teacher: rows of tokens without padding, and the form of the answer.

The answer is a packed distribution (`tutelage.stores.payload`) at the counted positions, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from tutelage.errors import OutOfRange, TutelageError, listed
from tutelage.interfaces import Batch
from tutelage.stores.payload import Form, Kind, Precision
from tutelage.stores.wire import Limits, Message, encoded, too_large
from tutelage.text import Example

PROTOCOL = 1
"""Raised when an older client or server would misunderstand."""

SERVED: tuple[Kind, ...] = ("hidden", "dense", "top_k")
"""The kinds that go over a wire; `sampled` is made for storing."""

INTEGERS = (torch.int32, torch.int64)
TRUTHS = (torch.bool, torch.uint8)


@dataclass(frozen=True, eq=False)
class Question:
    """What a client asks: the distribution at the counted tokens of some rows, in some form.

    Attributes:
        rows: tokens, which of them count, and the columns that the teacher needs.
        form: how the answer is packed.
    """

    rows: tuple[Example, ...]
    form: Form

    @property
    def counted(self) -> int:
        """How many positions are asked about."""
        return sum(sum(row.counted) for row in self.rows)

    def encoded(self) -> bytes:
        """The bytes of the question; its columns are those that all rows have."""
        columns = {name: [row.columns[name] for row in self.rows] for name in self.rows[0].columns}
        form = {"kind": self.form.kind, "k": self.form.k, "precision": self.form.precision}
        tensors = {
            "tokens": torch.tensor([t for row in self.rows for t in row.tokens], dtype=torch.int32),
            "lengths": torch.tensor([len(row.tokens) for row in self.rows], dtype=torch.int32),
            "counted": torch.tensor([c for row in self.rows for c in row.counted], dtype=torch.bool),
        }
        return encoded(Message({"protocol": PROTOCOL, "form": form, "columns": columns}, tensors))

    @classmethod
    def read(cls, message: Message, vocab_size: int, limits: Limits) -> Question:
        """The question that a message is.

        Args:
            message: as it came in.
            vocab_size: token ids have to be below it.
            limits: what is taken at once.

        Raises:
            TooLarge: there are more tokens than are taken.
            TutelageError: it is no question, with what is wrong.
        """
        told = message.told
        _known(told, ("protocol", "form", "columns"), "a question")
        if told.get("protocol") != PROTOCOL:
            raise TutelageError(
                f"protocol {told.get('protocol')!r}"[:60],
                expected=f"protocol {PROTOCOL}",
                fix="use the same version of tutelage on both sides",
            )
        rows = _rows(message.tensors, vocab_size, limits)
        columns = _columns(told.get("columns", {}), len(rows))
        examples = tuple(
            Example(tokens, counted, {name: values[i] for name, values in columns.items()})
            for i, (tokens, counted) in enumerate(rows)
        )
        return cls(examples, _form(told.get("form")))


def rows_of_batch(batch: Batch, columns: Sequence[str] = ()) -> list[Example]:
    """The rows of a batch without their padding, those in which nothing counts left out.

    Args:
        batch: anywhere.
        columns: names of those that go along.

    Raises:
        TutelageError: a column is not there.
    """
    for name in columns:
        if name not in batch.columns:
            raise TutelageError(
                f"the data have no column '{name}', which the served teacher asks for",
                expected=f"the columns {listed(columns, 'and')} in every row",
                fix="add it to the data",
            )
    tokens, attention, mask = batch.tokens.cpu(), batch.attention.cpu(), batch.mask.cpu()
    return [
        Example(
            tokens[row][attention[row]].tolist(),
            mask[row][attention[row]].tolist(),
            {name: batch.columns[name][row] for name in columns},
        )
        for row in mask.any(1).nonzero()[:, 0].tolist()
    ]


def _rows(
    tensors: Mapping[str, Tensor], vocab_size: int, limits: Limits
) -> list[tuple[list[int], list[bool]]]:
    _known(tensors, ("tokens", "lengths", "counted"), "a question's tensors")
    tokens = _vector(tensors, "tokens", INTEGERS)
    lengths = _vector(tensors, "lengths", INTEGERS).long()
    counted = _vector(tensors, "counted", TRUTHS).bool()
    if len(tokens) > limits.request_tokens:
        raise too_large(len(tokens), limits.request_tokens, "tokens in a request")
    if len(lengths) == 0 or int(lengths.min()) < 1:
        raise _misfit("a row without tokens, or no row at all", "rows of at least one token")
    if int(lengths.max()) > limits.row_tokens:
        raise too_large(int(lengths.max()), limits.row_tokens, "tokens in a row")
    if int(lengths.sum()) != len(tokens) or len(counted) != len(tokens):
        raise _misfit(
            f"lengths that add up to {int(lengths.sum())}, {len(tokens)} tokens and {len(counted)} marks",
            "as many tokens and marks as the lengths add up to",
        )
    if int(tokens.min()) < 0 or int(tokens.max()) >= vocab_size:
        wrong = int(tokens[(tokens < 0) | (tokens >= vocab_size)][0])
        raise _misfit(f"the token id {wrong}", f"ids from 0 to {vocab_size - 1}")
    ends = lengths.cumsum(0)
    if bool(counted[ends - lengths].any()):
        raise _misfit("the first token of a row counts", "rows whose first token only leads up to others")
    if not bool(counted.any()):
        raise _misfit("no token counts", "at least one counted token")
    sizes = lengths.tolist()
    pairs = zip(tokens.split(sizes), counted.split(sizes), strict=True)
    return [(row.tolist(), marks.tolist()) for row, marks in pairs]


def _vector(tensors: Mapping[str, Tensor], name: str, dtypes: Sequence[torch.dtype]) -> Tensor:
    tensor = tensors.get(name)
    types = listed(str(dtype).removeprefix("torch.") for dtype in dtypes)
    if tensor is None:
        raise _misfit(f"no tensor '{name}'", f"one axis of {types}")
    if tensor.dim() != 1 or tensor.dtype not in dtypes:
        found = f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
        raise _misfit(f"the tensor '{name}' is {found}", f"one axis of {types}")
    return tensor


def _form(told: Any) -> Form:
    if not isinstance(told, dict):
        raise _misfit("no form", f"a form with a kind, {listed(SERVED)}")
    _known(told, ("kind", "k", "precision"), "a form")
    kind, k, precision = told.get("kind"), told.get("k", 64), told.get("precision")
    if kind not in SERVED:
        raise _misfit(f"the kind {str(kind)[:40]!r}", listed(SERVED))
    if precision is not None and precision not in get_args(Precision):
        raise _misfit(f"the precision {str(precision)[:40]!r}", listed(get_args(Precision)))
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise OutOfRange(
            f"k is {str(k)[:40]}", expected="a whole number of at least 1", fix="write `k: 64`, say"
        )
    return Form(kind, precision, k=k)


def _columns(told: Any, rows: int) -> dict[str, list[Any]]:
    plain = isinstance(told, dict) and all(
        isinstance(values, list)
        and len(values) == rows
        and all(value is None or isinstance(value, str | int | float) for value in values)
        for values in told.values()
    )
    if not plain:
        raise _misfit("columns of another form", "a list of texts or numbers a column, one a row")
    return told


def _known(told: Mapping[str, Any], names: Sequence[str], of: str) -> None:
    unknown = sorted(set(told) - set(names))
    if unknown:
        raise _misfit(f"'{unknown[0][:40]}' in {of}", f"only {listed(names, 'and')}")


def _misfit(problem: str, expected: str) -> TutelageError:
    return TutelageError(
        f"the question has {problem}",
        expected=expected,
        fix="ask through the teacher `server`, or read docs/serve.md",
    )
