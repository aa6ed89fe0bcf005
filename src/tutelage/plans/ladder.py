"""Models of one family that differ in size alone, as recipes make them and as a plan counts them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.errors import OutOfRange, TutelageError
from tutelage.plans.flops import Shape

FEWEST_SIZES = 3


@dataclass(frozen=True)
class Ladder:
    """Models of one family that differ in depth, and with it in width.

    Attributes:
        layers: of each size, smallest first.
        aspect: width over layers.
        head_size: of attention; it divides every width.
        context: tokens of a row.
        vocabulary: tokens of the tokenizer.
        config: further keys of the transformers config, which must not change the size.
    """

    layers: tuple[int, ...]
    aspect: int
    head_size: int
    context: int
    vocabulary: int
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.layers)) < FEWEST_SIZES or min(self.layers) < 1:
            raise OutOfRange(
                f"sizes of {', '.join(map(str, self.layers)) or 'no'} layers",
                expected=f"at least {FEWEST_SIZES} different numbers of layers from 1 up",
                fix="write for instance `--layers 2,3,4,6`",
            )
        odd = [n for n in self.layers if n * self.aspect % self.head_size]
        if odd:
            raise OutOfRange(
                f"{odd[0]} layers are {odd[0] * self.aspect} wide, no multiple of a head of {self.head_size}",
                expected="heads that fill the width of every size",
                fix=f"make `--aspect` a multiple of {self.head_size}, or `--head-size` smaller",
            )

    def shape(self, layers: int) -> Shape:
        """What a size costs."""
        width = layers * self.aspect
        heads = width // self.head_size
        return Shape(
            layers=layers,
            width=width,
            heads=heads,
            key_heads=heads,
            head_size=self.head_size,
            hidden=round(8 * width / 3),
            matrices=3,
            context=self.context,
            vocabulary=self.vocabulary,
            tied=False,
            biases=(2 * layers + 1) * width,
        )

    def student(self, layers: int, tokenizer: str) -> dict[str, Any]:
        """A size as a recipe has it: a Llama with an output layer of its own."""
        shape = self.shape(layers)
        config = {
            "model_type": "llama",
            "num_hidden_layers": layers,
            "hidden_size": shape.width,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.heads,
            "intermediate_size": shape.hidden,
            "max_position_embeddings": self.context + 1,
            "tie_word_embeddings": False,
            "initializer_range": shape.width**-0.5,
        }
        return {"config": config | dict(self.config), "tokenizer": tokenizer}


def vocabulary_of(tokenizer: str) -> int:
    """Tokens of a tokenizer's folder, from its tokenizer.json.

    Raises:
        TutelageError: there is no such file to count in.
    """
    path = Path(tokenizer) / "tokenizer.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        known = told["model"]["vocab"]
        ids = set(known.values()) if isinstance(known, dict) else set(range(len(known)))
        ids |= {one["id"] for one in told.get("added_tokens", [])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TutelageError(
            f"{path}: tokens cannot be counted in it",
            expected="a folder with a tokenizer.json",
            fix="say how many there are: `--vocabulary 32000`",
        ) from error
    return max(ids) + 1
