"""A request for a completion, in OpenAI's words with vLLM's `prompt_logprobs`; no field is ignored.

Source: the public references of OpenAI's completions and of vLLM's OpenAI-compatible server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tutelage.errors import TutelageError, listed, nearest
from tutelage.serving.refusals import Refused

MOST_LOGPROBS = 1024
MOST_CHOICES = 128

EXPECTED = {
    "model": "the name that /v1/models shows, or nothing",
    "prompt": "a text, a list of texts, a list of token ids, or a list of such lists; none of them empty",
    "max_tokens": "a whole number from 0",
    "temperature": "a number from 0 to 100",
    "top_p": "a number above 0, at most 1",
    "n": f"a whole number from 1 to {MOST_CHOICES}",
    "seed": "a whole number",
    "stop": "a text, or a list of at most 16 texts; none of them empty",
    "logprobs": f"a whole number from 0 to {MOST_LOGPROBS}",
    "prompt_logprobs": f"a whole number from 0 to {MOST_LOGPROBS}",
    "echo": "true or false",
    "return_tokens_as_token_ids": "true or false",
}
"""What each field may be; also the list of all fields."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "stream": (False,),
    "stream_options": (),
    "suffix": (),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "top_k": (0, -1),
    "min_p": (0,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "use_beam_search": (False,),
    "stop_token_ids": ([],),
    "user": (),
}
"""Fields that are known elsewhere and do nothing here: null and these values are accepted, others refused."""

Text = Annotated[str, Field(min_length=1)]
Token = Annotated[int, Field(ge=0)]
Row = Annotated[list[Token], Field(min_length=1)]
Logprobs = Annotated[int, Field(ge=0, le=MOST_LOGPROBS)]


class CompletionRequest(BaseModel):
    """What is asked; see `EXPECTED`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = None
    prompt: Text | Row | Annotated[list[Text] | list[Row], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=0)] = 16
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    seed: int | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    logprobs: Logprobs | None = None
    prompt_logprobs: Logprobs | None = None
    echo: bool = False
    return_tokens_as_token_ids: bool = False

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts as a list, whether there is one or many."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        first = self.prompt[0]
        return [self.prompt] if isinstance(first, int) else self.prompt  # type: ignore[return-value]

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a continuation."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


def read_request(content: bytes, model: str) -> CompletionRequest:
    """The request in a body of JSON.

    Args:
        content: the body.
        model: the only model there is.

    Raises:
        TutelageError: it is not JSON, or a field is unknown, of another kind, or not done here.
        Refused: it names another model.
    """
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TutelageError(
            f"the body is not JSON ({type(error).__name__})",
            expected='a JSON object such as {"prompt": "Once upon a time", "max_tokens": 16}',
            fix="send it whole, in UTF-8, with the header `Content-Type: application/json`",
        ) from None
    if not isinstance(said, dict):
        raise TutelageError(
            "the body is no JSON object",
            expected=listed(EXPECTED, "and") + " as its fields",
            fix="put the fields into {...}",
        )
    # Null says "as if I had not written it", in every field.
    given = {key: value for key, value in said.items() if value is not None}
    for key in given:
        if key in NEUTRAL:
            _neutral(key, given[key])
        elif key not in EXPECTED:
            raise _unknown(key)
    try:
        request = CompletionRequest.model_validate({k: v for k, v in given.items() if k in EXPECTED})
    except ValidationError as error:
        raise _wrong(error, said) from None
    if request.model not in (None, model):
        raise Refused(
            404,
            f"the model {_shown(request.model)} is not served here",
            expected=f"'{model}'",
            fix="leave `model` out, or write the name that /v1/models shows",
        )
    return request


def _neutral(key: str, value: Any) -> None:
    allowed = NEUTRAL[key]
    # True equals 1 in Python, and is another thing in JSON.
    if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
        raise TutelageError(
            f"`{key}` is {_shown(value)}, which this server does not do",
            expected=listed(["null", *(json.dumps(one) for one in allowed)]),
            fix=f"leave `{key}` out, or ask a server made for writing text, such as vLLM",
        )


def _unknown(key: str) -> TutelageError:
    close = nearest(key, EXPECTED)
    return TutelageError(
        f"unknown field {_shown(key)}",
        expected=listed(EXPECTED),
        fix=f"write `{close}` (the nearest name)" if close else "leave it out; no field is ignored here",
    )


def _wrong(error: ValidationError, said: Mapping[str, Any]) -> TutelageError:
    field = str(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"][0])
    if field not in said:
        return TutelageError(
            f"`{field}` is missing", expected=EXPECTED[field], fix=f"add `{field}` to the request"
        )
    return TutelageError(
        f"`{field}` is {_shown(said[field])}", expected=EXPECTED[field], fix=f"change `{field}`"
    )


def _shown(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
