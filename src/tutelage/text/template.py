"""A row becomes tokens and a mask: what the student is taught to say, and what only leads up to it.

The mask comes from how a row is put together (lengths and template spans), never from token ids: the
start, end and padding token of a tokenizer may all be one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tutelage.errors import TutelageError, listed
from tutelage.text.chat import chat_tokens
from tutelage.text.patterns import filler, string_of
from tutelage.text.readers import TextRows

Long = Literal["split", "cut", "drop"]
LONG: dict[str, tuple[Long, ...]] = {
    "text": ("split", "cut", "drop"),
    "prompt, completion": ("cut", "drop"),
    "messages": ("drop",),
}
"""What can be done with a row that is too long; the first is what happens unless told otherwise."""

CHUNK = 1000
"""Rows tokenised at once."""


@dataclass(frozen=True)
class Example:
    """One row of a batch before padding.

    Attributes:
        tokens: ids.
        counted: true at the tokens that the student is taught to say.
        columns: all fields of the row, such as the one that routes a mixture.
        recorded: numbers about every token, such as the log-probability that it was drawn with.
    """

    tokens: list[int]
    counted: list[bool]
    columns: Mapping[str, Any] = field(default_factory=dict)
    recorded: Mapping[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """How rows are laid out.

    Attributes:
        prompt: format string over the columns, such as "{instruction}\\n"; None takes the column `prompt`.
        completion: the same for what is to be said; None takes the column `completion`.
        max_length: tokens of an example at most, at least 2.
        long: for longer rows. `split` (text) makes pieces that overlap in one token, so that every
            token but the very first counts exactly once; `cut` keeps the beginning of a text, or the end
            of a prompt with its whole completion; `drop` leaves the row out. None takes the first that
            the kind of row allows.
    """

    prompt: str | None = None
    completion: str | None = None
    max_length: int = 512
    long: str | None = None


@dataclass(frozen=True)
class Examples:
    """Rows laid out, and what became of them.

    Attributes:
        examples: ready to be collated.
        rows: how many rows there were.
        cut: how many lost tokens, or were split into pieces.
        too_long: how many were dropped because they are too long.
        empty: how many texts were dropped because nothing is in them.
        long: what was done with rows that are too long.
    """

    examples: list[Example]
    rows: int
    cut: int
    too_long: int
    empty: int
    long: str

    @property
    def said(self) -> str:
        """One line for people: how many rows, examples and tokens, and all that was cut or dropped."""
        tokens = sum(len(example.tokens) for example in self.examples)
        counted = sum(sum(example.counted) for example in self.examples)
        parts = [
            f"{self.rows:,} rows",
            f"{len(self.examples):,} examples",
            f"{tokens:,} tokens of which {counted:,} count",
        ]
        if self.cut:
            parts.append(f"{self.cut:,} {'split into pieces' if self.long == 'split' else 'cut'}")
        if self.too_long:
            parts.append(f"{self.too_long:,} dropped as too long")
        if self.empty:
            parts.append(f"{self.empty:,} dropped as empty")
        return ", ".join(parts)


def examples_of(rows: TextRows, tokenizer: Any, layout: Layout) -> Examples:
    """Lay out all rows for a tokenizer.

    - A text is the start token (if the tokenizer has one), the text and the end token; all but the
      first token count.
    - A prompt with its completion begins with the start token too; what counts is the completion and
      the end token.
    - Messages go through the tokenizer's chat template; what counts is what the assistant says, with
      the token that ends its turn.

    Raises:
        TutelageError: the layout does not fit the columns, or a row lacks what the layout needs; file
            and line are named.
    """
    kind = _kind(rows, layout)
    long = _long(kind, layout)
    if kind == "messages":
        laid = [chat_tokens(row.get("messages"), tokenizer, rows.place(i)) for i, row in enumerate(rows.rows)]
    elif kind == "text":
        laid = _texts(rows, tokenizer)
    else:
        laid = _completions(rows, tokenizer, layout)
    examples: list[Example] = []
    cut = too_long = empty = 0
    for row, (context, said) in zip(rows.rows, laid, strict=True):
        tokens, counted = [*context, *said], [False] * len(context) + [True] * len(said)
        if kind == "messages":
            tokens, counted = context, [bool(x) for x in said]
        if not any(counted[1:]):
            empty += 1
        elif len(tokens) <= layout.max_length:
            examples.append(Example(tokens, counted, row))
        elif pieces := _fitted(kind, long, context, said, layout.max_length, len(start_tokens(tokenizer))):
            cut += 1
            examples += [Example(t, c, row) for t, c in pieces]
        else:
            too_long += 1
    return Examples(examples, len(rows), cut, too_long, empty, long)


def start_tokens(tokenizer: Any) -> list[int]:
    """What every text and prompt begins with: the tokenizer's start token, if it has one."""
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def show(example: Example, tokenizer: Any) -> str:
    """The example as text with what counts between ``[[`` and ``]]``, and a line that says how much.

    >>> from types import SimpleNamespace
    >>> letters = SimpleNamespace(decode=lambda ids, **_: "".join(chr(i) for i in ids))
    >>> print(show(Example([72, 105, 33], [False, True, True]), letters))
    H[[i!]]
    (3 tokens, 2 of them count)
    """
    parts: list[str] = []
    start = 0
    for end in range(1, len(example.tokens) + 1):
        if end == len(example.tokens) or example.counted[end] != example.counted[start]:
            piece = tokenizer.decode(
                example.tokens[start:end], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            parts.append(f"[[{piece}]]" if example.counted[start] else piece)
            start = end
    return f"{''.join(parts)}\n({len(example.tokens)} tokens, {sum(example.counted)} of them count)"


def _kind(rows: TextRows, layout: Layout) -> str:
    if layout.max_length < 2:
        raise TutelageError(
            f"max_length is {layout.max_length}",
            expected="at least 2: one token to start from and one to say",
            fix="write for instance `max_length: 512`",
        )
    if layout.prompt is None and layout.completion is None:
        if rows.kind:
            return rows.kind
        raise TutelageError(
            f"{rows.path}: has the columns {listed(rows.columns, 'and')}",
            expected="text, prompt and completion, or messages",
            fix='write `prompt: "{...}"` and `completion: "{...}"` with names of columns inside',
        )
    return "prompt, completion"


def _long(kind: str, layout: Layout) -> Long:
    allowed = LONG[kind]
    if layout.long is None:
        return allowed[0]
    for long in allowed:
        if long == layout.long:
            return long
    raise TutelageError(
        f"long is '{layout.long}' for rows of {kind}",
        expected=listed(allowed),
        fix=f"write `long: {allowed[0]}`, or leave it out",
    )


Laid = list[tuple[list[int], list[int]]]
"""For each row the tokens that only lead up to what is said, and the tokens that are said."""


def _texts(rows: TextRows, tokenizer: Any) -> Laid:
    start, end = start_tokens(tokenizer), _end(tokenizer)
    texts = [string_of(row, "text", rows.place(i)) for i, row in enumerate(rows.rows)]
    laid: Laid = []
    for text, ids in zip(texts, _encoded(tokenizer, texts), strict=True):
        tokens = [*start, *ids, end]
        # Without a start token the first of the text has nothing in front of it to be predicted from.
        laid.append((tokens[:1], tokens[1:]) if text.strip() else ([], []))
    return laid


def _completions(rows: TextRows, tokenizer: Any, layout: Layout) -> Laid:
    start, end = start_tokens(tokenizer), _end(tokenizer)
    prompt = filler(layout.prompt, "prompt", rows)
    completion = filler(layout.completion, "completion", rows)
    prompts = [prompt(row, rows.place(i)) for i, row in enumerate(rows.rows)]
    completions = [completion(row, rows.place(i)) for i, row in enumerate(rows.rows)]
    for i, text in enumerate(completions):
        if not text.strip():
            raise TutelageError(
                f"{rows.place(i)}: the completion is empty",
                expected="something to say in every row",
                fix="take the row out, or fill its completion in",
            )
    before, said = _encoded(tokenizer, prompts), _encoded(tokenizer, completions)
    if _puts_a_space_in_front(tokenizer):
        joint = _encoded(tokenizer, [p + c for p, c in zip(prompts, completions, strict=True)])
        said = [_after(*ids) for ids in zip(before, said, joint, strict=True)]
    return [([*start, *b] or [end], [*s, end]) for b, s in zip(before, said, strict=True)]


def _puts_a_space_in_front(tokenizer: Any) -> bool:
    """Whether the first token of a text differs from the same letters in mid-sentence."""
    return tokenizer.convert_ids_to_tokens(_encoded(tokenizer, ["a"])[0])[:1] != ["a"]


def _after(before: list[int], apart: list[int], joint: list[int]) -> list[int]:
    # In the joint text the completion has no space in front that was not asked for; but where a token
    # spans the seam, the student would learn to say a part of the prompt.
    seam_is_kept = joint[: len(before)] == before and len(joint) > len(before)
    return joint[len(before) :] if seam_is_kept else apart


def _fitted(
    kind: str, long: Long, context: list[int], said: list[int], max_length: int, start: int
) -> list[tuple[list[int], list[bool]]]:
    if long == "drop":
        return []
    if kind == "text":
        tokens = [*context, *said]
        if long == "cut":
            return [(tokens[:max_length], [False] + [True] * (max_length - 1))]
        pieces = [tokens[i : i + max_length] for i in range(0, len(tokens) - 1, max_length - 1)]
        return [(piece, [False] + [True] * (len(piece) - 1)) for piece in pieces]
    room = max_length - len(said)
    if room < max(start, 1):
        return []
    kept = context[:start] + context[len(context) - (room - start) :] if room > start else context[:start]
    return [([*kept, *said], [False] * len(kept) + [True] * len(said))]


def _encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = []
    for start in range(0, len(texts), CHUNK):
        encoded = tokenizer(
            list(texts[start : start + CHUNK]),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids += encoded["input_ids"]
    return ids


def _end(tokenizer: Any) -> int:
    if tokenizer.eos_token_id is None:
        raise TutelageError(
            "the tokenizer names no end token",
            expected="`eos_token` in its tokenizer_config.json",
            fix='add a line such as "eos_token": "<|endoftext|>", one of its own tokens',
        )
    return tokenizer.eos_token_id
