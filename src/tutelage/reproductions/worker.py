"""A process of a reproduction: reads which piece to do, does it, says so; ends as soon as nobody asks.

python -m tutelage.reproductions.worker NAME FOLDER PACE
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from pathlib import Path

from tutelage.errors import TutelageError
from tutelage.reproductions.work import Work


def main(name: str, folder: str, pace: str) -> None:
    """Answer every line ``[seed, piece]`` with one line of JSON; the pace is smoke, full or usual."""
    work = Work(name, Path(folder), (), pace == "smoke", pace == "full")
    asked: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    # What libraries print must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    while True:
        seed, piece = json.loads(asked.get())
        print(json.dumps(_answered(work, seed, piece)), file=answers, flush=True)


def _answered(work: Work, seed: int, piece: str) -> dict[str, str | None]:
    try:
        work.do(seed, piece)
    except TutelageError as error:
        return {"problem": error.problem, "expected": error.expected, "fix": error.fix}
    except Exception:  # whoever asked shows it and ends
        return {"traceback": traceback.format_exc()}
    return {}


def _listen(asked: queue.Queue[str]) -> None:
    for line in sys.stdin:
        asked.put(line)
    # Whoever asked is gone, perhaps killed: nobody may go on in the folder beside his successor.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
