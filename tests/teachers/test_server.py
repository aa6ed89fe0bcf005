"""A teacher behind a URL is the teacher itself: same numbers, and a refusal wherever that is in doubt."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import tutelage
from live_servers import TOKENIZER, ServeProcess, between, free_port, served, tiny_teacher
from tutelage.distribution import Dense, Distribution
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Machine
from tutelage.models import load_tokenizer, rows_of
from tutelage.teachers import MixtureTeacher, ModelTeacher, ServerTeacher
from tutelage.text import Example, collate

WAYS: dict[str, dict[str, Any]] = {
    "hidden": {"payload": "hidden"},
    "top_k": {"payload": "top_k", "k": 40},
    "dense": {"payload": "dense"},
    "openai": {"protocol": "openai", "tokenizer": str(TOKENIZER), "k": 40},
}
QUICK: dict[str, Any] = {"retries": 2, "timeout": 20.0}
NATS = 1e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the teacher lies."""
    return tiny_teacher(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> ModelTeacher:
    """Another teacher with the same tokens."""
    return ModelTeacher(tiny_teacher(tmp_path_factory.mktemp("models") / "other", seed=8)).open(Machine())


@pytest.fixture(scope="module")
def teacher(folder: str) -> ModelTeacher:
    """The teacher in process."""
    return ModelTeacher(folder).open(Machine())


@pytest.fixture(scope="module")
def url(teacher: ModelTeacher) -> Iterator[str]:
    """The teacher behind a URL."""
    with served(teacher) as found:
        yield found


def batch(rows: int = 3, length: int = 12, columns: dict[str, Any] | None = None) -> Batch:
    """Rows of different lengths in which all but the first two tokens count."""
    drawn = torch.Generator().manual_seed(rows)
    lengths = [max(4, length - 3 * i) for i in range(rows)]
    made = [
        Example(torch.randint(2048, (n,), generator=drawn).tolist(), [i > 1 for i in range(n)], columns or {})
        for n in lengths
    ]
    return collate(made, 0)


def kl(one: Distribution, other: Distribution) -> float:
    """The largest forward KL over positions, in float64."""
    p, q = one.log_probs().double(), other.log_probs().double()
    return float((p.exp() * (p - q)).sum(-1).max())


@pytest.mark.parametrize("way", WAYS)
def test_a_served_teacher_is_the_one_in_process(url: str, teacher: ModelTeacher, folder: str, way: str):
    """In float32 to a millionth of a nat; for k tokens and the rest, the same columns to that."""
    remote = ServerTeacher(url, probe=folder, **WAYS[way]).open(Machine())
    said, local = remote(batch()), teacher(batch())
    if way in ("hidden", "dense"):
        assert kl(local, said) < NATS
    else:
        ids, logs = said.on_support()
        assert ids is not None
        full = local.log_probs()
        kept = ids >= 0
        expected = full.gather(1, ids.clamp(min=0))
        assert float((logs[:, :-1] - expected)[kept].abs().max()) < 1e-5
        assert torch.equal(ids[:, :40].sort().values, full.topk(40).indices.sort().values) or way == "openai"
    assert remote.link is not None
    assert remote.link.handshake.repeats_nats is not None
    assert remote.link.handshake.repeats_nats < NATS
    assert remote.link.handshake.probe_nats is not None
    assert remote.link.handshake.probe_nats < NATS
    assert "repeats itself" in remote.said
    assert remote.record["url"] == url


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jensen_shannon"])
@pytest.mark.parametrize("way", WAYS)
def test_a_student_that_is_its_served_teacher_has_nothing_to_learn(
    url: str, teacher: ModelTeacher, way: str, divergence: str
):
    """Zero loss and zero gradient along every transport (law 2)."""
    remote = ServerTeacher(url, **WAYS[way]).open(Machine())
    assert teacher.loaded is not None
    hidden, layer = rows_of(teacher.loaded, batch())
    hidden = hidden.detach().requires_grad_()
    weight = layer.weight.detach().clone().requires_grad_()
    loss = tutelage.loss(hidden, weight, remote(batch()), divergence=divergence)
    loss.backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    assert abs(float(loss.detach())) < NATS
    assert float(hidden.grad.abs().max()) < NATS
    assert float(weight.grad.abs().max()) < NATS


def test_bfloat16_on_the_way_costs_what_it_says(url: str, teacher: ModelTeacher):
    """Half the bytes, less than a thousandth of a nat."""
    remote = ServerTeacher(url, precision="bfloat16").open(Machine())
    assert 0 < kl(teacher(batch()), remote(batch())) < 1e-3


def test_a_batch_beyond_the_servers_limits_is_asked_in_parts(teacher: ModelTeacher):
    """By tokens and by bytes of the answer; the run does not see it."""
    for limits in ({"request_tokens": 20}, {"response_bytes": 2048 * 4 * 24}):
        with served(teacher, **limits) as url:
            remote = ServerTeacher(url, payload="dense").open(Machine())
            assert kl(teacher(batch(6)), remote(batch(6))) < NATS


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_in_which_nothing_counts_is_answered_without_asking(url: str, way: str):
    """No positions, the same vocabulary."""
    remote = ServerTeacher(url, **WAYS[way]).open(Machine())
    nothing = dataclasses.replace(batch(), mask=torch.zeros_like(batch().mask))
    said = remote(nothing)
    assert (said.positions, said.vocab_size) == (0, 2048)


def test_a_routed_mixture_is_sent_the_column_that_it_asks_for(folder: str, other: ModelTeacher):
    """And only that one; data without it are refused."""
    mixture = MixtureTeacher((ModelTeacher(folder), ModelTeacher(other.model)), route="who", names=("a", "b"))
    local = mixture.open(Machine())
    rows = batch(columns={"who": "b", "secret": {"not": "sent"}})
    with served(local) as url:
        remote = ServerTeacher(url, payload="dense").open(Machine())
        assert remote.columns == ("who",)
        assert kl(local(rows), remote(rows)) < NATS
        with pytest.raises(TutelageError, match="no column 'who'"):
            remote(batch())
        with pytest.raises(TutelageError, match="says 'c', which is no teacher's name"):
            remote(batch(columns={"who": "c"}))


@dataclass(frozen=True)
class Wavering:
    """A teacher that says something else every time: what a server with dropout or sampling does."""

    of: ModelTeacher
    noise: float

    @property
    def vocabulary(self) -> Any:
        """That of the teacher."""
        return self.of.vocabulary

    def open(self, machine: Machine) -> Wavering:
        """Itself."""
        return self

    def __call__(self, batch: Batch) -> Distribution:
        """The teacher's rows with noise on them."""
        logs = self.of(batch).log_probs()
        return Dense(logs + self.noise * torch.randn_like(logs))


@pytest.mark.parametrize("way", ["top_k", "dense", "openai"])
def test_a_server_that_contradicts_itself_is_refused(teacher: ModelTeacher, way: str):
    """By more nats than `agree_within`; with a wider bound it may, and the difference is kept."""
    with served(Wavering(teacher, 0.3)) as url:
        with pytest.raises(TutelageError, match="same question asked twice differ by") as told:
            ServerTeacher(url, **WAYS[way]).open(Machine())
        assert "at most 0.001" in told.value.expected
        wide = ServerTeacher(url, agree_within=10.0, **WAYS[way]).open(Machine())
        assert wide.record["repeats_nats"] > 1e-3


def test_a_server_that_is_not_the_local_copy_is_refused(url: str, folder: str, other: ModelTeacher):
    """Both are named; the copy itself passes."""
    with pytest.raises(TutelageError, match=f"its answer and that of '{other.model}' differ by"):
        ServerTeacher(url, probe=other.model).open(Machine())
    assert ServerTeacher(url, probe=folder).open(Machine()).record["probe_nats"] < NATS


@pytest.mark.parametrize("way", ["hidden", "openai"])
def test_another_teacher_behind_the_same_address_is_refused(
    teacher: ModelTeacher, other: ModelTeacher, way: str
):
    """Also when the line did not break in between; the first one back again is welcome."""
    port = free_port()
    with served(teacher, port=port) as url:
        remote = ServerTeacher(url, **WAYS[way], **QUICK).open(Machine())
        expected = remote(batch())
    with served(other, port=port), pytest.raises(TutelageError, match=r"another teacher|line broke differ"):
        remote(batch())
    with served(teacher, port=port):
        assert kl(expected, remote(batch())) < NATS


def test_what_fails_for_a_while_is_asked_again(url: str, teacher: ModelTeacher):
    """503 with `Retry-After`, then a broken answer, then the answer; other statuses are final."""
    answers: list[float] = []

    def limping(request: Any, onward: Any) -> Any:
        if request[1] == "/v1/distributions":
            answers.append(time.monotonic())
            if len(answers) == 1:
                return 503, {"Retry-After": "0.4"}, b"{}"
            if len(answers) == 2:
                raise ConnectionAbortedError
        return onward(*request)

    with between(url, limping) as behind:
        remote = ServerTeacher(behind, **QUICK | {"retries": 3}).open(Machine())
        assert len(answers) == 4, "two attempts failed, the question and its repetition were answered"
        assert answers[1] - answers[0] >= 0.4
        assert kl(teacher(batch()), remote(batch())) < NATS


def test_the_output_layer_is_fetched_once_and_kept_by_its_hash(url: str, tmp_path: Path):
    """A kept file that was changed is fetched again."""
    fetched: list[str] = []

    def counting(request: Any, onward: Any) -> Any:
        fetched.append(request[1])
        return onward(*request)

    with between(url, counting) as behind:
        asked = ServerTeacher(behind, keep=str(tmp_path / "heads"))
        remote = asked.open(Machine())
        remote(batch())
        asked.open(Machine())
        assert fetched.count("/v1/head") == 1
        (kept,) = (tmp_path / "heads").iterdir()
        kept.write_bytes(b"changed")
        assert asked.open(Machine())(batch()).positions == batch().counted
        assert fetched.count("/v1/head") == 2


def echoing(request: Any, onward: Any) -> Any:
    """A server that knows `echo` and nothing newer: SGLang, as far as its public source says."""
    method, path, headers, body = request
    if path == "/v1/completions":
        asked = json.loads(body)
        for newer in ("prompt_logprobs", "return_tokens_as_token_ids"):
            asked.pop(newer, None)
        body = json.dumps(asked).encode()
    return onward(method, path, headers, body)


def test_tokens_that_are_named_by_text_are_found_and_what_is_ambiguous_goes_to_the_rest(
    url: str, teacher: ModelTeacher
):
    """Nothing is guessed: every kept log-probability is right, and what is not kept is in the rest."""
    with between(url, echoing) as behind:
        remote = ServerTeacher(behind, **WAYS["openai"]).open(Machine())
        said, local = remote(batch()), teacher(batch())
    assert "by echo" in remote.said
    ids, logs = said.on_support()
    assert ids is not None
    kept = ids >= 0
    expected = local.log_probs().gather(1, ids.clamp(min=0))
    assert float((logs[:, :-1] - expected)[kept].abs().max()) < 1e-5
    assert int(kept.sum(1).min()) > 20
    assert not bool(kept.all()), "some bytes of the tokenizer have no text of their own"


@pytest.mark.parametrize(("more", "refused"), [(0.02, False), (1.0, True)])
def test_probabilities_that_sum_to_more_than_one_are_scaled_or_refused(
    tmp_path: Path, more: float, refused: bool
):
    """A server in half precision rounds; one that sends logits does not send probabilities."""
    peaked = ModelTeacher(tiny_teacher(tmp_path / "peaked", initializer_range=0.5)).open(Machine())

    def louder(request: Any, onward: Any) -> Any:
        status, headers, content = onward(*request)
        if request[1] == "/v1/completions":
            said = json.loads(content)
            for choice in said["choices"]:
                for entry in choice["prompt_logprobs"][1:]:
                    for one in entry.values():
                        one["logprob"] += more
                    entry["3"] = {"logprob": -9999.0}
            content = json.dumps(said).encode()
        return status, headers, content

    with served(peaked) as url, between(url, louder) as behind:
        asked = ServerTeacher(behind, **WAYS["openai"])
        if refused:
            with pytest.raises(TutelageError, match="probabilities of a token sum to"):
                asked.open(Machine())
            return
        ids, logs = asked.open(Machine())(batch()).on_support()
    assert ids is not None
    assert float(logs.logsumexp(-1).abs().max()) < 1e-5


def answering(status: int, document: Any) -> Any:
    """A server that says the same to everything."""
    return lambda request, onward: (
        status,
        {"Content-Type": "application/json"},
        json.dumps(document).encode(),
    )


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [
        (200, {}, "it speaks protocol None"),
        (200, [], "its frame is none of ours"),
        (200, {"protocol": 1}, r"its frame is none of ours \(KeyError"),
        (404, {"detail": "Not Found"}, r"Not Found \(404\)"),
        (400, {"error": {"message": "max logprobs is 20"}}, r"max logprobs is 20 \(400\)"),
        (400, {"error": "plain\ntext"}, r"plain text \(400\)"),
        (500, "a string", r"answers 500 \(500\)"),
        (302, {}, r"answers 302 \(302\)"),
        (429, {}, r"no answer after 2 attempts \(it answers 429\)"),
    ],
)
def test_a_strange_server_is_refused_in_three_lines(status: int, document: Any, said: str):
    """Whatever it answers."""
    with between("http://127.0.0.1:9", answering(status, document)) as behind:
        with pytest.raises(TutelageError, match=said) as told:
            ServerTeacher(behind, retries=1).open(Machine())
        assert str(told.value).count("\n") == 2
        with pytest.raises(TutelageError) as told:
            ServerTeacher(behind, **WAYS["openai"], retries=0).open(Machine())
        assert str(told.value).count("\n") == 2


def test_who_may_not_ask_or_asks_too_much_is_told_so(
    teacher: ModelTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """401 without, with a wrong and with the right token; rows too long; a model that is not there."""
    monkeypatch.delenv("TUTELAGE_TOKEN", raising=False)
    (tmp_path / "token").write_text("0123456789abcdef")
    with served(teacher, token="0123456789abcdef") as url:
        with pytest.raises(TutelageError, match=r"a token is needed \(401\)"):
            ServerTeacher(url).open(Machine())
        monkeypatch.setenv("TUTELAGE_TOKEN", "another-one")
        with pytest.raises(TutelageError, match=r"the token is not the right one \(401\)"):
            ServerTeacher(url).open(Machine())
        remote = ServerTeacher(url, token_file=str(tmp_path / "token")).open(Machine())
        assert remote.longest == 64
        with pytest.raises(TutelageError, match=r"70 tokens in a row \(413\)"):
            remote(batch(1, length=70))
        asked = {"served_model": "gpt", "token_file": str(tmp_path / "token")}
        with pytest.raises(TutelageError, match="it has no model 'gpt'"):
            ServerTeacher(url, **WAYS["openai"], **asked).open(Machine())


def test_a_tokenizer_that_is_not_the_servers_is_refused(url: str):
    """What ids mean there is compared with how they read here."""
    gpt2 = Path(__file__).parents[2] / "data" / "tokenizers" / "gpt2"
    with pytest.raises(TutelageError, match=r"the token id \d+|reads \d+ of \d+ tokens otherwise"):
        ServerTeacher(url, protocol="openai", tokenizer=str(gpt2), k=4).open(Machine())
    assert load_tokenizer(gpt2).eos_token_id > 2048

    def renamed(request: Any, onward: Any) -> Any:
        status, headers, content = onward(*request)
        return status, headers, content.replace(b'"decoded_token":"', b'"decoded_token":"x')

    with between(url, renamed) as behind, pytest.raises(TutelageError, match="tokens otherwise"):
        ServerTeacher(behind, **WAYS["openai"]).open(Machine())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "127.0.0.1:8765"}, "is not the address of a server"),
        ({"url": "ftp://x"}, "is not the address of a server"),
        ({"url": "http://"}, "is not the address of a server"),
        ({"url": "http://user:word@127.0.0.1:1"}, "has a password in it"),
        ({"url": "http://127.0.0.1:9"}, "no answer after 1 attempts"),
        ({"protocol": "openai"}, "without `tokenizer:`"),
        ({"protocol": "openai", "tokenizer": "x", "payload": "hidden"}, "`payload: hidden` with"),
        ({"token_file": "nowhere"}, "nowhere: can't be read"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(options: dict[str, Any], said: str):
    """An address, a token, options that do not go together, nobody there."""
    with pytest.raises(TutelageError, match=said):
        ServerTeacher(**{"url": "http://127.0.0.1:9", "retries": 0, **options}).open(Machine())


def test_describing_a_served_teacher_costs_nothing():
    """It is not asked before it is opened."""
    described = ServerTeacher("http://127.0.0.1:9")
    assert described.vocabulary is None
    assert described.columns == ()
    with pytest.raises(TutelageError, match="is not open"):
        described(batch())


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_is_waited_for(folder: str, teacher: ModelTeacher):
    """SIGKILL while nobody asks and while somebody does; the answers are the same."""
    with ServeProcess(folder) as process:
        remote = ServerTeacher(process.url, retries=12).open(Machine())
        expected = teacher(batch())
        process.kill()
        again = threading.Thread(target=process.start)
        again.start()
        assert kl(expected, remote(batch())) < NATS
        again.join()
        assert remote.link is not None
        assert remote.link.line.connections == 2
