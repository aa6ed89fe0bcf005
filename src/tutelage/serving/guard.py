"""What every request passes before it is looked at: who asks, from where; and what it is counted as."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tutelage.errors import TutelageError
from tutelage.serving.measures import Measures
from tutelage.serving.refusals import ROUTES, Refused, response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OPEN = ("/health",)
LOCAL = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """An ASGI layer around the app: token, host, and the counting of requests.

    Without a token a server listens on loopback only, and there the name that a request gives the host
    must be a local one: a web page whose name was pointed at this machine is turned away.

    Args:
        app: what is guarded.
        token: that requests must bring, or None.
        hosts: names that a request without a token may give this host.
        measures: where requests are counted.
    """

    def __init__(self, app: Any, token: str | None, hosts: tuple[str, ...], measures: Measures) -> None:
        self._app = app
        self._token = token
        self._hosts = (*LOCAL, *hosts)
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def counted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        route = scope["path"] if scope["path"] in ROUTES else "other"
        try:
            refusal = self._refusal(scope)
            answer = self._app if refusal is None else response(refusal)
            await answer(scope, receive, counted)
        finally:
            self._measures.requests.labels(route, str(status)).inc()
            self._measures.seconds.labels(route).observe(time.monotonic() - began)

    def _refusal(self, scope: Scope) -> TutelageError | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._token is None:
            name = re.sub(r":\d*$", "", headers.get(b"host", b"").decode("latin-1"))
            if name.lower() in self._hosts:
                return None
            return Refused(
                421,
                "this server is for programs on its own machine",
                expected=f"a request to {', '.join(LOCAL)}",
                fix="ask for one of these names, or start the server with a token",
            )
        if scope["path"] in OPEN:
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        # In constant time: how long it takes tells nothing of how much was right.
        right = hmac.compare_digest(given.strip(), self._token.encode())
        if scheme.lower() == b"bearer" and right:
            return None
        return Refused(
            401,
            "no token, or not the right one",
            expected="the header `Authorization: Bearer TOKEN`",
            fix="give the client the server's token with `token_file:` or in TUTELAGE_TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )
