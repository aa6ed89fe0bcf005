"""One frozen checkpoint as teacher: what most distillation means by the word."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from tutelage.distribution import Distribution, Hidden
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Machine
from tutelage.models import LanguageModel, Reader, Shared, load_model, prove_head, rows_of


@dataclass(frozen=True)
class ModelTeacher:
    """A language model with frozen weights.

    Attributes:
        model: folder or hub name of a checkpoint.
        tokenizer: folder or hub name of its tokenizer; None looks beside the checkpoint.
        dtype: floating-point type of its weights, `float32` or `bfloat16`; None takes the machine's.
    """

    model: str
    tokenizer: str | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    loaded: LanguageModel | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def vocabulary(self) -> Any:
        """What its token ids mean; None until it is open."""
        return None if self.loaded is None else self.loaded.vocabulary

    @property
    def parameters(self) -> int | None:
        """How many numbers it has learnt; None until it is open."""
        return None if self.loaded is None else self.loaded.parameters

    def open(self, machine: Machine) -> ModelTeacher:
        """Load the weights, in evaluation mode and without gradients."""
        if self.dtype is not None:
            machine = dataclasses.replace(machine, dtype=self.dtype)
        loaded = load_model(self.model, machine=machine, tokenizer=self.tokenizer)
        loaded.model.eval().requires_grad_(False)
        prove_head(loaded.model, torch.arange(min(8, loaded.vocabulary.width))[None])
        return dataclasses.replace(self, loaded=loaded)

    def __call__(self, batch: Batch) -> Distribution:
        """One forward pass; logits are made later, a tile at a time."""
        with torch.no_grad():
            hidden, layer = rows_of(self._open(), batch)
        return Hidden(hidden, layer.weight, layer.bias, layer.scale, layer.softcap)

    def reader(self, rows: Sequence[Sequence[int]], shared: Shared | None) -> Reader:
        """Begin to read rows of tokens, so that it can write on from them."""
        return Reader(self._open(), rows, shared)

    def _open(self) -> LanguageModel:
        if self.loaded is None:
            raise TutelageError(
                f"the teacher '{self.model}' is not open",
                expected="a teacher with its weights loaded",
                fix="call `teacher.open(machine)` first and use what it returns",
            )
        return self.loaded
