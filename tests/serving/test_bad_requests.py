"""Bad requests get a status and a sentence, leave no traceback, and disturb nobody."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import torch

from live_servers import ServeProcess, served
from tutelage.interfaces import Machine
from tutelage.stores.payload import Form
from tutelage.stores.question import PROTOCOL, Question
from tutelage.stores.wire import MEDIA_TYPE, Message, decoded, encoded
from tutelage.teachers import MixtureTeacher, ModelTeacher
from tutelage.text import Example

JSON = "application/json"
GOOD = Question((Example([5, 6, 7], [False, True, True]),), Form("top_k", k=4)).encoded()


def question(told: Any = None, **tensors: Any) -> bytes:
    """A question of one row with parts of it changed."""
    good = {
        "tokens": torch.tensor([5, 6, 7], dtype=torch.int32),
        "lengths": torch.tensor([3], dtype=torch.int32),
        "counted": torch.tensor([False, True, True]),
    }
    said = {"protocol": PROTOCOL, "form": {"kind": "top_k", "k": 4}, **(told or {})}
    return encoded(Message(said, {**good, **tensors}))


def long(length: int) -> dict[str, Any]:
    """The tensors of one row of so many tokens."""
    counted = torch.arange(length) > 0
    return {
        "tokens": torch.ones(length, dtype=torch.int32),
        "lengths": torch.tensor([length]),
        "counted": counted,
    }


DISTRIBUTIONS: list[tuple[str, int, bytes, str]] = [
    ("empty", 400, b"", "no plausible length"),
    ("noise", 400, b"\x00\xff" * 300, "no plausible length"),
    ("truncated", 400, GOOD[:-3], "not a message of ours"),
    ("half", 400, GOOD[: len(GOOD) // 2], "not a message of ours"),
    ("a pickle", 400, b"\x80\x04\x95" + b"A" * 200, "not a message of ours"),
    ("deep", 400, (60_000).to_bytes(8, "little") + b"[" * 60_000, "its header is not ours"),
    ("oversized", 413, b"x" * ((1 << 20) + 1), "bytes in a request"),
    ("wrong dtype", 400, question(tokens=torch.ones(3)), "float32 of shape (3,)"),
    ("wrong shape", 400, question(tokens=torch.ones(1, 3, dtype=torch.int32)), "of shape (1, 3)"),
    ("ids too high", 400, question(tokens=torch.tensor([5, 6, 2048])), "the token id 2048"),
    ("ids below 0", 400, question(tokens=torch.tensor([5, -1, 7])), "the token id -1"),
    ("row too long", 413, question(**long(65)), "65 tokens in a row"),
    ("too many tokens", 413, question(**long(5000)), "5,000 tokens in a request"),
    ("lengths that lie", 400, question(lengths=torch.tensor([4])), "lengths that add up to 4"),
    ("lengths beyond all", 413, question(lengths=torch.tensor([2**62])), "tokens in a row"),
    ("unknown field", 400, question({"temperature": 2}), "'temperature' in a question"),
    ("unknown tensor", 400, question(other=torch.ones(2)), "'other'"),
    ("unknown kind", 400, question({"form": {"kind": "logits"}}), "the kind 'logits'"),
    ("k too high", 400, question({"form": {"kind": "top_k", "k": 3000}}), "3000 kept tokens"),
    ("k beyond memory", 413, question({"form": {"kind": "top_k", "k": 10**12}}), "bytes of answer"),
    ("other protocol", 400, question({"protocol": 0}), "protocol 0"),
]
COMPLETIONS: list[tuple[str, int, bytes, str]] = [
    ("no json", 400, b"{", "the body is not JSON"),
    ("deep json", 400, b"[" * 200_000, "the body is not JSON"),
    ("no object", 400, b"[1]", "no JSON object"),
    ("not utf-8", 400, b'{"prompt": "\xff"}', "the body is not JSON"),
    ("half a character", 400, b'{"prompt": "\\ud800"}', "`prompt` is"),
    ("no prompt", 400, b"{}", "`prompt` is missing"),
    ("empty prompt", 400, b'{"prompt": ""}', "`prompt` is ''"),
    ("prompt of numbers and texts", 400, b'{"prompt": [1, "a"]}', "`prompt` is [1,"),
    ("prompt of truths", 400, b'{"prompt": [true, false]}', "`prompt` is [true"),
    ("ids too high", 400, b'{"prompt": [5, 2048]}', "the token id 2048"),
    ("ids below 0", 400, b'{"prompt": [5, -1]}', "`prompt` is [5, -1]"),
    ("prompt too long", 413, json.dumps({"prompt": [5] * 60}).encode(), "76 tokens in a prompt"),
    (
        "too many choices",
        413,
        json.dumps({"prompt": [[5] * 40] * 90, "n": 2}).encode(),
        "tokens in all prompts",
    ),
    ("unknown field", 400, b'{"prompt": "a", "max_token": 3}', "unknown field 'max_token'"),
    ("streaming", 400, b'{"prompt": "a", "stream": true}', "`stream` is true"),
    ("penalty", 400, b'{"prompt": "a", "frequency_penalty": 0.5}', "`frequency_penalty` is 0.5"),
    ("truth for a number", 400, b'{"prompt": "a", "best_of": true}', "`best_of` is true"),
    ("negative length", 400, b'{"prompt": "a", "max_tokens": -1}', "`max_tokens` is -1"),
    ("text for a number", 400, b'{"prompt": "a", "max_tokens": "3"}', "`max_tokens` is '3'"),
    ("infinite heat", 400, b'{"prompt": "a", "temperature": 1e999}', "`temperature` is Infinity"),
    ("no share", 400, b'{"prompt": "a", "top_p": 0}', "`top_p` is 0"),
    ("too many logprobs", 400, b'{"prompt": "a", "logprobs": 5000}', "`logprobs` is 5000"),
    ("empty stop", 400, b'{"prompt": "a", "stop": [""]}', "`stop` is"),
    ("a number of thousands of digits", 400, b'{"prompt": "a", "seed": 1' + b"0" * 5000 + b"}", "not JSON"),
    ("oversized", 413, b'{"prompt": "' + b"a" * (1 << 20) + b'"}', "bytes in a request"),
    ("another model", 404, b'{"prompt": "a", "model": "gpt-4"}', "the model 'gpt-4' is not served here"),
]
BAD = [("/v1/distributions", MEDIA_TYPE, *one) for one in DISTRIBUTIONS]
BAD += [("/v1/completions", JSON, *one) for one in COMPLETIONS]


def is_refusal(answer: httpx.Response, status: int, said: str) -> None:
    """The status, one JSON document, three sentences, nothing of our insides."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert said in error["problem"], error
    assert error["code"] == status
    assert all(part in error["message"] for part in (error["problem"], error["expected"], error["fix"]))
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    assert len(answer.content) < 2000


@pytest.mark.parametrize(("path", "kind", "name", "status", "content", "said"), BAD, ids=lambda one: None)
def test_a_bad_request_is_told_what_is_wrong(
    client: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    path: str,
    kind: str,
    name: str,
    status: int,
    content: bytes,
    said: str,
):
    """In three sentences, and the log stays empty."""
    with caplog.at_level(logging.WARNING):
        is_refusal(client.post(path, content=content, headers={"Content-Type": kind}), status, said)
    assert not caplog.records, f"{name}: {caplog.text}"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "said"),
    [
        ("GET", "/v1/nothing", {}, 404, "there is no /v1/nothing"),
        ("GET", "/../../etc/passwd", {}, 404, "there is no"),
        ("GET", "/docs", {}, 404, "there is no /docs"),
        ("GET", "/v1/distributions", {}, 405, "does not take GET"),
        ("DELETE", "/v1/frame", {}, 405, "does not take DELETE"),
        (
            "POST",
            "/v1/distributions",
            {"Content-Type": "text/plain"},
            415,
            "the content type is 'text/plain'",
        ),
        ("POST", "/v1/completions", {"Content-Type": "text/plain"}, 415, "type is 'text/plain'"),
        ("POST", "/v1/completions", {}, 415, "the content type is ''"),
        ("GET", "/v1/frame", {"Host": "evil.example:80"}, 421, "programs on its own machine"),
        ("GET", "/v1/frame", {"Host": ""}, 421, "programs on its own machine"),
    ],
)
def test_a_stray_request_is_told_where_to_go(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], status: int, said: str
):
    """Wrong address, method, type of content, or name of this host (a web page pointed at it)."""
    is_refusal(client.request(method, path, headers=headers), status, said)


def test_a_head_that_is_not_there_is_refused_for_several_models(folder: str, teacher: ModelTeacher):
    """What is sent as rows has no output layer; `hidden` is refused with what there is instead."""
    both = MixtureTeacher((ModelTeacher(folder), ModelTeacher(folder))).open(Machine())
    with served(both) as url:
        is_refusal(httpx.get(f"{url}/v1/head", trust_env=False), 404, "no single output layer")
        content = question({"form": {"kind": "hidden"}})
        answer = httpx.post(
            f"{url}/v1/distributions", content=content, headers={"Content-Type": MEDIA_TYPE}, trust_env=False
        )
        is_refusal(answer, 400, "cannot be sent as `hidden`")
        answer = httpx.post(f"{url}/v1/completions", json={"prompt": "a"}, trust_env=False)
        is_refusal(answer, 400, "not one model that can write")


def test_an_answer_that_would_be_too_big_is_refused_before_it_is_made(teacher: ModelTeacher):
    """Two positions of 2,048 tokens in float32 are 16,384 bytes."""
    with served(teacher, response_bytes=16_000) as url:
        answer = httpx.post(
            f"{url}/v1/distributions",
            content=question({"form": {"kind": "dense"}}),
            headers={"Content-Type": MEDIA_TYPE},
            trust_env=False,
        )
        is_refusal(answer, 413, "16,384 bytes of answer")


def raw(url: str, content: bytes, *, hang_up: bool) -> bytes:
    """What comes back for bytes that need not be HTTP."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
        line.sendall(content)
        if hang_up:
            return b""
        return b"".join(iter(lambda: line.recv(1 << 16), b""))  # until the server closes


HEAD = b"POST /v1/distributions HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + MEDIA_TYPE.encode()


def test_a_body_that_never_ends_is_given_up(teacher: ModelTeacher, caplog: pytest.LogCaptureFixture):
    """A client that promises bytes and sends none holds nobody up for longer than the time limit."""
    with served(teacher, seconds=0.2) as url:
        answer = raw(url, HEAD + b"\r\nContent-Length: 100\r\n\r\n123", hang_up=False)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"within 0.2 seconds" in answer
    assert "Traceback" not in caplog.text


@pytest.fixture(scope="module")
def process(folder: str) -> Iterator[ServeProcess]:
    """A server whose log can be read."""
    with ServeProcess(folder, "--name", "tiny", "--max-tokens", "4096") as found:
        yield found


def test_a_hundred_bad_clients_do_not_disturb_good_ones(process: ServeProcess):
    """Every good answer is right while all kinds of bad requests come in; the log shows no traceback."""
    url, stop, wrong = process.url, threading.Event(), []

    def bad(i: int) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            for path, kind, _, status, content, _ in BAD[i::4]:
                if status == 413 and len(content) > 1 << 16:
                    continue  # this server has higher limits
                answer = client.post(path, content=content, headers={"Content-Type": kind})
                if not 400 <= answer.status_code < 500:
                    wrong.append((path, content[:50], answer.status_code))
        for content in (
            HEAD + b"\r\nContent-Length: 99\r\n\r\n12",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02",
        ):
            raw(url, content, hang_up=True)
        raw(url, HEAD + b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", hang_up=False)

    def good() -> list[bytes]:
        answers = []
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            while not stop.is_set() or not answers:
                got = client.post("/v1/distributions", content=GOOD, headers={"Content-Type": MEDIA_TYPE})
                answers.append(got.content)
        return answers

    with ThreadPoolExecutor(8) as pool:
        rights = [pool.submit(good) for _ in range(4)]
        for one in [pool.submit(bad, i) for i in range(4)]:
            one.result()
        stop.set()
        answers = [content for right in rights for content in right.result()]
    assert not wrong
    first, *others = [decoded(content, 1 << 20).tensors for content in answers]
    assert first["ids"].shape == (2, 4)
    for other in others:
        torch.testing.assert_close(other["log_probs"], first["log_probs"], atol=1e-5, rtol=0)
    status, log = process.stop()
    assert status == 0
    assert "Traceback" not in log, log
