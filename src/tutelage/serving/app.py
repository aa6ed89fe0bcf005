"""The routes: health, metrics, the frame, distributions, completions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.errors import MissingExtra, TutelageError
from tutelage.serving import measures as counting
from tutelage.serving.answers import Answer, Wanted, answer_bytes, answered, joined
from tutelage.serving.batching import Batcher
from tutelage.serving.completions import complete
from tutelage.serving.guard import Guard
from tutelage.serving.measures import Measures
from tutelage.serving.offer import Offer
from tutelage.serving.refusals import Refused, say_no_in_json
from tutelage.serving.request import read_request
from tutelage.stores.question import Question
from tutelage.stores.wire import MEDIA_TYPE, Limits, Message, decoded, encoded, too_large
from tutelage.text import Example

try:
    from fastapi import APIRouter, FastAPI, Request
    from fastapi.responses import JSONResponse, Response, StreamingResponse
except ImportError as error:
    raise MissingExtra("fastapi", "serve") from error


@dataclass(frozen=True)
class Settings:
    """How much a server takes on.

    Attributes:
        limits: of one request.
        batch_tokens: tokens of one forward pass, padding included.
        seconds: for one request from its first byte, waiting included.
        token: that requests must bring, or None.
        hosts: names that requests without a token may give this host, besides the local ones.
    """

    limits: Limits
    batch_tokens: int = 8192
    seconds: float = 60.0
    token: str | None = None
    hosts: tuple[str, ...] = ()


def make_app(offer: Offer, settings: Settings) -> Any:
    """The ASGI application that serves one teacher."""
    limits, measures = settings.limits, Measures()

    def work(rows: Sequence[Example], wanted: Wanted) -> list[Answer]:
        return answered(offer.said, rows, wanted, settings.batch_tokens, offer.device)

    batcher = Batcher(work, measures, settings.batch_tokens, limits.response_bytes)

    @contextlib.asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.stop()

    # No pages about itself: they would load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=living)
    say_no_in_json(app)
    app.include_router(_about(offer, limits, measures))
    app.include_router(_asking(offer, settings, batcher, measures))
    return Guard(app, settings.token, settings.hosts, measures)


def _about(offer: Offer, limits: Limits, measures: Measures) -> APIRouter:
    """What the server says of itself."""
    router = APIRouter()
    told = json.dumps(offer.told(limits), ensure_ascii=False, separators=(",", ":")).encode()

    @router.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(measures.text(), media_type=counting.MEDIA_TYPE)

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        entry = {"id": offer.name, "object": "model", "created": 0, "owned_by": "tutelage"}
        return {"object": "list", "data": [entry | {"max_model_len": limits.row_tokens}]}

    @router.get("/v1/frame")
    async def frame(request: Request) -> Response:
        return _unless_known(request, offer.identity) or Response(
            told, media_type="application/json", headers={"ETag": f'"{offer.identity}"'}
        )

    @router.get("/v1/head")
    async def head(request: Request) -> Response:
        if offer.head is None:
            raise Refused(
                404,
                f"'{offer.name}' has no single output layer",
                expected="another kind than `hidden`",
                fix="write `payload: top_k`",
            )
        return _unless_known(request, offer.head.sha256) or StreamingResponse(
            offer.head.chunks(),
            media_type=MEDIA_TYPE,
            headers={"ETag": f'"{offer.head.sha256}"', "Content-Length": str(offer.head.size)},
        )

    return router


def _asking(offer: Offer, settings: Settings, batcher: Batcher, measures: Measures) -> APIRouter:
    """What the teacher is asked."""
    router, limits = APIRouter(), settings.limits

    @router.post("/v1/distributions")
    async def distributions(request: Request) -> Response:
        content = await _body(request, settings, MEDIA_TYPE)
        message = decoded(content, limits.request_bytes)
        question = Question.read(message, offer.vocabulary.width, limits)
        form, size = question.form, _size(question, offer, limits)
        measures.tokens.labels("read").inc(sum(len(row.tokens) for row in question.rows))
        answers = await batcher.answers(question.rows, form, size, settings.seconds)
        measures.positions.inc(question.counted)
        said = {"identity": offer.identity, "kind": form.kind, "positions": question.counted}
        # In a thread: megabytes are copied, and others are waiting to be heard.
        packed = await asyncio.to_thread(lambda: encoded(Message(said, joined(answers))))
        return Response(packed, media_type=MEDIA_TYPE)

    @router.post("/v1/completions")
    async def completions(request: Request) -> Response:
        content = await _body(request, settings, "application/json")
        asked = read_request(content, offer.name)
        document = await complete(asked, offer, batcher, limits, settings.seconds)
        measures.tokens.labels("read").inc(document["usage"]["prompt_tokens"])
        measures.tokens.labels("written").inc(document["usage"]["completion_tokens"])
        return JSONResponse(document)

    return router


def _unless_known(request: Request, tag: str) -> Response | None:
    known = request.headers.get("if-none-match", "").strip('W/"')
    return Response(status_code=304, headers={"ETag": f'"{tag}"'}) if known == tag else None


def _size(question: Question, offer: Offer, limits: Limits) -> int:
    form = question.form
    if form.kind not in offer.frames:
        raise TutelageError(
            f"'{offer.name}' cannot be sent as `{form.kind}`",
            expected=" or ".join(f"`{kind}`" for kind in offer.frames),
            fix=f"write `payload: {next(iter(offer.frames))}`",
        )
    vocab_size = offer.frames[form.kind].vocab_size
    size = answer_bytes(form, question.counted, vocab_size, offer.width)
    if size > limits.response_bytes:
        raise too_large(
            size, limits.response_bytes, f"bytes of answer to {question.counted:,} counted tokens"
        )
    return size


async def _body(request: Request, settings: Settings, media_type: str) -> bytes:
    """The body of a request, of the right type, neither too long nor too slow."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        # A page in a browser may post forms and plain text to any address without asking, but not this.
        raise Refused(
            415,
            f"the content type is {given[:60]!a}",
            expected=media_type,
            fix=f"send the header `Content-Type: {media_type}`",
        )
    most = settings.limits.request_bytes
    said = request.headers.get("content-length", "0")
    if said.isdecimal() and int(said) > most:
        raise too_large(int(said), most, "bytes in a request")
    content = bytearray()
    try:
        async with asyncio.timeout(settings.seconds):
            more = True
            while more:
                part = await request.receive()
                if part["type"] == "http.disconnect":
                    raise _cut_short(len(content))
                content += part.get("body", b"")
                more = part.get("more_body", False)
                if len(content) > most:
                    raise too_large(len(content), most, "bytes in a request, or more")
    except TimeoutError:
        raise Refused(
            408,
            f"the body was not there within {settings.seconds:g} seconds",
            expected="the whole body in time",
            fix="send fewer rows at once, or start the server with a longer --timeout",
        ) from None
    return bytes(content)


def _cut_short(length: int) -> TutelageError:
    return TutelageError(
        f"the body ended after {length:,} bytes",
        expected="as many bytes as its header said",
        fix="send it again whole",
    )
