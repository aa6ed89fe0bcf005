"""Where a server listens and who may ask it: loopback unless told otherwise, else only with a token."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

from tutelage.clients.token import MAKE_TOKEN, TOKEN_VARIABLE
from tutelage.errors import TutelageError

SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Whether a host's every address leads back to this machine alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    with contextlib.suppress(OSError, UnicodeError):
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(one).is_loopback for one in found)
    return False


def demand_token(host: str, token: str | None) -> None:
    """Refuse to be reached from elsewhere without a token that cannot be guessed.

    Raises:
        TutelageError: the host is not loopback, and there is no token or a short one.
    """
    if is_loopback(host) or (token is not None and len(token) >= SHORTEST_TOKEN):
        return
    what = "without a token" if token is None else f"with a token of {len(token)} characters"
    raise TutelageError(
        f"{host} can be reached from other machines, {what}",
        expected=f"a token of at least {SHORTEST_TOKEN} characters in `--token-file` or {TOKEN_VARIABLE}",
        fix=f"listen on 127.0.0.1, or make one: {MAKE_TOKEN}",
    )


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to an address, not listening yet; port 0 takes a free one.

    Raises:
        TutelageError: the address is not ours, or somebody listens there.
    """
    found = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, UnicodeError, OverflowError) as error:
        if found is not None:
            found.close()
        raise TutelageError(
            f"can't listen on {host}, port {port} ({getattr(error, 'strerror', None) or error})",
            expected="an address of this machine and a free port",
            fix="choose another `--port` (0 takes a free one) or `--host`",
        ) from None
    return found


def url_of(found: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = found.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
