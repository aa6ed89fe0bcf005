"""Bytes between a served teacher and a run: safetensors with one JSON value beside them.

Sizes are checked before anything is parsed, and nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from tutelage.errors import Damaged, TutelageError

MEDIA_TYPE = "application/x-safetensors"
TOLD = "tutelage"
MOST_HEADER_BYTES = 4 << 20


class TooLarge(TutelageError):
    """More than the other side takes at once."""


@dataclass(frozen=True, eq=False)
class Message:
    """Named tensors and what is told about them.

    Attributes:
        told: plain JSON values.
        tensors: by name, on the CPU.
    """

    told: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def encoded(message: Message) -> bytes:
    """The bytes of a message."""
    told = json.dumps(message.told, allow_nan=False, separators=(",", ":"))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in message.tensors.items()}
    return save(tensors, metadata={TOLD: told})


def decoded(content: bytes, most_bytes: int) -> Message:
    """The message that ``content`` is.

    Args:
        content: what came in.
        most_bytes: how much is accepted.

    Raises:
        TooLarge: there is more.
        Damaged: it is cut short, changed, or not ours.
    """
    if len(content) > most_bytes:
        raise too_large(len(content), most_bytes, "bytes in a message")
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(MOST_HEADER_BYTES, len(content) - 8):
        raise _broken("its header has no plausible length")
    try:
        header = json.loads(content[8 : 8 + length])
        told = json.loads(header["__metadata__"][TOLD])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(f"its header is not ours ({type(error).__name__})") from None
    try:
        tensors = load(content)
    except Exception as error:  # whatever the parser finds wrong with a stranger's bytes
        raise _broken(" ".join(str(error).split())[:120]) from None
    if not isinstance(told, dict):
        raise _broken("what it tells is not a mapping")
    return Message(told, tensors)


def too_large(found: int, most: int, of: str) -> TooLarge:
    """The error for more than is taken at once."""
    return TooLarge(
        f"{found:,} {of}",
        expected=f"at most {most:,}",
        fix="send fewer rows at once, ask for another kind, or start the server with higher limits",
    )


@dataclass(frozen=True)
class Limits:
    """What a server takes at once.

    Attributes:
        row_tokens: tokens in one row.
        request_tokens: tokens in all rows of a request.
        request_bytes: bytes of a request.
        response_bytes: bytes of the tensors of an answer.
    """

    row_tokens: int
    request_tokens: int = 65_536
    request_bytes: int = 8 << 20
    response_bytes: int = 256 << 20


def _broken(why: str) -> Damaged:
    return Damaged(
        f"not a message of ours: {why}",
        expected=f"safetensors with what is told under '{TOLD}'",
        fix="send it again whole; use the same version of tutelage on both sides",
    )
