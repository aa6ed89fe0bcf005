"""Messages: what is packed comes back, and strangers' bytes are refused with a sentence."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from tutelage.distribution import Hidden
from tutelage.errors import Damaged, TutelageError
from tutelage.stores.payload import Form, Frame, framed, packed, unpacked
from tutelage.stores.question import SERVED
from tutelage.stores.wire import Message, TooLarge, decoded, encoded

MOST = 1 << 20


def said() -> Hidden:
    """Three positions over eleven tokens, with everything that an output layer can have."""
    torch.manual_seed(0)
    never = torch.tensor([4])
    return Hidden(torch.randn(3, 5), torch.randn(11, 5), torch.randn(11), 0.5, 2.0, never)


@pytest.mark.parametrize("kind", SERVED)
def test_a_distribution_that_went_over_the_wire_is_the_same(kind: Any):
    """Bit for bit in float32, for every kind that is served, frame included."""
    whole = said()
    form = Form(kind, "float32", k=3)
    frame = framed(whole, form)
    message = decoded(encoded(Message(frame.told(), packed(whole, form))), MOST)
    again = unpacked(message.tensors, Frame.read(message.told, frame.layer))
    expected = unpacked(packed(whole, form), frame)
    assert torch.equal(again.log_probs(), expected.log_probs())


def test_size_is_checked_before_anything_is_parsed():
    """Even of bytes that are no message at all."""
    with pytest.raises(TooLarge, match="1,001 bytes"):
        decoded(b"?" * 1001, 1000)


WHOLE = encoded(
    Message({"a": 1, "b": [None, "c"]}, {"x": torch.arange(6.0).view(2, 3), "y": torch.ones(2) > 0})
)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_message_that_was_cut_short_is_damaged(length: int):
    """At whatever byte."""
    with pytest.raises(Damaged):
        decoded(WHOLE[:length], MOST)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_message_with_a_changed_byte_is_read_or_refused_and_nothing_else(place: int, change: int):
    """A byte of a tensor is not noticed here, one of the header is; no other error comes out."""
    content = bytearray(WHOLE)
    content[place] ^= change
    with contextlib.suppress(TutelageError):
        assert isinstance(decoded(bytes(content), MOST), Message)


@given(st.binary(max_size=200))
def test_a_strangers_bytes_are_refused_with_three_lines(content: bytes):
    """No parser's own error, no hang, no tensor."""
    with pytest.raises(Damaged) as told:
        decoded(content, MOST)
    assert str(told.value).count("\n") == 2


@pytest.mark.parametrize(
    "content",
    [
        save({"x": torch.ones(2)}),
        save({"x": torch.ones(2)}, metadata={"tutelage": "[1]"}),
        save({"x": torch.ones(2)}, metadata={"tutelage": "[" * 100_000}),
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 100_002) + b"[" * 100_002,
        struct.pack("<Q", 2) + b"{}",
    ],
    ids=["nothing told", "no mapping", "deep told", "long header", "deep header", "empty header"],
)
def test_safetensors_that_are_not_ours_are_damaged(content: bytes):
    """Files of others, and headers made to exhaust a parser."""
    with pytest.raises(Damaged):
        decoded(content, MOST)


def test_what_is_told_is_plain_json():
    """A value that JSON does not have is refused where it is written, not where it is read."""
    with pytest.raises(ValueError, match="JSON"):
        encoded(Message({"nats": float("nan")}))
    header = WHOLE[8 : 8 + int.from_bytes(WHOLE[:8], "little")]
    assert json.loads(json.loads(header)["__metadata__"]["tutelage"]) == {"a": 1, "b": [None, "c"]}
