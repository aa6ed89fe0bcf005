"""Real servers on loopback: in a thread of the test, or in a process that can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tutelage.interfaces import Machine, Teacher
from tutelage.models import new_model, save_student
from tutelage.serving.address import bound, url_of
from tutelage.serving.app import Settings, make_app
from tutelage.serving.offer import offered
from tutelage.stores.wire import Limits

TOKENIZER = Path(__file__).parents[1] / "recipes" / "demo" / "tokenizer"
POSITIONS = 64
PATIENCE = 120


def tiny_teacher(folder: Path, seed: int = 7, **config: Any) -> str:
    """A saved GPT-2 of two layers with random weights and the demo's 2,048 tokens."""
    shape = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS}
    model = new_model({**shape, **config}, TOKENIZER, seed=seed, machine=Machine())
    return str(save_student(model, folder))


@contextlib.contextmanager
def served(teacher: Teacher, name: str = "tiny", port: int = 0, **changes: Any) -> Iterator[str]:
    """The URL of a server in a thread; ``changes`` are of `Settings` and `Limits`."""
    offer = offered(teacher, name, "cpu")
    limits = {"row_tokens": offer.longest or 512, "request_tokens": 4096, "request_bytes": 1 << 20}
    limits |= {key: changes.pop(key) for key in list(changes) if key in Limits.__dataclass_fields__}
    limits["row_tokens"] = min(limits["row_tokens"], limits["request_tokens"])
    with listening(make_app(offer, Settings(Limits(**limits), **changes)), port) as url:
        yield url


@contextlib.contextmanager
def listening(app: Any, port: int = 0) -> Iterator[str]:
    """The URL at which an ASGI application answers, in a thread."""
    found = bound("127.0.0.1", port)
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="on", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [found]}, daemon=True)
    thread.start()
    until = time.monotonic() + PATIENCE
    while not server.started and time.monotonic() < until:
        time.sleep(0.005)
    assert server.started, "the server did not start"
    try:
        yield url_of(found)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        found.close()


class ServeProcess:
    """``tutelage serve`` in a process of its own, on a port that stays the same when it is started again."""

    def __init__(self, *words: str, port: int = 0, **environment: str) -> None:
        self.words = words
        self.port = port or free_port()
        self.environment = environment
        self.process: subprocess.Popen[str] | None = None
        self.said: dict[str, Any] = {}

    def __enter__(self) -> ServeProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> ServeProcess:
        """Start it and wait until it says that it answers."""
        command = [sys.executable, "-m", "tutelage", "serve", *self.words, "--port", str(self.port), "--json"]
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.said = json.loads(line)
        return self

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """SIGKILL, whatever it is doing."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.communicate()

    def stop(self, by: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; its exit status and what it said on standard error."""
        assert self.process is not None
        self.process.send_signal(by)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


def free_port() -> int:
    """A port where nobody listens at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def between(url: str, forwards: Any) -> Iterator[str]:
    """The URL of a plain HTTP server in front of another.

    Args:
        url: where requests go on to.
        forwards: called with a request (method, path, headers, body) and a function that sends one on; both
            give ``(status, headers, body)``.
    """

    def onward(
        method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        kept = {k: v for k, v in headers.items() if k.lower() in ("content-type", "authorization")}
        answer = httpx.request(
            method, url + path, headers=kept, content=body, trust_env=False, timeout=PATIENCE
        )
        return answer.status_code, {"Content-Type": answer.headers.get("content-type", "")}, answer.content

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = forwards((self.command, self.path, dict(self.headers), body), onward)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
