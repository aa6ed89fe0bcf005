"""Processes: a step that two processes share is the step of one."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tutelage.conformance.found import Answers, Found, NotChecked
from tutelage.conformance.sameness import GRADIENT, LOSS
from tutelage.conformance.subject import Subject
from tutelage.conformance.worker import ANSWER, PROCESSES, QUESTION

SECONDS = 600.0
LEAVE = 20.0
"""Seconds in which a process may end after another: gloo was seen to wait for one that had gone."""

SHARE = 0.25
"""Of the machine's memory that the processes may take."""


def two_processes(subject: Subject, scratch: Path) -> Answers:
    """Two processes on CPU open the recipe anew and share the rows; one of them compares."""
    if len(subject.rows) < PROCESSES:
        raise NotChecked("there is one row of text only")
    _fits(subject)
    (scratch / QUESTION).write_text(json.dumps(subject.study.resolved()), encoding="utf-8")
    with _started(scratch) as workers:
        _wait(workers)
        ended = [worker.poll() for worker in workers]
    if any(ended):
        said = [line for rank in range(PROCESSES) for line in _errors(scratch, rank) if line.strip()]
        why = f"one ended with status {next(filter(None, ended))}: {said[-1] if said else 'without a word'}"
        return {LOSS: Found(math.inf, why), GRADIENT: Found(math.inf, why)}
    answer = json.loads((scratch / ANSWER).read_text(encoding="utf-8"))
    return {name: Found(**answer[name]) for name in (LOSS, GRADIENT)}


def _fits(subject: Subject) -> None:
    # Weights, gradients and the buffers in which gradients travel; a teacher has weights alone.
    student, teacher = subject.student.parameters, getattr(subject.teacher, "parameters", None) or 0
    wanted = PROCESSES * 4 * (3 * student + teacher)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > SHARE * there:
        raise NotChecked(
            f"two processes more would take {wanted / 2**30:.0f} of the machine's {there / 2**30:.0f} GiB"
        )


@contextlib.contextmanager
def _started(scratch: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes, as `torchrun` starts them; none is left behind."""
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(PROCESSES):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": PROCESSES, "LOCAL_WORLD_SIZE": PROCESSES}
            environment = os.environ | {name: str(value) for name, value in place.items()}
            environment |= {"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
            if sys.platform == "linux":
                # Gloo would look up the machine's own name, which not every machine can.
                environment["GLOO_SOCKET_IFNAME"] = "lo"
            with (scratch / f"errors-{rank}.txt").open("wb") as errors:
                command = [sys.executable, "-m", "tutelage.conformance.worker", str(scratch)]
                workers.append(
                    subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
                )
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _wait(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until all have ended, or one has ended badly and the others would wait for it.

    The first to end well leaves the answer behind; the others then get a moment to take their leave.
    """
    until = time.monotonic() + SECONDS
    leaving = math.inf
    while not any(worker.poll() for worker in workers):
        if all(worker.poll() == 0 for worker in workers) or time.monotonic() > leaving:
            return
        if leaving == math.inf and any(worker.poll() == 0 for worker in workers):
            leaving = time.monotonic() + LEAVE
        if time.monotonic() > until:
            raise NotChecked(f"two processes took longer than {SECONDS:g} seconds")
        time.sleep(0.05)


def _errors(scratch: Path, rank: int) -> list[str]:
    return (scratch / f"errors-{rank}.txt").read_text(encoding="utf-8", errors="replace").splitlines()
