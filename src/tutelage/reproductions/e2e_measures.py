"""What is measured of a student of the E2E test bed: its rows beside the teacher's, and what it says.

Every number is a mean over rows (positions of references) or over tokens that were drawn, and is kept by
prompt too, so that a difference between two students gets an interval over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.evaluation.diversity import distinct
from tutelage.evaluation.steps import nats_said, speaks
from tutelage.interfaces import Batch, Teacher
from tutelage.models import LanguageModel, continued, prove_shared
from tutelage.reproductions.e2e import pairs, prompt_of, slots_found, spread
from tutelage.reproductions.paired import Distinct, Ratio
from tutelage.reproductions.parts import Outcome
from tutelage.seeds import stream_seed
from tutelage.text import Layout, collate, examples_of, read_rows

HEAD = 10
"""Tokens that the teacher finds likeliest."""

TAIL = 0.2
"""The share of all tokens that the student itself finds least likely."""

MOST_NEW_TOKENS = 60
ROWS_IN_A_BATCH = 30
LONGEST = 112
"""Tokens of a row at most; the longest of the data has 106, start and end included."""


@dataclass(frozen=True)
class Held:
    """What students are held against.

    Attributes:
        data: rows of held-out text, as recipes read them.
        meanings: of every row its meaning representation.
        asked: meaning representations for each of which one text is drawn.
        teacher: open; knows the rows of ``data``.
        judge: the same teacher as a model, which says how likely a text is.
    """

    data: str
    meanings: Sequence[str]
    asked: Sequence[str]
    teacher: Teacher
    judge: LanguageModel


def held_out(step: int) -> list[tuple[str, dict[str, str]]]:
    """Every so many rows of the dev part: meaning representation, and the row as recipes read it."""
    return [(pair.meaning, pair.row) for pair in pairs("dev")[::step]]


def asked_of(prompts: int) -> list[str]:
    """So many different meaning representations of the dev part, evenly spaced."""
    return spread(list(dict.fromkeys(pair.meaning for pair in pairs("dev"))), prompts)


def by_row(log_q: Tensor, log_p: Tensor, gold: Tensor) -> dict[str, Tensor]:
    """Every measure of rows, ``[N]`` each.

    Args:
        log_q, log_p: student's and teacher's log-probabilities ``[N, V]``.
        gold: the tokens of the reference ``[N]``.

    Returns:
        ``ce``: nats of the reference; ``forward_kl`` KL(p || q) and ``reverse_kl`` KL(q || p) in nats;
        ``head``: the student's mass on the teacher's ten likeliest tokens; ``tail``: its mass on the fifth
        of the vocabulary that itself finds least likely.
    """
    log_q, log_p = log_q.double(), log_p.double()
    q, p = log_q.exp(), log_p.exp()
    lowest = round(TAIL * q.shape[1])
    return {
        "ce": -log_q.gather(1, gold[:, None])[:, 0],
        "forward_kl": (p * (log_p - log_q)).sum(1),
        "reverse_kl": (q * (log_q - log_p)).sum(1),
        "head": q.gather(1, log_p.topk(HEAD, dim=1).indices).sum(1),
        "tail": q.sort(1).values[:, :lowest].sum(1),
    }


def measured(student: LanguageModel, held: Held, seed: int) -> Outcome:
    """All numbers of one student, and what each prompt contributed.

    Args:
        student: with the vocabulary of the test bed.
        held: what it is held against.
        seed: of its texts.
    """
    return joined(on_references(student, held), on_own_text(student, held, seed))


def on_references(student: LanguageModel, held: Held) -> Outcome:
    """Means over rows of held-out references."""
    says = speaks(student, prove_shared(student.vocabulary, student.vocabulary))
    prompts = list(dict.fromkeys(held.meanings))
    sums: dict[str, Tensor] = {}
    rows = torch.zeros(len(prompts), dtype=torch.float64)
    with torch.no_grad():
        for start, batch in _batches(held.data, student):
            place = torch.tensor(
                [prompts.index(meaning) for meaning in held.meanings[start : start + len(batch.mask)]]
            ).repeat_interleave(batch.mask.sum(1))
            found = by_row(says(batch).log_probs(), held.teacher(batch).log_probs(), batch.gold)
            rows.index_add_(0, place, torch.ones(len(place), dtype=torch.float64))
            for name, values in found.items():
                sums.setdefault(name, torch.zeros_like(rows)).index_add_(0, place, values)
    scores = {name: Ratio(tuple(one.tolist()), tuple(rows.tolist())) for name, one in sums.items()}
    return Outcome({name: float(one.sum() / rows.sum()) for name, one in sums.items()}, scores)


def on_own_text(student: LanguageModel, held: Held, seed: int) -> Outcome:
    """What can be told from one text of the student for each prompt, drawn at temperature 1."""
    tokens = student.tokenizer(
        [prompt_of(meaning) for meaning in held.asked], add_special_tokens=False
    ).input_ids
    prompts = [[student.tokenizer.bos_token_id, *row] for row in tokens]
    seeds = [stream_seed(seed, "text to measure on", number) for number in range(len(prompts))]
    written = continued(student, prompts, most=MOST_NEW_TOKENS, seeds=seeds)
    said = [written.row(number) for number in range(len(prompts))]
    return of_text(held.asked, said, _nats(held.judge, prompts, said), student.tokenizer)


def of_text(
    meanings: Sequence[str], said: Sequence[Sequence[int]], nats: Sequence[float], tokenizer: Any
) -> Outcome:
    """Numbers of texts.

    Args:
        meanings: what each was asked to say.
        said: their tokens, the end token included where they ended.
        nats: of each text under the teacher, summed over its tokens.
        tokenizer: spells them.

    Returns:
        ``nats`` per token under the teacher, ``slots`` and ``distinct_4`` as shares, ``length`` in tokens.
    """
    lengths = [float(len(row)) for row in said]
    # Special tokens stay in: words on both sides of one do not stand in a row.
    spelt = [" ".join(tokenizer.convert_ids_to_tokens(list(row))) for row in said]
    slots = [slots_found(meaning, text) for meaning, text in zip(meanings, spelt, strict=True)]
    found = tuple(float(have) for have, _ in slots), tuple(float(wanted) for _, wanted in slots)
    numbers = {
        "nats": sum(nats) / sum(lengths),
        "slots": sum(found[0]) / sum(found[1]),
        "distinct_4": distinct(said),
        "length": sum(lengths) / len(lengths),
    }
    scores = {
        "nats": Ratio(tuple(nats), tuple(lengths)),
        "slots": Ratio(*found),
        "distinct_4": Distinct.of(said),
    }
    return Outcome(numbers, scores)


def joined(*outcomes: Outcome, **numbers: float) -> Outcome:
    """Several outcomes as one, with further numbers."""
    found: dict[str, float] = {}
    scores: Mapping[str, Ratio | Distinct] = {}
    for outcome in outcomes:
        found, scores = found | dict(outcome.numbers), {**scores, **outcome.scores}
    return Outcome(found | numbers, scores)


def _nats(
    judge: LanguageModel, prompts: Sequence[Sequence[int]], said: Sequence[Sequence[int]]
) -> list[float]:
    return [float(nats.sum()) for nats in nats_said(judge, prompts, said)]


def _batches(data: str, student: LanguageModel) -> list[tuple[int, Batch]]:
    rows = examples_of(read_rows(data), student.tokenizer, Layout(max_length=LONGEST)).examples
    starts = range(0, len(rows), ROWS_IN_A_BATCH)
    return [(start, collate(rows[start : start + ROWS_IN_A_BATCH], student.pad_id)) for start in starts]
