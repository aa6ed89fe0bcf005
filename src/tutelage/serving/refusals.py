"""How a server says no: a status, three sentences as JSON, and never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.errors import MissingExtra, Several, TutelageError
from tutelage.serving.batching import Busy
from tutelage.stores.wire import TooLarge

try:
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
except ImportError as error:
    raise MissingExtra("fastapi", "serve") from error

RETRY_SECONDS = "1"
ROUTES = (
    "/health",
    "/metrics",
    "/v1/frame",
    "/v1/head",
    "/v1/distributions",
    "/v1/models",
    "/v1/completions",
)
TYPES = {401: "authentication_error", 404: "not_found_error", 413: "request_too_large", 503: "busy"}


class Refused(TutelageError):
    """A request that is answered with a status of its own.

    Attributes:
        status: of HTTP.
        headers: that go with it.
    """

    def __init__(
        self, status: int, problem: str, *, expected: str, fix: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(problem, expected=expected, fix=fix)
        self.status = status
        self.headers = dict(headers or {})


def status_of(error: TutelageError) -> int:
    """400 for whatever is wrong with a request, unless its kind says more."""
    if isinstance(error, Refused):
        return error.status
    return 413 if isinstance(error, TooLarge) else 503 if isinstance(error, Busy) else 400


def document(error: TutelageError) -> dict[str, Any]:
    """The body: OpenAI's shape, and the three parts each on its own."""
    first = error.faults[0] if isinstance(error, Several) else error
    status = status_of(error)
    parts = {"problem": first.problem, "expected": first.expected, "fix": first.fix}
    message = (
        f"{_sentence(first.problem)} Expected: {_sentence(first.expected)} To fix: {_sentence(first.fix)}"
    )
    return {
        "error": {
            "message": message,
            "type": TYPES.get(status, "invalid_request_error"),
            "code": status,
            **parts,
        }
    }


def response(error: TutelageError) -> JSONResponse:
    """The answer to a request that is refused."""
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if isinstance(error, Busy):
        headers["Retry-After"] = RETRY_SECONDS
    return JSONResponse(document(error), status_of(error), headers)


def say_no_in_json(app: FastAPI) -> None:
    """Every error of the app, its own and the framework's, is answered like this."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, TutelageError)
        return response(error)

    async def not_there(request: Request, _: Exception) -> JSONResponse:
        return response(
            Refused(
                404,
                f"there is no {_shown(request.url.path)} here",
                expected=", ".join(ROUTES),
                fix="check the address",
            )
        )

    async def not_so(request: Request, _: Exception) -> JSONResponse:
        return response(
            Refused(
                405,
                f"{_shown(request.url.path)} does not take {_shown(request.method)}",
                expected="POST for questions, GET for the rest",
                fix="change the method",
            )
        )

    async def ours(_: Request, error: Exception) -> JSONResponse:
        # The framework hands the exception on to the log: unlike a refusal it is a bug.
        return response(
            Refused(
                500,
                f"the server failed ({type(error).__name__})",
                expected="an answer",
                fix="look at the server's log, and report what stands there",
            )
        )

    app.add_exception_handler(Exception, ours)
    app.add_exception_handler(TutelageError, refused)
    app.add_exception_handler(404, not_there)
    app.add_exception_handler(405, not_so)


def _shown(text: str) -> str:
    return ascii(text[:60])[1:-1]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
