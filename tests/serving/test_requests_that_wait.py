"""One worker for all: who waits is joined, who is at fault alone is told, who waits too long is sent away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from tutelage.errors import TutelageError
from tutelage.serving.answers import Answer, Scores, Wanted
from tutelage.serving.batching import Batcher, Busy
from tutelage.serving.measures import Measures
from tutelage.stores.payload import Form
from tutelage.text import Example

HIDDEN = Form("hidden")


def row(token: int, length: int = 4) -> Example:
    """A row that begins with a token of its own."""
    return Example([token] * length, [False] + [True] * (length - 1))


class Worker:
    """Answers each row with its own token; remembers what it was given; waits at a gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.given: list[list[int]] = []

    def __call__(self, rows: Any, wanted: Wanted) -> list[Answer]:
        self.given.append([one.tokens[0] for one in rows])
        self.gate.wait(30)
        if any(one.tokens[0] == 13 for one in rows):
            raise TutelageError("13", expected="no 13", fix="take another")
        return [{"said": torch.tensor(one.tokens[:1])} for one in rows]


def run(scene: Callable[[Batcher, Worker], Awaitable[None]], **bounds: int) -> None:
    """Play a scene with a batcher that works."""

    async def play() -> None:
        worker = Worker()
        sizes = {"batch_tokens": 16, "answer_bytes": 1000, **bounds}
        batcher = Batcher(worker, Measures(), **sizes)
        batcher.start()
        try:
            await asyncio.wait_for(scene(batcher, worker), 60)
        finally:
            worker.gate.set()
            await batcher.stop()

    # In a thread of its own: a browser that another test of this process drives keeps a loop running here.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(play())).result()


async def waiting(
    batcher: Batcher, *rows: Example, wanted: Wanted = HIDDEN, size: int = 1
) -> asyncio.Task[Any]:
    """A request that is in the queue when this returns."""
    task = asyncio.create_task(batcher.answers(list(rows), wanted, size, 30))
    await asyncio.sleep(0)
    return task


def said(answers: list[Answer]) -> list[int]:
    """The tokens that a request got back."""
    return [int(answer["said"]) for answer in answers]


async def busy_with(batcher: Batcher, worker: Worker, token: int) -> asyncio.Task[Any]:
    """A request that the worker has begun with."""
    first = await waiting(batcher, row(token))
    while not worker.given:
        await asyncio.sleep(0.001)
    return first


def test_requests_that_wait_are_joined_and_each_gets_its_own():
    """In order, as far as they fit into one piece of work."""

    async def scene(batcher: Batcher, worker: Worker) -> None:
        tasks = [await busy_with(batcher, worker, 1)]
        tasks += [
            await waiting(batcher, row(2), row(3)),
            await waiting(batcher, row(4)),
            await waiting(batcher, row(5, 8)),
        ]
        worker.gate.set()
        assert [said(await task) for task in tasks] == [[1], [2, 3], [4], [5]]
        assert worker.given == [[1], [2, 3, 4], [5]]

    run(scene)


def test_only_what_is_wanted_in_one_form_and_fits_in_bytes_is_joined():
    """Another form, or a big answer, is the next piece of work."""

    async def scene(batcher: Batcher, worker: Worker) -> None:
        tasks = [await busy_with(batcher, worker, 1), await waiting(batcher, row(2), size=600)]
        tasks += [await waiting(batcher, row(3), wanted=Scores(2)), await waiting(batcher, row(4), size=600)]
        tasks += [await waiting(batcher, row(5), size=100)]
        worker.gate.set()
        assert [said(await task) for task in tasks] == [[1], [2], [3], [4], [5]]
        assert worker.given == [[1], [2, 5], [3], [4]]

    run(scene)


def test_only_the_request_at_fault_is_told():
    """Joined work that fails is tried again, each request alone."""

    async def scene(batcher: Batcher, worker: Worker) -> None:
        first = await busy_with(batcher, worker, 1)
        good, bad, other = [await waiting(batcher, row(token)) for token in (2, 13, 4)]
        worker.gate.set()
        assert [said(await task) for task in (first, good, other)] == [[1], [2], [4]]
        with pytest.raises(TutelageError, match="13"):
            await bad

    run(scene)


def test_who_waits_too_long_is_sent_away_and_not_worked_for():
    """The others are answered."""

    async def scene(batcher: Batcher, worker: Worker) -> None:
        first = await busy_with(batcher, worker, 1)
        with pytest.raises(Busy, match=r"no answer within 0\.05 seconds"):
            await batcher.answers([row(2)], HIDDEN, 1, 0.05)
        last = await waiting(batcher, row(3))
        worker.gate.set()
        assert [said(await task) for task in (first, last)] == [[1], [3]]
        assert worker.given == [[1], [3]]

    run(scene)


def test_a_full_queue_sends_away_at_once():
    """So that memory has a bound."""

    async def scene(batcher: Batcher, worker: Worker) -> None:
        tasks = [
            await busy_with(batcher, worker, 1),
            await waiting(batcher, row(2)),
            await waiting(batcher, row(3)),
        ]
        with pytest.raises(Busy, match="2 requests wait already"):
            await batcher.answers([row(4)], HIDDEN, 1, 30)
        worker.gate.set()
        assert [said(await task) for task in tasks] == [[1], [2], [3]]

    run(scene, most_waiting=2)


def test_a_call_is_made_alone_and_its_own_error_comes_back():
    """Writing text takes its turn among the questions."""

    async def scene(batcher: Batcher, worker: Worker) -> None:
        first = await busy_with(batcher, worker, 1)
        call = asyncio.create_task(batcher.called(lambda: threading.current_thread().name, 30))
        wrong = asyncio.create_task(batcher.called(lambda: 1 // 0, 30))
        await asyncio.sleep(0)
        last = await waiting(batcher, row(2))
        worker.gate.set()
        assert (await call).startswith("teacher")
        with pytest.raises(ZeroDivisionError):
            await wrong
        assert [said(await task) for task in (first, last)] == [[1], [2]]

    run(scene)


def test_whoever_waits_when_the_server_stops_is_told_to_come_again():
    """Not left hanging."""

    async def scene(batcher: Batcher, worker: Worker) -> None:
        first, second = await busy_with(batcher, worker, 1), await waiting(batcher, row(2))
        stopped = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        worker.gate.set()
        await stopped
        for task in (first, second):
            with pytest.raises(Busy, match="stopping"):
                await task

    run(scene)
