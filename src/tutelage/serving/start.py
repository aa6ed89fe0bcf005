"""From a teacher's description to a running server, and its end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

import torch

from tutelage.errors import MissingExtra
from tutelage.interfaces import Machine
from tutelage.recipes.words import TeacherWord
from tutelage.run.opened import described
from tutelage.serving.app import Settings, make_app
from tutelage.serving.offer import Offer, offered
from tutelage.stores.wire import Limits

try:
    import uvicorn
except ImportError as error:
    raise MissingExtra("uvicorn", "serve") from error

STOP_SECONDS = 10
BYTES_A_TOKEN = 32
"""Room for a token in a request: ten digits and a comma in JSON, or a long word."""


def open_offer(word: TeacherWord, name: str) -> Offer:
    """Open a teacher on the best device there is, and look at it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return offered(described(word).open(Machine(device=device)), name, device)


def settings_for(
    offer: Offer, *, request_tokens: int, batch_tokens: int, seconds: float, token: str | None, host: str
) -> Settings:
    """How much the server takes on, from what was asked for and what the model can read."""
    limits = Limits(
        row_tokens=min(offer.longest or request_tokens, request_tokens),
        request_tokens=request_tokens,
        request_bytes=(1 << 20) + BYTES_A_TOKEN * request_tokens,
    )
    return Settings(limits, batch_tokens, seconds, token, (host,))


def run_server(app: Any, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM (returns) or ctrl-C (raises KeyboardInterrupt); requests under way are ended.

    Args:
        app: what `make_app` made.
        listening: a bound socket.
        ready: called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    # After its own clean end uvicorn raises the signal again; asked to stop, we are done and not dead.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        _Server(config, ready).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()


__all__ = ["make_app", "open_offer", "run_server", "settings_for"]
