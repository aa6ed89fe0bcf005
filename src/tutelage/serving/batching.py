"""One thread works for all: requests that wait while it is busy are joined into its next piece of work."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tutelage.errors import TutelageError
from tutelage.serving.answers import Answer, Wanted
from tutelage.serving.measures import Measures
from tutelage.text import Example

Work = Callable[[Sequence[Example], Wanted], list[Answer]]


class Busy(TutelageError):
    """More waits already than will be worked at in time; the same request may be sent again later."""


@dataclass(eq=False)
class Job:
    """One request that waits for the teacher.

    Attributes:
        future: where its answer goes; done already where nobody waits any more.
        rows: rows of text to be answered; empty for a job that is a call.
        wanted: in which form.
        bytes: of the answer.
        call: what is done instead, alone.
    """

    future: asyncio.Future[Any]
    rows: Sequence[Example] = ()
    wanted: Wanted | None = None
    bytes: int = 0
    call: Callable[[], Any] | None = None

    @property
    def tokens(self) -> int:
        """Tokens of its rows."""
        return sum(len(row.tokens) for row in self.rows)


class Batcher:
    """Hands the jobs of all requests to one worker thread, in the order in which they came.

    A job takes along those behind it that want the same form, while their tokens and their answers'
    bytes stay below the bounds. Where joined work fails, each of its jobs is tried alone, so that only
    the one at fault learns of it.

    Args:
        work: answers rows of text; called in the worker thread only.
        measures: where sizes and times go.
        batch_tokens: tokens of jobs that are joined (a bigger job is worked at alone).
        answer_bytes: bytes of the answers of jobs that are joined.
        most_waiting: requests in the queue; beyond that they are refused.
    """

    def __init__(
        self, work: Work, measures: Measures, batch_tokens: int, answer_bytes: int, most_waiting: int = 1024
    ) -> None:
        self._work = work
        self._measures = measures
        self._batch_tokens = batch_tokens
        self._answer_bytes = answer_bytes
        self._most_waiting = most_waiting
        self._waiting: deque[Job] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="teacher")
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work; called inside the event loop."""
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End after the present piece of work; whoever still waits is told to come again."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        for job in self._waiting:
            _fail(job, _stopping())
        self._waiting.clear()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def answers(
        self, rows: Sequence[Example], wanted: Wanted, answer_bytes: int, seconds: float
    ) -> list[Answer]:
        """What the teacher says about each row.

        Raises:
            Busy: it would take longer than ``seconds``, or too many wait already.
            TutelageError: the teacher cannot answer this.
        """
        future = asyncio.get_running_loop().create_future()
        return await self._awaited(Job(future, rows, wanted, answer_bytes), seconds)

    async def called(self, call: Callable[[], Any], seconds: float) -> Any:
        """What a call gives that is made in the worker thread, alone. Raises like `answers`."""
        return await self._awaited(Job(asyncio.get_running_loop().create_future(), call=call), seconds)

    async def _awaited(self, job: Job, seconds: float) -> Any:
        if len(self._waiting) >= self._most_waiting:
            raise Busy(
                f"{len(self._waiting):,} requests wait already",
                expected=f"at most {self._most_waiting:,}",
                fix="send it again later; ask with fewer clients",
            )
        self._waiting.append(job)
        self._measures.waiting.set(len(self._waiting))
        self._wake.set()
        try:
            return await asyncio.wait_for(job.future, seconds)
        except TimeoutError:
            raise Busy(
                f"no answer within {seconds:g} seconds",
                expected="an answer in time",
                fix="send it again later, with fewer rows, or start the server with a longer --timeout",
            ) from None

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            jobs = self._next()
            self._measures.waiting.set(len(self._waiting))
            if not self._waiting:
                self._wake.clear()
            if jobs:
                await self._worked(jobs)

    def _next(self) -> list[Job]:
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()
        if not self._waiting:
            return []
        first = self._waiting.popleft()
        if first.call is not None:
            return [first]
        jobs, later = [first], []
        tokens, size = first.tokens, first.bytes
        while self._waiting:
            job = self._waiting.popleft()
            if job.future.done():
                continue
            fits = tokens + job.tokens <= self._batch_tokens and size + job.bytes <= self._answer_bytes
            if job.call is None and job.wanted == first.wanted and fits:
                jobs.append(job)
                tokens, size = tokens + job.tokens, size + job.bytes
            else:
                later.append(job)
        self._waiting.extend(later)
        return jobs

    async def _worked(self, jobs: list[Job]) -> None:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        try:
            results = await loop.run_in_executor(self._thread, self._done, jobs)
        except asyncio.CancelledError:
            for job in jobs:
                _fail(job, _stopping())
            raise
        except Exception as error:
            if len(jobs) == 1:
                _fail(jobs[0], error)
            else:
                for job in jobs:
                    await self._worked([job])
            return
        self._measures.passes.observe(time.monotonic() - began)
        if jobs[0].call is None:
            self._measures.batch_requests.observe(len(jobs))
            self._measures.batch_rows.observe(sum(len(job.rows) for job in jobs))
            self._measures.batch_tokens.observe(sum(job.tokens for job in jobs))
        for job, result in zip(jobs, results, strict=True):
            if not job.future.done():
                job.future.set_result(result)

    def _done(self, jobs: list[Job]) -> list[Any]:
        if jobs[0].call is not None:
            return [jobs[0].call()]
        assert jobs[0].wanted is not None
        answers = iter(self._work([row for job in jobs for row in job.rows], jobs[0].wanted))
        return [[next(answers) for _ in job.rows] for job in jobs]


def _fail(job: Job, error: BaseException) -> None:
    if not job.future.done():
        job.future.set_exception(error)


def _stopping() -> Busy:
    return Busy("the server is stopping", expected="a running server", fix="send it again when it is back")
