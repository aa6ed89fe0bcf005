"""What is measured of a student of the test bed: risks, bounds, exposure bias, validity, length, variety.

The same number of texts is drawn from student and teacher at temperature 1, as many for each topic. Where a
claim asks for standard errors, they are over texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.evaluation.diversity import distinct
from tutelage.evaluation.exposure import exposure_of
from tutelage.evaluation.risks import per_sequence, per_token, risk, step_bound
from tutelage.evaluation.steps import Steps, speaks, steps
from tutelage.interfaces import Batch
from tutelage.models import LanguageModel, continued, prove_shared
from tutelage.reproductions.language import TOPICS, Language, prompt
from tutelage.seeds import stream_seed
from tutelage.text import Example, collate

MOST_NEW_TOKENS = 24
"""A response of the language has at most 20 tokens with its end."""

EXPOSED = (10, 12, 14, 16)
"""Lengths at which exposure bias is read off."""

LIVE = 20
"""Where fewer texts are that long, there is no exposure bias to be read off."""

ROWS_IN_A_BATCH = 200


@dataclass(frozen=True)
class Said:
    """Texts that one model wrote, as many for each topic.

    Attributes:
        rows: token ids of every text, its end token included where it ended; text ``i`` is about topic
            ``i % 8``.
    """

    rows: tuple[tuple[int, ...], ...]

    @property
    def prompts(self) -> list[list[int]]:
        """The topic in front of every text, as token ids."""
        return [prompt(number % len(TOPICS)) for number in range(len(self.rows))]


def said_by(model: LanguageModel, texts: int, seed: int, name: str) -> Said:
    """Texts of a model, drawn from its own distribution; ``name`` is the stream of chance."""
    found = continued(
        model,
        [prompt(number % len(TOPICS)) for number in range(texts)],
        most=MOST_NEW_TOKENS,
        seeds=[stream_seed(seed, name, number) for number in range(texts)],
    )
    return Said(tuple(tuple(found.row(number)) for number in range(texts)))


def measured(
    language: Language, student: LanguageModel, teacher: LanguageModel, own: Said, teachers: Said
) -> dict[str, float]:
    """All numbers of one student.

    Args:
        language: says which texts are valid.
        student, teacher: with one vocabulary.
        own: what the student wrote.
        teachers: what the teacher wrote.

    Returns:
        ``likelihood_risk`` and ``coverage_risk`` in nats per token, ``sequence_reverse_kl``, ``js_bound``
        and ``tvd_bound`` summed over steps, ``exposure_L`` in percent at a few lengths, ``valid`` and
        ``dist_4`` as shares, ``length`` in tokens with the end; names with ``_error`` are standard errors
        over texts.
    """
    on_own, on_teachers = (_compared(student, teacher, said) for said in (own, teachers))
    found = said_well(language, own) | {
        "likelihood_risk": risk(on_own["teacher_nats"]),
        "likelihood_risk_error": error(per_token(on_own["teacher_nats"])),
        "coverage_risk": risk(on_teachers["student_nats"]),
        "coverage_risk_error": error(per_token(on_teachers["student_nats"])),
        "sequence_reverse_kl": float(per_sequence(on_own["reverse_kl"]).mean()),
        "sequence_reverse_kl_error": error(per_sequence(on_own["reverse_kl"])),
        "js_bound": step_bound(on_teachers["js_teacher"], on_own["js_student"]),
        "js_bound_error": _half_error(on_teachers["js_teacher"], on_own["js_student"]),
        "tvd_bound": step_bound(on_teachers["total_variation"], on_own["total_variation"]),
        "tvd_bound_error": _half_error(on_teachers["total_variation"], on_own["total_variation"]),
    }
    bias = exposure_of(on_own["forward_kl"], on_teachers["forward_kl"], least=LIVE).percent
    return found | {
        f"exposure_{length}": float(bias[length - 1]) if length <= len(bias) else math.nan
        for length in EXPOSED
    }


def said_well(language: Language, said: Said) -> dict[str, float]:
    """What can be told from texts alone: validity, length with the end, and Dist-4."""
    valid = torch.tensor(
        [language.valid(number % len(TOPICS), row) for number, row in enumerate(said.rows)]
    ).double()
    return {
        "valid": float(valid.mean()),
        "valid_error": error(valid),
        "length": sum(map(len, said.rows)) / len(said.rows),
        "dist_4": distinct(said.rows),
    }


def error(values: Tensor) -> float:
    """Standard error of a mean over texts."""
    return float(values.std() / math.sqrt(len(values)))


def _half_error(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return math.hypot(error(per_sequence(one)), error(per_sequence(other))) / 2


def _compared(student: LanguageModel, teacher: LanguageModel, said: Said) -> Steps:
    shared = prove_shared(student.vocabulary, teacher.vocabulary)
    names = ("forward_kl", "reverse_kl", "js_teacher", "js_student", "total_variation")
    return steps(_batches(said, student), speaks(student, shared), speaks(teacher, shared), divergences=names)


def _batches(said: Said, model: LanguageModel) -> Iterator[Batch]:
    examples = [
        Example([*before, *row], [False] * len(before) + [True] * len(row))
        for before, row in zip(said.prompts, said.rows, strict=True)
    ]
    for start in range(0, len(examples), ROWS_IN_A_BATCH):
        yield collate(examples[start : start + ROWS_IN_A_BATCH], model.pad_id)
