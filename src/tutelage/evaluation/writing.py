"""Prompts with their references, and what models write after them, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.errors import TutelageError, listed
from tutelage.models import LanguageModel, Shared, continued
from tutelage.seeds import stream_seed
from tutelage.text import Example

ROWS_AT_A_TIME = 32


@dataclass(frozen=True)
class Questions:
    """What models are asked to continue.

    Attributes:
        prompts: tokens before each text.
        references: what may be said there, at least one text each; None where none are known.
        cut: how many prompts lost their beginning to make room.
    """

    prompts: tuple[tuple[int, ...], ...]
    references: tuple[tuple[str, ...], ...] | None
    cut: int = 0


@dataclass(frozen=True)
class Generations:
    """What one model wrote with one seed.

    Attributes:
        tokens: of every text, with the end token where it was said.
        texts: the same without it.
        ended: whether each ended by itself, and not for want of room.
    """

    tokens: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    ended: tuple[bool, ...]


def questions_of(
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    plain_text: bool,
    room: int | None,
    prompt_tokens: int = 8,
    references: str | None = None,
) -> Questions:
    """Prompts and references of rows that were laid out.

    A prompt is all up to the first counted token; of plain text it is the first tokens. The reference is
    what counts after it, as text.

    Args:
        examples: the rows.
        tokenizer: which they are in.
        plain_text: whether the rows are plain text, without a prompt of their own.
        room: tokens of a prompt at most; a longer one loses its beginning.
        prompt_tokens: of plain text, so many are given (the start token included).
        references: instead: a column that holds a text or a list of texts.

    Raises:
        TutelageError: the column is not there, or holds something else.
    """
    prompts, answers, cut = [], [], 0
    for number, one in enumerate(examples):
        first = one.counted.index(True)
        if plain_text:
            first = max(1, min(prompt_tokens, len(one.tokens) - 1))
        last = next((i for i in range(first, len(one.tokens)) if not one.counted[i]), len(one.tokens))
        prompt = one.tokens[:first]
        if room is not None and len(prompt) > room:
            prompt, cut = prompt[len(prompt) - room :], cut + 1
        prompts.append(tuple(prompt))
        if references is None:
            answers.append((text_of(one.tokens[first:last], tokenizer),))
        else:
            answers.append(_column(one.columns, references, number))
    return Questions(tuple(prompts), tuple(answers), cut)


def written(
    model: LanguageModel,
    questions: Questions,
    *,
    seed: int,
    max_new_tokens: int,
    shared: Shared | None = None,
) -> Generations:
    """What a model writes after every prompt, drawn from its own distribution: temperature 1, no cutting off.

    A text is a function of the seed, the prompt's number and the weights; two students draw by the same
    numbers, so that differences between them are not those of chance.

    Args:
        model: writes on the device where it is.
        questions: the prompts.
        seed: of the generation.
        max_new_tokens: tokens of a text at most.
        shared: ids that may be said; None allows every token of the model's vocabulary.
    """
    tokens: list[tuple[int, ...]] = []
    ended: list[bool] = []
    for start in range(0, len(questions.prompts), ROWS_AT_A_TIME):
        part = questions.prompts[start : start + ROWS_AT_A_TIME]
        seeds = [stream_seed(seed, "text for evaluation", start + i) for i in range(len(part))]
        found = continued(model, part, most=max_new_tokens, seeds=seeds, shared=shared)
        tokens += [tuple(found.row(i)) for i in range(len(part))]
        ended += found.ended.tolist()
    return Generations(
        tuple(tokens), tuple(text_of(row, model.tokenizer) for row in tokens), tuple(map(bool, ended))
    )


def text_of(tokens: Sequence[int], tokenizer: Any) -> str:
    """Tokens as text, without the marks of the tokenizer such as its end token."""
    return tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _column(row: Mapping[str, Any], name: str, number: int) -> tuple[str, ...]:
    if name not in row:
        raise TutelageError(
            f"row {number + 1} has no column '{name}' with references",
            expected=f"one of its columns: {listed(row)}",
            fix="name the column that holds the reference texts",
        )
    texts = [row[name]] if isinstance(row[name], str) else row[name]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise TutelageError(
            f"row {number + 1}: {name} is {str(row[name])[:40]!r}",
            expected="a text, or a list of texts with one at least",
            fix="name the column that holds the reference texts",
        )
    return tuple(texts)
