"""What the benchmarks share: processes that take turns, peaks of memory, and documents that become tables."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
MIB = 2**20

KEEPING_MEMORY = {
    "GOMP_SPINCOUNT": "10000",
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
"""Settings that help code which asks for fresh memory all the time, or brings an OpenMP runtime of its own
beside torch's: freed memory is kept instead of being given back, and threads that wait stop spinning soon."""

Run = Callable[[], None]
Make = Callable[[Any], Run]


class Worker:
    """A process that makes contestants and runs them when asked; it sleeps while others have their turn.

    Args:
        make: from a contestant's description to what is timed; a function of a module.
        environment: variables that it is started with, beside those of this process.
    """

    def __init__(self, make: Make, environment: Mapping[str, str] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, make), daemon=True)
        with _environment(environment or {}):
            self._process.start()
        theirs.close()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of a module gives back in that process.

        Raises:
            RuntimeError: it failed or the process died, with the reason.
        """
        self._pipe.send((function, arguments))
        try:
            ok, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the process died (status {self._process.exitcode})") from None
        if not ok:
            raise RuntimeError(value)
        return value

    def seconds(self, what: Any) -> float:
        """Wall time of one run of a contestant; the first one makes it."""
        return self.call(_seconds, what)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


_MAKE: Make | None = None
_MADE: dict[Any, Run] = {}


def _work(pipe: Any, make: Make) -> None:
    global _MAKE
    _MAKE = make
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, function(*arguments)
        except Exception as error:
            answer = False, f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
        pipe.send(answer)


def _seconds(what: Any) -> float:
    assert _MAKE is not None
    if what not in _MADE:
        _MADE[what] = _MAKE(what)
    began = time.perf_counter()
    _MADE[what]()
    return time.perf_counter() - began


def take_turns(contestants: Mapping[str, tuple[Worker, Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every contestant, one run each in turn, so that a busy moment of the machine hits all alike.

    The first run of each is not counted: it compiles, and it touches memory for the first time. One that
    fails is told on standard error and left out.
    """
    able = {}
    for name, (worker, what) in contestants.items():
        try:
            worker.seconds(what)
            able[name] = (worker, what)
        except RuntimeError as error:
            print(f"{name}: left out: {error}", file=sys.stderr, flush=True)
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(repeats):
        for name, (worker, what) in able.items():
            times[name].append(worker.seconds(what))
    return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(values) for name, values in times.items()}


def peak_mib(make: Make, what: Any, small: Any) -> float | None:
    """Peak resident memory of one run beyond that of its inputs, in MiB, in a process of its own.

    Before the inputs are made the contestant runs on ``small`` ones, so that libraries that it loads late are
    not counted; then it runs twice, so that what it takes once (compiling) is not counted either unless it
    keeps it. None where it failed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([make.__module__])
    with context.Pool(1) as pool:
        try:
            return pool.apply(_peak, (make, what, small))
        except (RuntimeError, MemoryError) as error:
            print(f"{what}: no peak: {error}", file=sys.stderr, flush=True)
            return None


def _peak(make: Make, what: Any, small: Any) -> float:
    make(small)()
    run = make(what)
    _give_back()
    before = resident_mib("VmRSS")
    run()
    clear = getattr(run, "clear", None)
    if clear is not None:
        clear()
    _give_back()
    # Not getrusage: its maximum is handed down from the process that started this one.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is counted from here
    run()
    return resident_mib("VmHWM") - before


def _give_back() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def resident_mib(name: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def ask(words: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a script of this folder in a process of its own; its answer is the last line that it prints, JSON.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=os.environ | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"status {done.returncode} from {Path(words[0]).name}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def _environment(more: Mapping[str, str]) -> Any:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def compiling_apart() -> Any:
    """A folder of its own for what `torch.compile` writes: a cache that a kill left broken would stay so."""
    with (
        tempfile.TemporaryDirectory(prefix="compiled-") as folder,
        _environment({"TORCHINDUCTOR_CACHE_DIR": folder}),
    ):
        yield


def document(
    benchmark: str, results: Any, libraries: Iterable[str] = (), device: str = "cpu"
) -> dict[str, Any]:
    """Results with what they were measured on, as they are written to a file."""
    from tutelage.run import provenance

    return {
        "benchmark": benchmark,
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_told(sys.argv[1:])]),
        "commit": provenance.commit(),
        "when": provenance.now(),
        "machine": provenance.machine(device),
        "versions": provenance.versions() | _versions(libraries),
        "results": results,
    }


def _told(words: Sequence[str]) -> list[str]:
    """Words of a command without paths of this machine."""
    return [Path(word).name if Path(word).is_absolute() else word for word in words]


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in libraries:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write(path: Path | None, said: Mapping[str, Any]) -> None:
    """Write a document, if there is somewhere to write it to."""
    if path is not None:
        path.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def where_to(parser: argparse.ArgumentParser, *, repeats: bool = True) -> None:
    """Add the options that benchmarks have in common; ``repeats`` where something is timed."""
    if repeats:
        parser.add_argument("--repeats", type=int, default=3, help="Timed runs of each; the median is taken.")
    parser.add_argument("--json", type=Path, help="Where the numbers go, with machine, versions and commit.")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "--:|" * (len(columns) - 1)]
    lines += ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def made_with(said: Mapping[str, Any]) -> str:
    """One line about machine, versions and command."""
    machine, versions = said["machine"], said["versions"]
    names = [
        name for name in versions if name not in ("python", "tutelage", "datasets", "safetensors", "numpy")
    ]
    listed = ", ".join(f"{name} {versions[name]}" for name in names)
    return (
        f"{machine['cpu']}, {machine['threads']} threads; Python {versions['python']}, {listed}; commit "
        f"{str(said['commit'])[:12]}, {said['when'][:10]}; `{said['command']}`."
    )
