"""DistillKit's compressed top-k lists, read: exact values, a curve and quantised residuals, packed in bits.

The k log-probabilities of a position fall. The first `exact_k` are stored as they are, the others as a curve
over their rank (weights of a few terms) plus residuals, bin by bin as a scale and small integers. With
`delta_encoding` all of them are differences to the one before. Ids are packed, most significant bit first,
with as many bits as the vocabulary needs.

Written from the format's description in its configuration; the curve is evaluated in float32, so the last
digits may differ from its own reader where terms are stored in fewer bits.

Source: https://github.com/arcee-ai/DistillKit (``distillkit/compression/config.py``)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from tutelage.errors import TutelageError

CONFIG = "compression_config.yaml"


@dataclass(frozen=True)
class Compression:
    """How lists were compressed, in the words of ``compression_config.yaml``.

    Attributes:
        d: number of tokens of the vocabulary.
        k: tokens a position.
        exact_k: how many of them are stored as they are.
        exact_dtype, term_dtype: floating-point types of those and of the curve's weights.
        polynomial_terms: powers of the rank, `sqrt` or `exp`.
        residual_bins: mappings with `scale_dtype`, `element_bits` and `num_elements`.
        delta_encoding: whether values are differences to the one before.
        normalize_t: whether ranks are scaled to run from 0 to 1.
    """

    d: int
    k: int
    exact_k: int
    exact_dtype: str = "float32"
    term_dtype: str = "float32"
    polynomial_terms: tuple[int | str, ...] = ()
    residual_bins: tuple[dict[str, Any], ...] = ()
    delta_encoding: bool = True
    normalize_t: bool = False

    @classmethod
    def beside(cls, file: Path) -> Compression | None:
        """The configuration in the folder of a file; None where there is none.

        Raises:
            TutelageError: it can't be read, or is another kind of configuration.
        """
        path = file.parent / CONFIG
        if not path.is_file():
            return None
        try:
            said = yaml.safe_load(path.read_text(encoding="utf-8"))
            known = {key: said[key] for key in cls.__dataclass_fields__ if said.get(key) is not None}
            listed = {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
            return cls(**{**known, **listed})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise TutelageError(
                f"{path}: no configuration of compressed lists ({str(error).splitlines()[0]})",
                expected="d, k, exact_k and residual_bins, as DistillKit writes them",
                fix="copy the file again; its older layout (polynomial_degree) is not read",
            ) from error

    def read(self, values: Sequence[Sequence[int]], ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and natural log-probabilities ``[n, k]`` of the positions of a row.

        Args:
            values: bytes of `compressed_logprobs`, a list a position.
            ids: bytes of `bytepacked_indices`.

        Raises:
            ValueError: there are too few bytes.
        """
        packed = torch.tensor(np.asarray(values, dtype=np.uint8).reshape(len(values), -1))
        bits = math.ceil(math.log2(self.d))
        found = _unpacked(torch.tensor(np.asarray(ids, dtype=np.uint8).reshape(len(ids), -1)), bits, self.k)
        exact, at = _floats(packed, 0, self.exact_k, self.exact_dtype)
        parts, rest = [exact], self.k - self.exact_k
        curve = torch.zeros(len(packed), rest)
        if self.polynomial_terms:
            weights, at = _floats(packed, at, len(self.polynomial_terms), self.term_dtype)
            curve = weights @ self._terms(rest)
        residuals = torch.zeros(len(packed), rest)
        first = 0
        for bin in self.residual_bins:
            scale, at = _floats(packed, at, 1, bin["scale_dtype"])
            width, size = int(bin["element_bits"]), int(bin["num_elements"])
            length = (width * size + 7) // 8
            steps = _unpacked(packed[:, at : at + length], width, size).float()
            steps = 2 * steps - 1 if width == 1 else steps - 2 ** (width - 1)
            residuals[:, first : first + size] = steps * scale
            at, first = at + length, first + size
        parts.append(curve + residuals)
        logs = torch.cat(parts, 1)
        return found, logs.cumsum(1) if self.delta_encoding else logs

    def _terms(self, ranks: int) -> Tensor:
        """Every term at every rank, ``[terms, ranks]``."""
        t = torch.linspace(0, 1, ranks) if self.normalize_t else torch.arange(ranks, dtype=torch.float32)
        special = {"sqrt": torch.sqrt, "exp": torch.exp}
        return torch.stack([special[x](t) if isinstance(x, str) else t**x for x in self.polynomial_terms])


def _floats(packed: Tensor, at: int, count: int, dtype: str) -> tuple[Tensor, int]:
    """``count`` numbers of a type from byte ``at`` on, ``[n, count]`` in float32, and where they end."""
    kind = getattr(torch, dtype)
    end = at + count * kind.itemsize
    if packed.shape[1] < end:
        raise ValueError(f"{packed.shape[1]} bytes a position, at least {end} needed")
    if count == 0:
        return torch.zeros(len(packed), 0), at
    return packed[:, at:end].contiguous().view(kind).float(), end


def _unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    """``count`` whole numbers of so many bits each, ``[n, count]``."""
    if packed.shape[1] * 8 < bits * count:
        raise ValueError(f"{packed.shape[1]} bytes a position, {(bits * count + 7) // 8} needed")
    found = np.unpackbits(packed.numpy(), axis=1)[:, : bits * count].reshape(len(packed), count, bits)
    powers = 2 ** np.arange(bits - 1, -1, -1, dtype=np.int64)
    return torch.tensor(found.astype(np.int64) @ powers)
