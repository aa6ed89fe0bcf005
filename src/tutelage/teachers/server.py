"""A teacher behind a URL: `tutelage serve`, or a server that speaks OpenAI's completions (vLLM, SGLang)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tutelage.clients.completions import CompletionsClient
from tutelage.clients.handshake import Handshake, agreed, question, shake_hands
from tutelage.clients.http import Line
from tutelage.clients.served import ServedClient
from tutelage.clients.token import token_of
from tutelage.clients.writing import written_over
from tutelage.distribution import Distribution, restricted
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Machine
from tutelage.models import Drawing, prove_shared
from tutelage.stores.payload import Form
from tutelage.teachers.model import ModelTeacher


@dataclass(frozen=True, eq=False)
class Link:
    """An open line and what was found out about who answers on it.

    Attributes:
        line: sends requests until they are answered.
        client: speaks the server's protocol.
        handshake: how far its answers can be trusted.
    """

    line: Line
    client: ServedClient | CompletionsClient
    handshake: Handshake


@dataclass(frozen=True)
class ServerTeacher:
    """A teacher that is asked over HTTP.

    Before it is believed the same question is asked twice, and a local copy once if there is one. Another
    teacher behind the same address is refused: `tutelage serve` says in every answer who it is, and others
    are asked the first question again whenever a new connection was made.

    Attributes:
        url: address of the server, such as `http://127.0.0.1:8765`.
        payload: how its answers travel: `hidden` (states before the output layer, which is fetched once: the
            full vocabulary), `top_k` (k tokens and the mass of the rest) or `dense`; None takes the
            first that it can.
        k: kept tokens, of `top_k`.
        precision: of hidden states and log-probabilities on the way; `bfloat16` halves the bytes.
        protocol: `tutelage` (`tutelage serve`), or `openai` for what scores a text through /v1/completions.
        served_model: what the server calls the model, of `openai`; None takes its only one.
        tokenizer: folder or hub name of the served model's tokenizer, needed for `openai`.
        probe: folder or hub name of a local copy of the served model, asked once for comparison.
        agree_within: nats per token by which two answers to one question, and the probe's, may differ.
        token_file: file with the server's token; None looks into the variable TUTELAGE_TOKEN.
        timeout: seconds without a byte until an attempt is given up.
        retries: attempts after the first, with waits that double up to 15 seconds.
        keep: folder in which output layers are kept by their hash; None fetches them anew in every run.
    """

    url: str
    payload: Literal["hidden", "top_k", "dense"] | None = None
    k: Annotated[int, "[1, inf)"] = 64
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    protocol: Literal["tutelage", "openai"] = "tutelage"
    served_model: str | None = None
    tokenizer: str | None = None
    probe: str | None = None
    agree_within: Annotated[float, "(0, inf)"] = 1e-3
    token_file: str | None = None
    timeout: Annotated[float, "(0, inf)"] = 60.0
    retries: Annotated[int, "[0, inf)"] = 10
    keep: str | None = None
    link: Link | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.protocol == "openai" and self.tokenizer is None:
            raise TutelageError(
                "`protocol: openai` without `tokenizer:`",
                expected="the tokenizer of the served model: such a server does not say what its ids mean",
                fix="write `tokenizer: PATH`",
            )
        if self.protocol == "openai" and self.payload not in (None, "top_k"):
            raise TutelageError(
                f"`payload: {self.payload}` with `protocol: openai`",
                expected="`top_k`: such a server names the likeliest tokens",
                fix="delete `payload:`",
            )

    @property
    def vocabulary(self) -> Any:
        """What its token ids mean; None until it is open."""
        return None if self.link is None else self.link.client.vocabulary

    @property
    def name(self) -> str:
        """What the server calls its model."""
        return self._open().client.name

    @property
    def longest(self) -> int | None:
        """Tokens of a row at most, where the server says it."""
        return self._open().client.longest

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that it looks at; none before it is open."""
        return () if self.link is None else tuple(self.link.client.columns)

    @property
    def said(self) -> str:
        """One line for people: who answers, in which form, and how far that can be trusted."""
        link = self._open()
        if isinstance(link.client, ServedClient):
            form = link.client.form
            how = f"{form.kind}{f' (k {form.k})' if form.kind == 'top_k' else ''}, {self.precision}"
        else:
            how = f"top_k (k {self.k}) by {'prompt_logprobs' if link.client.by_id else 'echo'}"
        return f"served, '{link.client.name}' at {link.line.url}, {how}; {link.handshake.said}"

    @property
    def record(self) -> dict[str, Any]:
        """For ``run.json``: who answered, and what the handshake measured, in nats per token."""
        link = self._open()
        identity = getattr(link.client, "identity", None)
        found = {
            "served": link.client.name,
            "url": link.line.url,
            "identity": identity,
            "repeats_nats": link.handshake.repeats_nats,
            "probe_nats": link.handshake.probe_nats,
        }
        return {key: value for key, value in found.items() if value is not None}

    def fingerprint(self) -> dict[str, Any]:
        """What tells it from other teachers: what the server says of itself and how it is asked."""
        link = self._open()
        who = getattr(link.client, "identity", None) or {"url": link.line.url, "model": link.client.name}
        form = {"payload": self.payload, "k": self.k, "precision": self.precision}
        return {"kind": "ServerTeacher", "of": who, **form}

    def open(self, machine: Machine) -> ServerTeacher:
        """Find out who answers, in which form, over which tokens, and how far that can be trusted.

        Raises:
            TutelageError: nobody answers, the token is wrong, or two answers to one question differ.
        """
        line = Line(self.url, token=token_of(self.token_file), timeout=self.timeout, retries=self.retries)
        client = self._client(line, machine)
        handshake = Handshake()
        if client.answers_anything:
            batch = question(client.vocabulary, client.longest, client.columns, machine.device)
            if isinstance(client, CompletionsClient):
                client.prove_tokens(batch)
            handshake = shake_hands(client, batch, self.agree_within, line.url)
            if self.probe is not None:
                handshake = self._compared(handshake, client.vocabulary, machine)
        return dataclasses.replace(self, link=Link(line, client, handshake))

    def __call__(self, batch: Batch) -> Distribution:
        """What the server says at the counted positions of a batch.

        Raises:
            TutelageError: it refuses, cannot be reached any more, or is another one by now.
        """
        link = self._open()
        before = link.line.connections
        said = link.client(batch)
        # `tutelage serve` says in every answer who it is; of others only what they say tells it.
        if isinstance(link.client, CompletionsClient) and link.line.connections > before:
            assert link.handshake.batch is not None
            assert link.handshake.answer is not None
            again = link.client(link.handshake.batch)
            which = "answers before and after the line broke"
            agreed(link.handshake.answer, again, self.agree_within, link.line.url, which)
        return said

    def writes(
        self, rows: Sequence[Sequence[int]], most: int, seed: int, drawing: Drawing
    ) -> list[tuple[list[int], bool]]:
        """Continue rows of tokens through /v1/completions: tokens, and whether they ended by themselves.

        Raises:
            TutelageError: it refuses, or cannot draw in this way.
        """
        link = self._open()
        return written_over(link.line, link.client.name, link.client.vocabulary, rows, most, seed, drawing)

    def _client(self, line: Line, machine: Machine) -> ServedClient | CompletionsClient:
        if self.protocol == "openai":
            assert self.tokenizer is not None
            return CompletionsClient(line, machine.device, self.k, self.served_model, self.tokenizer)
        form = Form(precision=self.precision, k=self.k)
        return ServedClient(line, machine.device, self.payload, form, self.keep)

    def _compared(self, handshake: Handshake, vocabulary: Any, machine: Machine) -> Handshake:
        """The handshake with what a local copy says about the same tokens."""
        assert self.probe is not None
        assert handshake.batch is not None
        assert handshake.answer is not None
        copy = ModelTeacher(self.probe).open(machine)
        shared = prove_shared(vocabulary, copy.vocabulary)
        never = shared.never_on(machine.device)
        theirs, ours = (
            restricted(said, shared.width, never) for said in (handshake.answer, copy(handshake.batch))
        )
        nats = agreed(ours, theirs, self.agree_within, self.url, f"its answer and that of '{self.probe}'")
        return dataclasses.replace(handshake, probe_nats=nats)

    def _open(self) -> Link:
        if self.link is None:
            raise TutelageError(
                f"the teacher at '{self.url}' is not open",
                expected="a teacher with a line to its server",
                fix="call `teacher.open(machine)` first and use what it returns",
            )
        return self.link
