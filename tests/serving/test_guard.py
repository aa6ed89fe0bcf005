"""Who may ask, what is counted, and what a client may keep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from live_servers import served
from tutelage.clients.token import token_of
from tutelage.errors import TutelageError
from tutelage.serving.address import bound, demand_token, is_loopback, url_of
from tutelage.teachers import ModelTeacher

TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture(scope="module")
def guarded(teacher: ModelTeacher) -> Iterator[str]:
    """A server that wants a token."""
    with served(teacher, token=TOKEN) as found:
        yield found


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
    ],
)
def test_only_the_token_opens_the_door(guarded: str, header: str | None, status: int):
    """Everything but `/health`, which says nothing; whatever name is given to the host."""
    headers = {"Host": "any.example"} | ({} if header is None else {"Authorization": header})
    for path in ("/v1/frame", "/v1/models", "/metrics", "/nothing"):
        answer = httpx.get(guarded + path, headers=headers, trust_env=False)
        assert answer.status_code == (404 if path == "/nothing" and status == 200 else status)
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.text
            assert "token" in answer.json()["error"]["problem"]
    assert httpx.get(f"{guarded}/health", trust_env=False).json() == {"status": "ok"}


def test_a_refused_body_is_not_read(guarded: str):
    """The token comes first, whatever follows."""
    answer = httpx.post(f"{guarded}/v1/distributions", content=b"x" * 1000, trust_env=False)
    assert answer.status_code == 401


def test_what_a_client_has_is_not_sent_again(client: httpx.Client):
    """By the tag of the first answer; the head's is the hash of its bytes."""
    for path in ("/v1/frame", "/v1/head"):
        whole = client.get(path)
        again = client.get(path, headers={"If-None-Match": whole.headers["etag"]})
        assert (whole.status_code, again.status_code, again.content) == (200, 304, b"")
        assert client.get(path, headers={"If-None-Match": '"other"'}).content == whole.content
    assert whole.headers["etag"].strip('"') == hashlib.sha256(whole.content).hexdigest()


def test_requests_are_counted_by_route_and_status(teacher: ModelTeacher):
    """In Prometheus' format; an address that does not exist makes no label of its own."""
    with served(teacher) as url, httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/health", "/health", "/a", "/b"):
            client.get(path)
        client.post("/v1/completions", json={"prompt": "Once", "max_tokens": 2})
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'tutelage_requests_total{route="/health",status="200"} 2.0' in lines
    assert 'tutelage_requests_total{route="other",status="404"} 2.0' in lines
    assert 'tutelage_request_seconds_count{route="/v1/completions"} 1.0' in lines
    assert 'tutelage_tokens_total{direction="written"} 2.0' in lines
    assert "tutelage_waiting_requests 0.0" in lines


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.1.2.3", False),
        ("no.such.host.invalid", False),
        ("a" * 300, False),
    ],
)
def test_loopback_needs_no_token_and_everything_else_does(host: str, local: bool):
    """A name counts as loopback only if all its addresses are."""
    assert is_loopback(host) == local
    demand_token(host, TOKEN)
    if local:
        demand_token(host, None)
        return
    for token in (None, "short"):
        with pytest.raises(TutelageError, match="can be reached from other machines"):
            demand_token(host, token)


def test_a_token_is_a_word_in_a_file_or_in_the_environment(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """The file wins; what is no word is refused by its place, not shown."""
    monkeypatch.delenv("TUTELAGE_TOKEN", raising=False)
    assert token_of(None) is None
    monkeypatch.setenv("TUTELAGE_TOKEN", " from-the-environment\n")
    assert token_of(None) == "from-the-environment"
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert token_of(str(tmp_path / "token")) == TOKEN
    for text in ("", "two words", "sch\u00f6n"):
        (tmp_path / "token").write_text(text, encoding="utf-8")
        with pytest.raises(TutelageError, match="holds no token"):
            token_of(str(tmp_path / "token"))
    with pytest.raises(TutelageError, match="can't be read"):
        token_of(str(tmp_path / "nothing"))


def test_an_address_that_cannot_be_had_is_refused():
    """Taken by somebody, or another machine's."""
    with bound("127.0.0.1", 0) as first:
        first.listen()
        port = int(url_of(first).rpartition(":")[2])
        with pytest.raises(TutelageError, match=f"can't listen on 127.0.0.1, port {port}"):
            bound("127.0.0.1", port)
    for host in ("192.0.2.1", "no.such.host.invalid", "a" * 300):
        with pytest.raises(TutelageError, match="can't listen on"):
            bound(host, 0)
    with bound("::1", 0) as found:
        assert url_of(found).startswith("http://[::1]:")
