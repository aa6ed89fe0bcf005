"""Text files in UTF-8, written whole or not at all, whatever the locale; no torch."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from tutelage.errors import TutelageError

ROOM = "make room, or write elsewhere; what was there before is untouched"


def write_text(path: Path, text: str, *, fix: str = ROOM) -> None:
    """Write a file in UTF-8 with line ends as they are in ``text``; folders above it are made.

    It is written beside its place, flushed to the disk and renamed: who reads ``path`` finds the old
    file or the new one, also after a kill.

    Args:
        path: the file.
        text: all of it.
        fix: what the error says to do.

    Raises:
        TutelageError: the disk is full or the folder cannot be written; an older file stays.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(text.encode("utf-8"))
        flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error, fix) from error


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(path: Path, error: Exception, fix: str = ROOM) -> TutelageError:
    """The three lines for a full disk or a folder that cannot be written."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # Libraries that write in another language tell it by text alone.
    full = full or "No space left" in str(error) or "File too large" in str(error)
    why = getattr(error, "strerror", None) or error
    return TutelageError(
        f"{path}: " + ("the disk is full" if full else f"cannot be written ({why})"),
        expected="a folder on a disk with room, writable by you",
        fix=fix,
    )
