"""A folder for what is made on the way, gone afterwards: also after ctrl-C and when asked to end."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

TERMINATED = 128 + signal.SIGTERM


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder inside the system's place for temporary files.

    SIGTERM ends the process in order instead of at once, so that the folder is removed then too.
    """
    with _ended_in_order(), tempfile.TemporaryDirectory(prefix="tutelage-check-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
