"""What two models say at every token of given sequences: nats of the token, divergences of the rows.

Sequences are token ids after a prompt; each quantity comes back as one tensor a sequence. Risks, bounds
and exposure bias (`tutelage.evaluation.risks`, `.exposure`) are made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Hidden, gold, restricted
from tutelage.divergences import TABLE
from tutelage.divergences.fused import Against, evaluate
from tutelage.errors import TutelageError
from tutelage.evaluation.lengths import too_long
from tutelage.interfaces import Batch
from tutelage.models import LanguageModel, Shared, prove_shared, rows_of
from tutelage.text import Example, collate

ROWS_IN_A_BATCH = 8
ROWS_AT_A_TIME = 128

Steps = dict[str, list[Tensor]]
"""Name of a quantity to one tensor ``[T]`` for each sequence, float64 on the CPU."""

DIVERGENCES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "forward_kl": ("forward_kl", {}),
    "reverse_kl": ("reverse_kl", {}),
    "js_teacher": ("skew_forward_kl", {"skew": 0.5}),
    "js_student": ("skew_reverse_kl", {"skew": 0.5}),
    "total_variation": ("total_variation", {}),
}
"""Per-step terms by name; the halves of JS are KL(p || m) and KL(q || m) with ``m = (p + q) / 2``."""


def compare_said(
    student: LanguageModel,
    teacher: LanguageModel,
    prompts: Sequence[Sequence[int]],
    said: Sequence[Sequence[int]],
    *,
    divergences: Sequence[str] = tuple(DIVERGENCES),
) -> Steps:
    """Both models on the same sequences, on the token ids that they provably share.

    Args:
        student, teacher: on one device; their modes are put back afterwards.
        prompts: what stands before each sequence, at least one token.
        said: the sequences, whoever wrote them, at least one token each; an end token that was said is there.
        divergences: names of `DIVERGENCES`.

    Returns:
        ``student_nats`` and ``teacher_nats`` of the tokens, and every divergence of the rows, by sequence.

    Raises:
        NotShared: the two do not share their token ids.
        TutelageError: a prompt or sequence is empty, or a row is longer than a model's positions.
    """
    shared = prove_shared(student.vocabulary, teacher.vocabulary)
    batches = token_batches(prompts, said, student, teacher)
    return steps(batches, speaks(student, shared), speaks(teacher, shared), divergences=divergences)


def nats_said(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    said: Sequence[Sequence[int]],
    *,
    shared: Shared | None = None,
) -> list[Tensor]:
    """Nats ``-log p`` of every token of sequences under one model, a tensor ``[T]`` each.

    Args:
        model: its mode is put back afterwards.
        prompts, said: as in `compare_said`.
        shared: ids among which the model chooses; None takes all of its own tokens.
    """
    own = shared or prove_shared(model.vocabulary, model.vocabulary)
    return steps(token_batches(prompts, said, model), speaks(model, own))["student_nats"]


def steps(
    batches: Iterable[Batch],
    student: Callable[[Batch], Hidden],
    teacher: Callable[[Batch], Distribution] | None = None,
    *,
    divergences: Sequence[str] = (),
) -> Steps:
    """Walk batches with one or two models; one forward pass each, no row over the vocabulary is kept.

    Args:
        batches: every row counts something.
        student: its rows at the counted positions.
        teacher: its rows on the same tokens, or None.
        divergences: names of `DIVERGENCES`; they need a teacher.
    """
    found: Steps = {}
    with torch.no_grad():
        for batch in batches:
            said, told = student(batch), teacher(batch) if teacher else None
            values = _measured(said, batch, told, divergences)
            if told is not None:
                values["teacher_nats"] = _nats(told, batch)
            lengths = batch.mask.sum(1).tolist()
            for name, value in values.items():
                found.setdefault(name, []).extend(value.double().cpu().split(lengths))
    return found


def token_batches(
    prompts: Sequence[Sequence[int]], said: Sequence[Sequence[int]], *models: LanguageModel
) -> Iterator[Batch]:
    """Sequences after their prompts as padded batches on the first model's device; what was said counts.

    Raises:
        TutelageError: a prompt or sequence is empty, or a row is longer than the positions of a model.
    """
    examples = []
    for number, (before, after) in enumerate(zip(prompts, said, strict=True)):
        if not before or not after:
            raise TutelageError(
                f"sequence {number} has {len(before)} tokens of prompt and {len(after)} that were said",
                expected="at least one of each",
                fix="begin a prompt with the start token; leave sequences of nothing out",
            )
        for model in models:
            if model.longest is not None and len(before) + len(after) > model.longest:
                raise too_long(len(before) + len(after), model)
        counted = [False] * len(before) + [True] * len(after)
        examples.append(Example([*before, *after], counted))
    first = models[0]
    for start in range(0, len(examples), ROWS_IN_A_BATCH):
        yield collate(examples[start : start + ROWS_IN_A_BATCH], first.pad_id).to(first.model.device)


def speaks(model: LanguageModel, shared: Shared) -> Callable[[Batch], Hidden]:
    """A function that gives a model's rows at the counted positions of a batch, on shared tokens."""

    def said(batch: Batch) -> Hidden:
        network: Any = model.model
        training = network.training
        network.eval()
        try:
            hidden, layer = rows_of(model, batch)
        finally:
            network.train(training)
        whole = Hidden(hidden, layer.weight, layer.bias, layer.scale, layer.softcap)
        met = restricted(whole, shared.width, shared.never_on(hidden.device))
        assert isinstance(met, Hidden)
        return met

    return said


def _measured(
    said: Hidden, batch: Batch, told: Distribution | None, names: Sequence[str]
) -> dict[str, Tensor]:
    """Nats of the written tokens and divergences from a teacher ``[N]``, from one walk over the tokens."""
    kind = torch.float64 if said.hidden.dtype == torch.float64 else torch.float32
    weights = torch.ones(said.positions, dtype=kind, device=said.hidden.device)
    written = gold(batch.gold, said.vocab_size, weights)
    terms = [Against(TABLE.load("cross_entropy"), written, weights)]
    if told is not None:
        chosen = [DIVERGENCES[name] for name in names]
        terms += [Against(TABLE.load(name), told, weights, options=how) for name, how in chosen]
    names = names if told is not None else ()
    return dict(zip(["student_nats", *names], evaluate(said, terms)[1], strict=True))


def _nats(told: Distribution, batch: Batch) -> Tensor:
    """Nats of the written tokens ``[N]``; of rows that are not hidden states a chunk at a time."""
    if isinstance(told, Hidden):
        return _measured(told, batch, None, ())["student_nats"]
    parts = [
        told.log_probs(slice(start, start + ROWS_AT_A_TIME)).gather(
            1, batch.gold[start : start + ROWS_AT_A_TIME, None]
        )
        for start in range(0, told.positions, ROWS_AT_A_TIME)
    ]
    return -torch.cat(parts)[:, 0]
