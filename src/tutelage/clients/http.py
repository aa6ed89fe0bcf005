"""A request that is sent until it is answered: back-off, time limits, bounded answers, a token."""

from __future__ import annotations

import contextlib
import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tutelage.errors import MissingExtra, TutelageError

try:
    import httpx
except ImportError as error:
    raise MissingExtra("httpx", "serve") from error

FIRST_WAIT, LONGEST_WAIT = 0.1, 15.0
"""Seconds before the second attempt; doubled each time, up to the longest."""

AGAIN = (429, 502, 503, 504)
"""Statuses that say: not now."""

MOST_ERROR_BYTES = 1 << 16
KEPT_SECONDS = 60.0
"""An idle connection is given back after so long."""


@dataclass(frozen=True)
class Reply:
    """An answer with a status below 400.

    Attributes:
        status: of HTTP.
        headers: names in lower case.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class Refusal(TutelageError):
    """The server answered, and its answer is no."""


class Line:
    """A line to one server.

    What fails for a while (no connection, a connection that broke, 429, 502, 503, 504) is tried again after
    a wait that doubles, shortened by chance so that many clients do not come back at once; a server's
    `Retry-After` is honoured. All questions here may be asked twice.

    Args:
        url: ``http://host:port``, with a path in front of ``/v1`` where there is one.
        token: sent as a bearer token, or None.
        timeout: seconds without a byte until an attempt is given up.
        retries: attempts after the first.

    Attributes:
        url: without the slash and the ``/v1`` at the end.
        connections: how often somebody new picked up: whoever answers may be another.

    Raises:
        TutelageError: it is no URL.
    """

    def __init__(self, url: str, *, token: str | None, timeout: float, retries: int) -> None:
        self.url = _plain(url)
        self.connections = 0
        self._retries = retries
        self._token = token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # A proxy named in the environment is for the network, and would catch loopback too; a redirect
        # would carry the token to whoever it names.
        self._client = httpx.Client(
            headers=headers,
            timeout=timeout,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(keepalive_expiry=KEPT_SECONDS),
        )

    def get(self, path: str, *, most_bytes: int, headers: Mapping[str, str] | None = None) -> Reply:
        """The answer to a GET. Raises like `ask`."""
        return self.ask("GET", path, most_bytes=most_bytes, headers=headers)

    def post(self, path: str, content: bytes, media_type: str, *, most_bytes: int) -> Reply:
        """The answer to a POST. Raises like `ask`."""
        return self.ask("POST", path, content, most_bytes=most_bytes, headers={"Content-Type": media_type})

    def ask(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        most_bytes: int,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request until it is answered.

        Args:
            method, path, content, headers: of the request.
            most_bytes: of the answer that are read.

        Raises:
            Refusal: the server says no.
        TutelageError: it says more than it should, or cannot be reached any more.
        """
        why = ""
        for attempt in range(self._retries + 1):
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
            try:
                with self._client.stream(
                    method,
                    self.url + path,
                    content=content,
                    headers=headers,
                    extensions={"trace": self._noticed},
                ) as got:
                    if got.status_code not in AGAIN:
                        return self._read(got, most_bytes)
                    why = f"it answers {got.status_code}"
                    wait = max(wait, _asked_to_wait(got))
            except httpx.TransportError as error:
                why = f"{type(error).__name__}: {error}"
            if attempt < self._retries:
                time.sleep(wait)
        raise TutelageError(
            f"{self.url}: no answer after {self._retries + 1} attempts ({why.rstrip(': ')})",
            expected="a server that answers",
            fix="start it again (`tutelage serve`), check the address, or raise `retries:` and `timeout:`",
        )

    def close(self) -> None:
        """Give connections back; also done when nobody has the line any more."""
        self._client.close()

    def __del__(self) -> None:
        # Missing where the address was no address, and unwilling when Python itself is ending.
        with contextlib.suppress(Exception):
            self._client.close()

    def _noticed(self, event: str, _: object) -> None:
        if event == "connection.connect_tcp.complete":
            self.connections += 1

    def _read(self, got: httpx.Response, most_bytes: int) -> Reply:
        bad = got.status_code >= 300 and got.status_code != 304
        most = MOST_ERROR_BYTES if bad else most_bytes
        content = bytearray()
        for chunk in got.iter_bytes():
            content += chunk
            if len(content) > most and not bad:
                raise TutelageError(
                    f"{self.url}: answers with more than {most:,} bytes",
                    expected="as much as was asked for",
                    fix="check that this is the server you mean",
                )
        if bad:
            raise refused(self.url, got.status_code, bytes(content[:most]), self._token is not None)
        return Reply(got.status_code, dict(got.headers), bytes(content))


def refused(url: str, status: int, content: bytes, has_token: bool) -> Refusal:
    """The error for a status that says no, with what the server itself says about it."""
    problem, expected, fix = said(content)
    shown = f"{url}: {problem}" if problem else f"{url}: answers {status}"
    if status in (401, 403):
        token = "the token is not the right one" if has_token else "a token is needed"
        return Refusal(
            f"{url}: {token} ({status})",
            expected="the server's token in the file under `token_file:`, or in TUTELAGE_TOKEN",
            fix="ask whoever runs the server for it",
        )
    if status == 404:
        return Refusal(
            f"{shown} (404)",
            expected=expected or "a server with this route and this model",
            fix=fix or "check `url:`, `protocol:` and `served_model:`",
        )
    if status == 413:
        return Refusal(
            f"{shown} (413)",
            expected=expected or "a smaller request",
            fix=fix or "lower `per_device_train_batch_size` or `max_length`, or raise the server's limits",
        )
    return Refusal(
        f"{shown} ({status})",
        expected=expected or "a request that the server takes",
        fix=fix or "check that server and client are of the same version, and `protocol:`",
    )


def said(content: bytes) -> tuple[str, str, str]:
    """Problem, expected and fix out of the body of an error; empty where it does not say."""
    try:
        error = json.loads(content)
    except (ValueError, RecursionError):
        return "", "", ""
    error = error.get("error", error) if isinstance(error, dict) else {}
    if not isinstance(error, dict):
        return _short(error), "", ""
    problem = error.get("problem") or error.get("message") or error.get("detail") or ""
    return _short(problem), _short(error.get("expected") or ""), _short(error.get("fix") or "")


def _short(text: object) -> str:
    # What a stranger says goes to a terminal: one line, nothing that it would obey.
    plain = " ".join(str(text).split())[:300]
    return "".join(letter if letter.isprintable() else "?" for letter in plain)


def _asked_to_wait(got: httpx.Response) -> float:
    try:
        seconds = float(got.headers.get("retry-after", ""))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), 4 * LONGEST_WAIT) if math.isfinite(seconds) else 0.0


def _plain(url: str) -> str:
    wrong = TutelageError(
        f"'{_short(url)}' is not the address of a server",
        expected="http://host:port or https://host",
        fix="write for instance `url: http://127.0.0.1:8765`",
    )
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, TypeError):
        raise wrong from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise wrong
    if parsed.userinfo:
        raise TutelageError(
            "the address of a server has a password in it",
            expected="the token in a file, or in TUTELAGE_TOKEN; an address is written into reports",
            fix="write `token_file:` instead",
        )
    return str(parsed).rstrip("/").removesuffix("/v1").rstrip("/")
