"""The student itself as teacher: before training, as it is now, averaged (mean teacher), or a while ago."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Hidden, OfStudent
from tutelage.errors import TutelageError, listed
from tutelage.interfaces import Batch, Machine, Running
from tutelage.models import LanguageModel, at_rest, frozen, rows_of
from tutelage.text import Example, preceded

DECAY = 0.99
EVERY = 100
BEFORE_TRAINING = "the student before training"


@dataclass(frozen=True)
class SelfTeacher:
    """The student itself, which may have read more: a prompt that the student does not see.

    Without a prompt it begins as the student, so that something else has to be learnt beside it: gold tokens,
    or another teacher in a mixture. Students are measured against the student before training, with the
    prompt if there is one, whatever `of` says: what an average becomes is not known beforehand.

    Attributes:
        of: which one. `initial` is the student before training; `current` the student of this very step, as
            a constant; `average` an exponential moving average of its weights, which begins as they do;
            `snapshot` the student after an earlier step.
        decay: share of the old average that stays at every step, of `average`.
        every: steps after which it is taken anew, of `snapshot`.
        prompt: text that it reads before every row, after a start token if the row has one, and that the
            student does not read.
        prompt_column: a column of the data with such a text for every row, such as a hint or the answer.

    Costs: `initial`, `average` and `snapshot` take a forward pass and a copy of the weights, and all but
    `initial` one more copy, to measure against. Of a student with adapters the one before training is no
    copy: they are switched off meanwhile. `current` takes a pass only if it has a prompt.

    Source: Tarvainen and Valpola 2017, arXiv:1703.01780 (the average); Askell et al. 2021, arXiv:2112.00861,
    and Snell et al. 2022, arXiv:2209.15189 (the prompt).
    """

    of: Literal["initial", "current", "average", "snapshot"] = "average"
    decay: Annotated[float, "[0, 1)"] = DECAY
    every: Annotated[int, "[1, inf)"] = EVERY
    prompt: str | None = None
    prompt_column: str | None = None
    student: LanguageModel | None = dataclasses.field(default=None, repr=False, compare=False)
    copy: LanguageModel | None = dataclasses.field(default=None, repr=False, compare=False)
    half: bool = dataclasses.field(default=False, repr=False, compare=False)

    # What it says of itself to a run (`tutelage.teachers.moving`); no options.
    of_student = True

    def __post_init__(self) -> None:
        for option, changed, user in (
            ("decay", self.decay != DECAY, "average"),
            ("every", self.every != EVERY, "snapshot"),
        ):
            if changed and self.of != user:
                raise TutelageError(
                    f"`{option}: {getattr(self, option)}` with `of: {self.of}`, which does not look at it",
                    expected=f"`{option}` beside `of: {user}` alone",
                    fix=f"leave it out, or write `of: {user}`",
                )
        if self.prompt is not None and self.prompt_column is not None:
            raise TutelageError(
                "both `prompt` and `prompt_column`",
                expected="one text for all rows, or a column with one for each",
                fix="leave one of them out; a column may hold both texts, joined",
            )

    @property
    def moves(self) -> bool:
        """Whether what it says about a text changes from step to step; `initial` does not."""
        return self.of != "initial"

    @property
    def vocabulary(self) -> Any:
        """What the student's ids mean; None until it was told of a run."""
        return None if self.student is None else self.student.vocabulary

    @property
    def parameters(self) -> int | None:
        """How many numbers the student has; None until it was told of a run."""
        return None if self.student is None else self.student.parameters

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of the data that it looks at, if any."""
        return () if self.prompt_column is None else (self.prompt_column,)

    @property
    def said(self) -> str:
        """One line for people: who speaks, what it reads, what is kept of it."""
        who = {
            "initial": BEFORE_TRAINING,
            "current": "the student as it is at every step",
            "average": f"the average of the student's weights, {self.decay:g} of it kept at every step",
            "snapshot": f"the student, taken anew after every {self.every:,} steps",
        }[self.of]
        reads = "" if not self._prompted else ", which reads a prompt before every row"
        held = 0 if self.copy is None else sum(p.nbytes for p in self.copy.model.parameters())
        return f"{who}{reads}; " + (f"a copy of {held / 2**20:,.1f} MiB" if held else "no copy is kept")

    @property
    def alone(self) -> tuple[str, ...]:
        """A warning where it is the whole teacher and has nothing to say."""
        if self.of == "current" and not self._prompted:
            line = (
                "the teacher is the student of the same step, which gives a gradient of zero; name it inside "
            )
            return (f"{line}another teacher, or give it a `prompt:`",)
        return ()

    def open(self, machine: Machine) -> SelfTeacher:
        """Nothing is loaded; its passes are in the precision of the student's."""
        return dataclasses.replace(self, half=machine.dtype == "bfloat16")

    def measured(self) -> SelfTeacher:
        """What students are measured against: the student before training."""
        return dataclasses.replace(self, of="initial", decay=DECAY, every=EVERY)

    def takes(self, examples: Sequence[Example], longest: int, student: LanguageModel) -> None:
        """Refuse rows that are too long once its prompt stands in front of them.

        Raises:
            TutelageError: there are such, or a row lacks the column of its prompt.
        """
        names = dict.fromkeys(name for row in examples for name in row.columns)
        columns = {name: tuple(row.columns.get(name) for row in examples) for name in names}
        before = [len(tokens) for tokens in self._before(columns, len(examples), student)]
        own = [len(row.tokens) for row in examples]
        most = max(length + more for length, more in zip(own, before, strict=True))
        if longest > max(own):  # text that is written during the run, after any of the prompts
            most = max(most, longest + max(before))
        self._short_enough(most, student)

    def beside(self, running: Running) -> SelfTeacher:
        """The same teacher for one run, with a copy of its student where it needs one."""
        student: LanguageModel = running.student
        if self.of in ("average", "snapshot"):
            return dataclasses.replace(self, student=student, copy=frozen(student))
        if self.of == "current" or student.adapters is not None:
            return dataclasses.replace(self, student=student, copy=None)
        # One for all of its kind: neither the run's own teacher nor what is measured against changes it.
        if BEFORE_TRAINING not in running.kept:
            running.kept[BEFORE_TRAINING] = frozen(student)
        return dataclasses.replace(self, student=student, copy=running.kept[BEFORE_TRAINING])

    def __call__(self, batch: Batch) -> Distribution:
        """What it says at the counted positions, as a constant; `current` without a prompt costs no pass."""
        student = self._student()
        device = student.model.device
        if self.of == "current" and not self._prompted:
            return OfStudent(batch.counted, student.vocabulary.width, torch.empty(0, device=device))
        before = self._before(batch.columns, len(batch.tokens), student)
        tokenizer: Any = student.tokenizer
        asked = preceded(batch, before, tokenizer.bos_token_id, student.pad_id)
        self._short_enough(asked.tokens.shape[1], student)
        # A cast that is remembered here would be one without gradients.
        precision = torch.autocast(device.type, torch.bfloat16, enabled=self.half, cache_enabled=False)
        with torch.no_grad(), self._speaking(student) as model, precision:
            hidden, layer = rows_of(model, asked)
        bias = None if layer.bias is None else layer.bias.detach()
        return Hidden(hidden, layer.weight.detach(), bias, layer.scale, layer.softcap)

    def stepped(self, step: int, seen: Mapping[str, float]) -> None:
        """Move the average on by the step that was made, or take the snapshot anew when it is time."""
        if self.of == "snapshot" and (step + 1) % self.every:
            return
        with torch.no_grad():
            for _, kept, now in self._pairs():
                if self.of == "average":
                    kept.mul_(self.decay).add_((1 - self.decay) * now)
                else:
                    kept.copy_(now)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged or kept weights; those that are not trained stay what they were."""
        return {name: kept for name, kept, _ in self._pairs()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put them back."""
        with torch.no_grad():
            for name, kept, _ in self._pairs():
                kept.copy_(tensors[name])

    def _pairs(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Every weight that moves, by name: as it is kept, and the student's own."""
        if self.student is None or self.copy is None or not self.moves:
            return
        kept = dict(self.copy.model.named_parameters())
        for name, now in self.student.model.named_parameters():
            if now.requires_grad:
                yield name, kept[name], now

    def _speaking(self, student: LanguageModel) -> contextlib.AbstractContextManager[LanguageModel]:
        if self.copy is not None:
            return contextlib.nullcontext(self.copy)
        return at_rest(student, adapters=self.of == "current")

    @property
    def _prompted(self) -> bool:
        return bool(self.prompt) or self.prompt_column is not None

    def _before(
        self, columns: Mapping[str, tuple[Any, ...]], rows: int, student: LanguageModel
    ) -> list[list[int]]:
        """The prompt's tokens for every row."""
        if self.prompt_column is None:
            return [_tokens([self.prompt], student)[0] if self.prompt else []] * rows
        texts = columns.get(self.prompt_column)
        if texts is None:
            raise TutelageError(
                f"the data have no column '{self.prompt_column}' to read before a row",
                expected="a column with a text in every row",
                fix=f"add it, or name one that is there ({listed(columns) if columns else 'none'})",
            )
        for text in texts:
            if not isinstance(text, str | int | float):
                raise TutelageError(
                    f"the column '{self.prompt_column}' is {text!r:.40} in a row",
                    expected="a text or a number",
                    fix='write "" where there is nothing to read',
                )
        return _tokens([str(text) for text in texts], student)

    def _short_enough(self, length: int, student: LanguageModel) -> None:
        if student.longest is not None and length > student.longest:
            raise TutelageError(
                f"with the teacher's prompt a row has {length} tokens, and '{student.name}' has "
                f"{student.longest} positions",
                expected=f"rows of at most {student.longest} tokens, the prompt included",
                fix="shorten the prompt, or write a smaller `max_length:` under `samples:`",
            )

    def _student(self) -> LanguageModel:
        if self.student is None:
            raise TutelageError(
                "a SelfTeacher was asked before it was told of a run",
                expected="one that knows its student",
                fix="call `teacher.beside(Running(student))` first and use what it returns",
            )
        return self.student


def _tokens(texts: Sequence[str], student: LanguageModel) -> list[list[int]]:
    tokenizer: Any = student.tokenizer
    return tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids
