"""Running a reproduction: pieces in processes of their own, each result kept as it comes, then the verdicts.

A piece is done when its result lies in the folder, so a killed reproduction goes on where it was; the piece
that was being done goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tutelage.errors import OutOfRange, TutelageError
from tutelage.files import write_text
from tutelage.reproductions import TABLE
from tutelage.reproductions.parts import Piece, Reproduction
from tutelage.reproductions.record import recorded, sheet
from tutelage.reproductions.work import FULL, Work

PROCESSES = 2
"""As many as the time that a reproduction is given was planned for, one thread each."""


def reproduce(
    name: str,
    out: Path,
    *,
    seeds: Sequence[int] | None = None,
    smoke: bool = False,
    full: bool = False,
    command: str = "",
) -> Path:
    """Do what a reproduction asks for, or go on with it.

    Args:
        name: in the table of reproductions.
        out: folder of results; the work lies in a folder of the same name as the reproduction below it.
        seeds: which are run; None takes as many as the reproduction asks for.
        smoke: the same path with so little of everything that it proves nothing.
        full: the longer version, which goes on from the runs that it shares with the usual one.
        command: how it was asked for, for the record.

    Returns:
        The JSON file, `NAME.json`; of a smoke test `NAME-smoke.json`, of a longer version `NAME-full.json`.

    Raises:
        UnknownName: there is no such reproduction.
        OutOfRange: it has no longer version.
        TutelageError: a piece cannot be done with what is in the folder.
    """
    TABLE[name]
    of: Reproduction = TABLE.load(name)()
    if full and (of.longer is None or smoke):
        raise OutOfRange(
            f"a {'smoke test of the ' if smoke else ''}longer version of '{name}' is asked for",
            expected="a reproduction that has one, and no smoke test of it",
            fix="leave `--full` out",
        )
    shown = f"{name}-smoke" if smoke else name
    wanted = tuple(dict.fromkeys(range(of.seeds) if seeds is None else seeds))
    work = Work(name, out / shown, wanted, smoke, full)
    board = Board.of(work)
    usual = work.folder / "minutes.json"
    clock = Clock(usual.with_stem(f"minutes{FULL}"), since=usual) if full else Clock(usual)
    if board.open:
        with ExitStack() as stack:
            workers = min(PROCESSES, len(board.open))
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            # Leaves first: whatever happens, no process goes on without us.
            hands = [stack.enter_context(Hand(work, number)) for number in range(workers)]
            for ended in [pool.submit(_keep_busy, board, hand, clock) for hand in hands]:
                ended.result()
    path = out / f"{shown}{FULL if full else ''}.json"
    record = recorded(work, clock.minutes, command)
    write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    if of.sheet:
        write_text(path.with_suffix(".csv"), sheet(record, of.sheet))
    return path


@dataclass
class Clock:
    """Minutes over all calls, kept in a file; a longer version goes on from those of the usual one."""

    path: Path
    before: float = 0.0
    since: Path | None = None
    began: float = field(default_factory=time.monotonic)
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        known = next((path for path in (self.path, self.since) if path is not None and path.is_file()), None)
        if known is not None:
            self.before = float(json.loads(known.read_text(encoding="utf-8"))["minutes"])

    @property
    def minutes(self) -> float:
        """So many up to now."""
        return self.before + (time.monotonic() - self.began) / 60

    def keep(self) -> None:
        """Write them down; pieces may end at the same moment, and a file is written by one at a time."""
        with self._alone:
            write_text(self.path, json.dumps({"minutes": self.minutes}) + "\n")


@dataclass
class Board:
    """What is to be done, what is being done, and what went wrong; shared by threads.

    Attributes:
        work: the reproduction.
        open: seed and name to pieces that nobody has taken.
        done: seed and name of what is there.
        total: how many there are in all.
        shared: names of pieces that are the same for every seed; they stand under the first one.
    """

    work: Work
    open: dict[tuple[int, str], Piece]
    done: set[tuple[int, str]]
    total: int
    shared: frozenset[str] = frozenset()
    failed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    @classmethod
    def of(cls, work: Work) -> Board:
        """The board of a folder as it is."""
        first = work.seeds[0]
        pieces = {
            (seed, name): one
            for seed in work.seeds
            for name, one in work.pieces(seed).items()
            if seed == first or not one.shared
        }
        done = {key for key, piece in pieces.items() if work.found(key[0], piece) is not None}
        shared = frozenset(name for (_, name), piece in pieces.items() if piece.shared)
        left = {key: one for key, one in pieces.items() if key not in done}
        return cls(work, left, done, len(pieces), shared)

    def take(self) -> tuple[int, str] | None:
        """The next piece whose needs are there, waiting for one; None when nothing is left to be taken."""
        with self.changed:
            while self.open and not self.failed:
                for key, piece in self.open.items():
                    if all(self._key(key[0], need) in self.done for need in piece.needs):
                        del self.open[key]
                        return key
                self.changed.wait()
            return None

    def give(self, key: tuple[int, str] | None) -> None:
        """A piece was done; None says that one has failed."""
        with self.changed:
            if key is None:
                self.failed = True
            else:
                self.done.add(key)
            self.changed.notify_all()

    def _key(self, seed: int, name: str) -> tuple[int, str]:
        return (self.work.seeds[0] if name in self.shared else seed, name)


class Hand:
    """A process that does one piece after another, and ends when we do.

    Args:
        work: the reproduction.
        number: of the process, for its log.
    """

    def __init__(self, work: Work, number: int) -> None:
        self.work = work
        self.log = work.folder / f"process-{number}.log"

    def __enter__(self) -> Hand:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log = self.log.open("a", encoding="utf-8")
        work = self.work
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tutelage.reproductions.worker",
                work.name,
                str(work.folder),
                "smoke" if work.smoke else "full" if work.full else "usual",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was not read any more
                if pipe is not None:
                    pipe.close()
        self._log.close()

    def do(self, seed: int, name: str) -> None:
        """Have one piece done.

        Raises:
            TutelageError: as the process met it.
            RuntimeError: a bug of ours; the process's traceback is in it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([seed, name]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the process that did {name} of seed {seed} is gone; its log is {self.log}")
        told = json.loads(answer)
        if "problem" in told:
            raise TutelageError(told["problem"], expected=told["expected"], fix=told["fix"])
        if "traceback" in told:
            raise RuntimeError(f"{name} of seed {seed} failed:\n{told['traceback']}")


def _keep_busy(board: Board, hand: Hand, clock: Clock) -> None:
    while (key := board.take()) is not None:
        began = time.monotonic()
        try:
            hand.do(*key)
        except BaseException:
            board.give(None)
            raise
        board.give(key)
        clock.keep()
        told = f"{len(board.done)}/{board.total}  seed {key[0]}  {key[1]}  {time.monotonic() - began:.0f} s"
        print(told, file=sys.stderr, flush=True)
