"""Conversations through a tokenizer's chat template, with what the assistant says told apart.

Where the template marks the assistant's part with ``{% generation %}`` that is used. Otherwise the
conversation is rendered once up to each assistant turn and once through it, and the part between
is the turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tutelage.errors import TutelageError

GENERATION = re.compile(r"\{%-?\s*generation\b")


def chat_tokens(messages: Any, tokenizer: Any, place: str) -> tuple[list[int], list[int]]:
    """Token ids of a conversation and, for each of them, 1 where the assistant says it, else 0.

    Args:
        messages: a list of mappings with `role` and `content`.
        tokenizer: has a chat template.
        place: file and line, for errors.

    Raises:
        TutelageError: the messages are not of that form, no assistant says anything, or the template
            refuses them or can't be taken apart.
    """
    _check(messages, place)
    template = _template(tokenizer)
    try:
        if GENERATION.search(template):
            encoded = tokenizer.apply_chat_template(
                messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
            return list(encoded["input_ids"]), [int(x) for x in encoded["assistant_masks"]]
        text, spans = assistant_spans(messages, tokenizer)
    except TutelageError as error:
        raise TutelageError(f"{place}: {error.problem}", expected=error.expected, fix=error.fix) from error
    except Exception as error:  # a template is a program: it raises what it likes
        raise TutelageError(
            f"{place}: the chat template refuses the conversation ({_first_line(error)})",
            expected="roles and an order that the model's template knows",
            fix="compare the messages with the template's roles; some know no `system`",
        ) from error
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    counted = [
        int(any(first <= start and stop <= last and start < stop for first, last in spans))
        for start, stop in encoded["offset_mapping"]
    ]
    return list(encoded["input_ids"]), counted


def assistant_spans(messages: list[Any], tokenizer: Any) -> tuple[str, list[tuple[int, int]]]:
    """The rendered conversation, and from where to where the assistant speaks in it.

    A turn ends with the mark that the template writes after it; white space after that mark is the
    template's and no part of the turn.
    """
    whole = _rendered(messages, tokenizer, False)
    spans = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _rendered(messages[:turn], tokenizer, True)
        through = _rendered(messages[: turn + 1], tokenizer, False)
        if not (whole.startswith(before) and whole.startswith(through) and len(before) < len(through)):
            raise TutelageError(
                f"the chat template renders turn {turn + 1} differently when more follows",
                expected="a template under which a conversation is the beginning of a longer one",
                fix="mark the assistant's part with {% generation %} ... {% endgeneration %} in the template",
            )
        stop = len(through)
        closed = through.rstrip()
        if not closed.endswith(message["content"].rstrip()):
            stop = len(closed)
        spans.append((len(before), stop))
    return whole, spans


def _rendered(messages: list[Any], tokenizer: Any, prompt: bool) -> str:
    if not messages and prompt:
        # Some templates read the first message without asking whether there is one.
        empty = tokenizer.apply_chat_template(
            [{"role": "user", "content": ""}], tokenize=False, add_generation_prompt=False
        )
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": ""}], tokenize=False, add_generation_prompt=True
        )
        return asked.removeprefix(empty)
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)


def _template(tokenizer: Any) -> str:
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise TutelageError(
            "the tokenizer has no chat template, and the data are messages",
            expected="`chat_template` in its tokenizer_config.json, or a file chat_template.jinja beside it",
            fix="take the tokenizer of a chat model, or write prompt and completion instead",
        ) from error
    if not tokenizer.is_fast:
        raise TutelageError(
            "the tokenizer can't say which characters a token stands for, and the data are messages",
            expected="a tokenizer with a tokenizer.json",
            fix="convert it with `AutoTokenizer.from_pretrained(...).save_pretrained(...)`",
        )
    return template


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check(messages: Any, place: str) -> None:
    if not isinstance(messages, list) or not messages:
        raise TutelageError(
            f"{place}: messages is {str(messages)[:40]!r}",
            expected='a list such as [{"role": "user", "content": "Hi"}, {"role": "assistant", ...}]',
            fix="mend the row, or take it out",
        )
    for number, message in enumerate(messages, 1):
        fine = isinstance(message, Mapping) and all(
            isinstance(message.get(k), str) for k in ("role", "content")
        )
        if not fine:
            raise TutelageError(
                f"{place}: message {number} is {str(message)[:60]!r}",
                expected="`role` and `content`, both strings",
                fix="mend the row, or take it out",
            )
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        raise TutelageError(
            f"{place}: no assistant says anything",
            expected="at least one message with the role `assistant` and some content",
            fix="take the row out",
        )
