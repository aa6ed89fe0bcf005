"""What is measured of a student of the Delta-KD test bed: likelihood, nearness to the teacher, text.

Every number is kept by what intervals resample too: by meaning representation, story nats by window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.distribution import Distribution
from tutelage.divergences import forward_kl
from tutelage.evaluation.measures.overlap import rouge_of
from tutelage.evaluation.steps import nats_said, speaks
from tutelage.interfaces import Batch
from tutelage.models import LanguageModel, continued, prove_shared
from tutelage.models.drawing import Drawing
from tutelage.reproductions.delta_text import WINDOW, Question, asking, held_out_stories
from tutelage.reproductions.e2e_measures import joined
from tutelage.reproductions.paired import Ratio
from tutelage.reproductions.parts import Outcome
from tutelage.text import Layout, collate, examples_of, read_rows

LONGEST = 160
"""Tokens of a row of the task at most."""

MOST_NEW_TOKENS = 75
ROWS_IN_A_BATCH = 25

Says = Callable[[Batch], Distribution]


@dataclass(frozen=True)
class Held:
    """What everybody is held against.

    Attributes:
        data: pairs of the questions, in their order, as recipes read them.
        questions: whose sentences these are.
        asked: those for which a text is written.
        aligned, base: what these say about the rows of ``data``, such as open teachers.
        story_ids: tokens of held-out stories.
    """

    data: str
    questions: Sequence[Question]
    asked: Sequence[Question]
    aligned: Says
    base: Says
    story_ids: int


def saying(model: LanguageModel) -> Says:
    """A model's rows at counted positions."""
    return speaks(model, prove_shared(model.vocabulary, model.vocabulary))


def measured(model: LanguageModel, held: Held) -> Outcome:
    """All numbers of one model."""
    return joined(
        on_references(saying(model), held, model), on_own_text(model, held), on_stories(model, held.story_ids)
    )


def on_references(says: Says, held: Held, spelt_by: LanguageModel) -> Outcome:
    """Likelihood of held-out sentences, and how near the teachers are.

    Args:
        says: whose distribution is measured.
        held: on what.
        spelt_by: has the tokenizer of the test bed.

    Returns:
        ``gold``: nats of the sentences' tokens; ``kl``: KL(aligned || it) and ``kl_base``: KL(base || it) at
        the same positions, nats. A prompt is a meaning representation.
    """
    layout = Layout(max_length=LONGEST, long="drop")
    rows = examples_of(read_rows(held.data), spelt_by.tokenizer, layout).examples
    owners = torch.tensor([n for n, question in enumerate(held.questions) for _ in question.pairs])
    assert len(owners) == len(rows), "a held-out row is too long for the test bed"
    tokens = torch.zeros(len(held.questions), dtype=torch.float64)
    sums: dict[str, Tensor] = {}
    with torch.no_grad():
        for start in range(0, len(rows), ROWS_IN_A_BATCH):
            batch = collate(rows[start : start + ROWS_IN_A_BATCH], spelt_by.pad_id)
            place = owners[start : start + ROWS_IN_A_BATCH].repeat_interleave(batch.mask.sum(1))
            log_q = says(batch).log_probs().double()
            found = {
                "gold": -log_q.gather(1, batch.gold[:, None])[:, 0],
                "kl": forward_kl(log_q, held.aligned(batch).log_probs().double()),
                "kl_base": forward_kl(log_q, held.base(batch).log_probs().double()),
            }
            tokens.index_add_(0, place, torch.ones(len(place), dtype=torch.float64))
            for name, values in found.items():
                sums.setdefault(name, torch.zeros_like(tokens)).index_add_(0, place, values)
    scores = {name: Ratio(tuple(one.tolist()), tuple(tokens.tolist())) for name, one in sums.items()}
    return Outcome({name: float(one.sum() / tokens.sum()) for name, one in sums.items()}, scores)


def on_own_text(model: LanguageModel, held: Held) -> Outcome:
    """What can be told from the likeliest text, token by token, for each of the questions."""
    tokenizer = model.tokenizer
    prompts = tokenizer([asking(question.meaning) for question in held.asked]).input_ids
    written = continued(
        model, prompts, most=MOST_NEW_TOKENS, seeds=[0] * len(prompts), drawing=Drawing(temperature=0)
    )
    rows = [written.row(number) for number in range(len(prompts))]
    return of_text(tokenizer.batch_decode(rows, skip_special_tokens=True), held.asked)


def of_text(said: Sequence[str], asked: Sequence[Question]) -> Outcome:
    """Numbers of texts.

    Returns:
        ``rouge_l`` from 0 to 100, ``words`` of a text, ``reference_words`` of a reference.
    """
    rouge = [100 * one for one in rouge_of(said, [question.references for question in asked])]
    references = [len(text.split()) for question in asked for text in question.references]
    numbers = {
        "rouge_l": sum(rouge) / len(rouge),
        "words": sum(len(text.split()) for text in said) / len(said),
        "reference_words": sum(references) / len(references),
    }
    return Outcome(numbers, {"rouge_l": Ratio(tuple(rouge), (1.0,) * len(rouge))})


def on_stories(model: LanguageModel, ids: int) -> Outcome:
    """Nats per token of held-out stories, ``story``; in place of prompts their windows are scored."""
    stream = model.tokenizer(held_out_stories()).input_ids[:ids]
    pieces = [stream[start : start + WINDOW] for start in range(0, len(stream), WINDOW)]
    nats = nats_said(model, [piece[:1] for piece in pieces], [piece[1:] for piece in pieces])
    sums, weights = tuple(float(one.sum()) for one in nats), tuple(float(len(one)) for one in nats)
    return Outcome({"story": sum(sums) / sum(weights)}, {"story": Ratio(sums, weights)})
