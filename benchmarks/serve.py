"""`tutelage serve` under many clients at once: rows a second, latencies, and whether all answers are right.

    python benchmarks/serve.py --json benchmarks/serve.json
    python benchmarks/serve.py --clients 64 --seconds 60 --bad 4 --json benchmarks/serve_64.json

The server is the command line's, in a process of its own on loopback, with the demo's teacher. Every client
is a thread with a connection of its own that asks for the next few rows of held-out text as soon as it has
its answer, in a closed loop; clients live in two processes beside the server's, on the same cores. Each kind
of answer (hidden states, 64 likeliest tokens and the rest, logits, OpenAI's completions) has its own turn.

Every answer is compared with the first one to the same rows; numbers may differ by ``--within`` (other rows
in the same forward pass may change the last digits). ``--bad`` more threads send broken requests all the time
(oversized, cut short, malformed, with a wrong token) and want a status from 400 to 499. The limit that the
model sets is measured before and after: rows a second of the teacher alone, in this process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import torch
from common import document, made_with, table, where_to, write

from tutelage.distribution import Distribution
from tutelage.interfaces import Batch, Machine
from tutelage.models import load_model
from tutelage.recipes import find
from tutelage.samples import DatasetSamples
from tutelage.stores.payload import ARRAYS, Form
from tutelage.stores.question import Question, rows_of_batch
from tutelage.stores.wire import MEDIA_TYPE, decoded
from tutelage.teachers import ModelTeacher

TEACHER, NAME = "package:demo/teacher", "demo"
KINDS = ("hidden", "top_k", "dense", "completions")
K = 64
PROCESSES = 2
MOST = 1 << 30
BAD_EVERY = 0.05
"""Seconds between the broken requests of a thread."""


def batches(rows: int) -> list[Batch]:
    """The demo's held-out stories, so many in a request."""
    model = load_model(find(TEACHER), machine=Machine())
    data = DatasetSamples(
        data=find("package:demo/data/valid.txt.gz"), max_length=192, long="cut", max_rows=96
    )
    return data.open(model.tokenizer).in_order(rows)


@contextlib.contextmanager
def served(token: Path) -> Iterator[tuple[str, int]]:
    """`tutelage serve` in a process of its own: its address and process id."""
    words = ["serve", TEACHER, "--port", "0", "--json", "--token-file", str(token)]
    words += ["--name", NAME]
    with subprocess.Popen(
        [sys.executable, "-m", "tutelage", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(process.stderr.read())
        said: list[str] = []
        drain = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
        drain.start()
        yield json.loads(line)["url"], process.pid
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        drain.join()
        if any("Traceback" in one for one in said):
            raise RuntimeError("the server printed a traceback:\n" + "".join(said[-40:]))


def requests(kind: str, told: Sequence[Batch]) -> list[tuple[str, bytes, str]]:
    """Path, content and media type of a request for every batch."""
    found = []
    for batch in told:
        rows = rows_of_batch(batch)
        if kind == "completions":
            asked = {"model": NAME, "prompt": [row.tokens for row in rows], "max_tokens": 0}
            asked |= {"echo": True, "logprobs": 5, "temperature": 0}
            found.append(("/v1/completions", json.dumps(asked).encode(), "application/json"))
        else:
            question = Question(tuple(rows), Form(kind, precision="float32", k=K))
            found.append(("/v1/distributions", question.encoded(), MEDIA_TYPE))
    return found


def answer(kind: str, content: bytes) -> torch.Tensor:
    """The numbers of an answer, in one row; of `top_k` the likeliest token's alone, for others may tie."""
    if kind == "completions":
        choices = sorted(json.loads(content)["choices"], key=lambda one: one["index"])
        return torch.tensor([log for one in choices for log in one["logprobs"]["token_logprobs"][1:]])
    tensors = decoded(content, MOST).tensors
    found = tensors[ARRAYS[kind][-1]] if kind != "top_k" else tensors["log_probs"]
    return (found[:, :1] if kind == "top_k" else found).flatten().float()


BROKEN = (
    ("not ours", "/v1/distributions", b"\x00" * 400, MEDIA_TYPE),
    ("cut short", "/v1/distributions", None, MEDIA_TYPE),
    ("no JSON", "/v1/completions", b'{"model": ', "application/json"),
    ("unknown model", "/v1/completions", b'{"model": "x", "prompt": [1]}', "application/json"),
    ("too many bytes", "/v1/distributions", b"\x00" * (9 << 20), MEDIA_TYPE),
    ("no such place", "/v1/nothing", b"{}", "application/json"),
)


def _client(
    url: str,
    token: str,
    kind: str,
    asked: Sequence[tuple[str, bytes, str]],
    first: Sequence[torch.Tensor],
    begin: int,
    stop: float,
    within: float,
    into: list[tuple[float, int]],
    wrong: Counter[str],
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, trust_env=False, timeout=120, headers=headers) as client:
        number = begin
        while time.monotonic() < stop:
            path, content, media = asked[number % len(asked)]
            began = time.monotonic()
            try:
                got = client.post(path, content=content, headers={"Content-Type": media})
            except httpx.HTTPError as error:
                wrong[type(error).__name__] += 1
                continue
            into.append((time.monotonic() - began, number % len(asked)))
            if got.status_code != 200:
                wrong[str(got.status_code)] += 1
            else:
                off = (answer(kind, got.content) - first[number % len(asked)]).abs().max()
                if not float(off) <= within:
                    wrong["another answer"] += 1
            number += 1


def _bad(
    url: str, token: str, cut: bytes, begin: int, stop: float, seen: Counter[str], wrong: Counter[str]
) -> None:
    number = begin
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        while time.monotonic() < stop:
            name, path, content, media = BROKEN[number % len(BROKEN)]
            # Every other time the token is the wrong one, so that nothing else is looked at.
            key = token if (number // len(BROKEN)) % 2 == 0 else "nobody"
            headers = {"Content-Type": media, "Authorization": f"Bearer {key}"}
            number += 1
            time.sleep(BAD_EVERY)
            try:
                got = client.post(path, content=cut if content is None else content, headers=headers)
            except httpx.HTTPError as error:
                # A server may close the line while too much is still being sent.
                seen[f"{name}: {type(error).__name__}"] += 1
                continue
            seen[f"{name}: {got.status_code}"] += 1
            if not 400 <= got.status_code < 500 or b"Traceback" in got.content:
                wrong[f"{name}: {got.status_code}"] += 1


def _crowd(pipe: Any, url: str, token: str, kind: str, rows: int, part: range, bad: int, asked: Any) -> None:
    """One of the processes in which clients live."""
    torch.set_num_threads(1)
    told = batches(rows)
    questions = requests(kind, told)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, trust_env=False, timeout=120, headers=headers) as client:
        first = [
            answer(kind, client.post(path, content=content, headers={"Content-Type": media}).content)
            for path, content, media in questions
        ]
    pipe.send("ready")
    stop = pipe.recv()
    times: list[list[tuple[float, int]]] = [[] for _ in part]
    wrong: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    threads = [
        threading.Thread(
            target=_client, args=(url, token, kind, questions, first, n, stop, asked.within, into, wrong)
        )
        for n, into in zip(part, times, strict=True)
    ]
    cut = questions[0][1][: len(questions[0][1]) // 2] if kind != "completions" else b"\x10" * 40
    threads += [
        threading.Thread(target=_bad, args=(url, token, cut, n, stop, seen, wrong)) for n in range(bad)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    positions = [sum(sum(row.counted) for row in rows_of_batch(batch)) for batch in told]
    lengths = [len(rows_of_batch(batch)) for batch in told]
    pipe.send(
        {
            "seconds": [seconds for each in times for seconds, _ in each],
            "rows": sum(lengths[which] for each in times for _, which in each),
            "tokens": sum(positions[which] for each in times for _, which in each),
            "idle": sum(not each for each in times),
            "wrong": dict(wrong),
            "bad": dict(seen),
        }
    )


def crowded(
    url: str, server: int, token: str, kind: str, clients: int, asked: argparse.Namespace
) -> dict[str, Any]:
    """So many clients for some seconds."""
    context = multiprocessing.get_context("spawn")
    halves = [range(n, clients, PROCESSES) for n in range(PROCESSES)]
    crowd = []
    for number, part in enumerate(halves):
        ours, theirs = context.Pipe()
        bad = len(range(number, asked.bad, PROCESSES))
        arguments = (theirs, url, token, kind, asked.rows, part, bad, asked)
        process = context.Process(target=_crowd, args=arguments, daemon=True)
        process.start()
        crowd.append((process, ours))
    for _, pipe in crowd:
        pipe.recv()
    began = time.monotonic()
    for _, pipe in crowd:
        pipe.send(began + asked.seconds)
    found = [pipe.recv() for _, pipe in crowd]
    took = time.monotonic() - began
    for process, _ in crowd:
        process.join()
    seconds = sorted(one for each in found for one in each["seconds"])
    wrong: Counter[str] = sum((Counter(each["wrong"]) for each in found), Counter())
    bad_seen: Counter[str] = sum((Counter(each["bad"]) for each in found), Counter())
    return {
        "kind": kind,
        "clients": clients,
        "seconds": took,
        "requests": len(seconds),
        "rows_per_second": sum(each["rows"] for each in found) / took,
        "tokens_per_second": sum(each["tokens"] for each in found) / took,
        "latency": {name: _quantile(seconds, share) for name, share in QUANTILES.items()},
        "clients_without_an_answer": sum(each["idle"] for each in found),
        "errors": dict(wrong),
        "bad_requests": dict(sorted(bad_seen.items())),
        "server_mib": _server_mib(server),
    }


QUANTILES = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "slowest": 1.0}


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _server_mib(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise LookupError("VmHWM")


def in_memory(repeats: int) -> dict[str, float]:
    """Rows and tokens a second of the teacher alone in this process, in batches of 16 rows."""
    told = batches(16)
    teacher = ModelTeacher(find(TEACHER)).open(Machine())
    rates = []
    for _ in range(repeats):
        began = time.perf_counter()
        with torch.no_grad():
            for batch in told:
                said: Distribution = teacher(batch)
                assert said.positions
        rates.append(time.perf_counter() - began)
    took = statistics.median(rates)
    rows = sum(len(rows_of_batch(batch)) for batch in told)
    tokens = sum(int(batch.mask.sum()) for batch in told)
    return {"rows_per_second": rows / took, "tokens_per_second": tokens / took}


def text(said: Mapping[str, Any]) -> str:
    """A document of this benchmark in Markdown."""
    results = said["results"]
    limit = results["in_memory"]["rows_per_second"]
    lines = []
    for one in results["crowds"]:
        errors = sum(one["errors"].values())
        lines.append(
            [
                f"`{one['kind']}`, {one['clients']} clients",
                f"{one['rows_per_second']:,.0f}",
                f"{one['rows_per_second'] / limit:.2f}",
                *(f"{1000 * (value or 0):,.0f}" for value in one["latency"].values()),
                f"{one['requests']:,}",
                errors,
                sum(one["bad_requests"].values()),
                f"{one['server_mib']:,.0f}",
            ]
        )
    columns = [
        f"requests of {results['rows']} rows",
        "rows/s",
        "of the model alone",
        *(f"{name}, ms" for name in QUANTILES),
        "answers",
        "errors",
        "bad requests refused",
        "server's peak MiB",
    ]
    note = (
        f"The model alone, in memory, 16 rows at a time: {limit:,.0f} rows/s "
        f"({results['in_memory']['tokens_per_second']:,.0f} counted tokens/s). Clients share its cores."
    )
    return "\n\n".join([table(columns, lines), note, made_with(said)])


def parsed() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    where_to(parser)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=10.0, help="Of each kind and number of clients.")
    parser.add_argument("--rows", type=int, default=4, help="In a request.")
    parser.add_argument("--bad", type=int, default=0, help="Threads that send broken requests all the time.")
    parser.add_argument("--within", type=float, default=1e-3, help="By which two answers may differ.")
    return parser.parse_args()


def main() -> int:
    """Print a Markdown table; with --json also write the numbers. Status 1 where anything went wrong."""
    asked = parsed()
    crowds: list[dict[str, Any]] = []
    alone = in_memory(asked.repeats)
    with tempfile.TemporaryDirectory(prefix="serve-") as folder:
        token = Path(folder, "token")
        token.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        os.chmod(token, 0o600)
        with served(token) as (url, process):
            for kind in asked.kinds:
                for clients in asked.clients:
                    crowds.append(crowded(url, process, token.read_text(), kind, clients, asked))
                    print(f"{kind}, {clients} clients: {crowds[-1]}", flush=True)
    results: dict[str, Any] = {
        "rows": asked.rows,
        "in_memory": alone,
        "in_memory_after": in_memory(asked.repeats),
    }
    results["crowds"] = crowds
    said = document("serve", results, ("fastapi", "uvicorn", "httpx"))
    write(asked.json, said)
    print(text(said))
    return int(any(one["errors"] or one["clients_without_an_answer"] for one in crowds))


if __name__ == "__main__":
    raise SystemExit(main())
