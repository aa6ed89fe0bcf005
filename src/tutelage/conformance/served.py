"""Served = local: a teacher behind a URL of this machine says what it says in process."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tutelage.clients.handshake import apart_nats
from tutelage.conformance.cached import NO_TEACHER, values_apart
from tutelage.conformance.found import Answers, Found, NotChecked
from tutelage.conformance.subject import Subject
from tutelage.errors import MissingExtra, TutelageError
from tutelage.interfaces import Machine
from tutelage.run.learner import meet
from tutelage.serving.address import bound, url_of
from tutelage.serving.app import Settings, make_app
from tutelage.serving.offer import Offer, offered
from tutelage.stores.wire import Limits
from tutelage.teachers.model import ModelTeacher
from tutelage.teachers.server import ServerTeacher

try:
    import uvicorn
except ImportError as error:
    raise MissingExtra("uvicorn", "serve") from error

SAME = ""
EXACT = ("hidden", "dense", "top_k")
"""Forms in which answers may travel; the first that the teacher has loses nothing."""

SECONDS = 600.0
MOST_BYTES = 8 << 30


def served_is_local(subject: Subject, scratch: Path) -> Answers:
    """A real server on a free port of loopback; a recipe that names a server is asked about that one."""
    if subject.teacher is None:
        raise NotChecked(NO_TEACHER)
    if isinstance(subject.teacher, ServerTeacher):
        return {SAME: _probed(subject, subject.teacher)}
    try:
        offer = offered(subject.teacher, "local", subject.shelf.machine.device, subject.shelf.dtype)
    except TutelageError as error:
        raise NotChecked(error.problem) from None
    with listening(make_app(offer, _settings(subject))) as url:
        try:
            return {SAME: _asked(subject, offer, url)}
        except TutelageError as error:
            # It is our own server with the recipe's own teacher: whatever it refuses is a failure.
            return {SAME: Found(math.inf, error.problem)}


@contextlib.contextmanager
def listening(app: Any) -> Iterator[str]:
    """The URL at which an ASGI application answers, from a thread of this process."""
    found = bound("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="on", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [found]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield url_of(found)
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        found.close()


def _settings(subject: Subject) -> Settings:
    longest = max(len(row.tokens) for row in subject.rows)
    # All rows in one forward pass, as here: what stands beside a row is the question of other identities.
    tokens = max(1024, longest * len(subject.rows))
    return Settings(Limits(max(longest, 32), tokens, MOST_BYTES, MOST_BYTES), tokens, SECONDS)


def _asked(subject: Subject, offer: Offer, url: str) -> Found:
    payload: Any = next(kind for kind in EXACT if kind in offer.frames)
    kept = subject.told.on_support()[1].shape[1] - 1 if payload == "top_k" else 1
    teacher = ServerTeacher(url, payload=payload, k=kept, timeout=SECONDS, retries=2)
    teacher = teacher.open(subject.shelf.machine)
    assert teacher.link is not None
    try:
        found = values_apart(subject, subject.told, teacher(subject.batch))
        return Found(found.apart, f"{found.said}; {teacher.said.partition(', ')[2]}")
    finally:
        teacher.link.line.close()


def _probed(subject: Subject, teacher: ServerTeacher) -> Found:
    """The recipe's server against the local copy that the recipe names."""
    if teacher.probe is None:
        raise NotChecked("name a local copy of the served model under `probe:`, to have the two compared")
    copy = ModelTeacher(teacher.probe).open(Machine(str(subject.accelerator.device)))
    with torch.no_grad():
        said = meet(copy(subject.batch), subject.shared)
    nats = apart_nats(said, meet(subject.told, subject.shared))
    return Found(
        float(nats.max().nan_to_num(nan=math.inf)),
        f"KL at the token where it is largest; {teacher.said}",
        half=teacher.precision != "float32",
    )
