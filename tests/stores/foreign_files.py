"""Files as Axolotl and DistillKit write them, made of a teacher's rows; our own encoder, for tests."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
import yaml
from torch import Tensor

Row = tuple[list[int], Tensor, Tensor]
"""Tokens, and ids and natural logs ``[L - 1, k]`` of what is said of the tokens from the second on."""


def axolotl(path: Path, rows: Sequence[Row], *, flavour: str = "lists", **columns: Any) -> Path:
    """JSON lines or parquet, tokenised; ``flavour`` is one of the ways in which lists are written."""
    written = []
    for tokens, ids, logs in rows:
        row: dict[str, Any] = {"input_ids": tokens, "attention_mask": [1] * len(tokens), "labels": tokens}
        if flavour == "vllm":
            row["logprobs"] = [
                [{"token": f"token_id:{t}", "logprob": x} for t, x in zip(*at, strict=True)]
                for at in zip(ids.tolist(), logs.tolist(), strict=True)
            ]
        else:
            k = ids.shape[1]
            row["target_token_ids"] = [list(range(k)), *ids.tolist()]
            row["target_logprobs"] = [[-1e9] * k, *logs.tolist()]
            row["target_mask"] = [[0] * k, *[[1] * k] * len(ids)]
        written.append(row | columns)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(written), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in written))
    return path


def distillkit(folder: Path, rows: Sequence[Row], config: dict[str, Any] | None, vocab_size: int) -> Path:
    """Parquet files in a folder; with a configuration, compressed."""
    folder.mkdir()
    written = []
    if config is not None:
        (folder / "compression_config.yaml").write_text(yaml.safe_dump({"d": vocab_size, **config}))
    for tokens, ids, logs in rows:
        if config is None:
            written.append({"input_ids": tokens, "token_ids": ids.tolist(), "top_values": logs.tolist()})
            continue
        bits = math.ceil(math.log2(vocab_size))
        written.append(
            {
                "input_ids": tokens,
                "compressed_logprobs": [compressed(at, config).tolist() for at in logs.double().numpy()],
                "bytepacked_indices": [packed(at, bits).tolist() for at in ids.numpy()],
            }
        )
    for number in range(0, len(written), 5):
        table = pyarrow.Table.from_pylist(written[number : number + 5])
        pyarrow.parquet.write_table(table, folder / f"data_{number // 5}.parquet")
    return folder


def packed(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers with so many bits each, most significant first, as bytes."""
    text = "".join(f"{int(number):0{bits}b}" for number in numbers)
    text += "0" * (-len(text) % 8)
    return np.array([int(text[i : i + 8], 2) for i in range(0, len(text), 8)], dtype=np.uint8)


def compressed(logs: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """The bytes of one position: exact values, weights of the curve, then every bin's scale and steps."""
    values = np.diff(logs, prepend=0.0) if config.get("delta_encoding", True) else logs.copy()
    exact_k = config["exact_k"]
    parts = [values[:exact_k].astype(config["exact_dtype"]).view(np.uint8)]
    rest = values[exact_k:]
    terms = config.get("polynomial_terms")
    if terms:
        t = np.linspace(0, 1, len(rest)) if config.get("normalize_t") else np.arange(len(rest), dtype=float)
        columns = np.stack([np.sqrt(t) if term == "sqrt" else t**term for term in terms], 1)
        weights = np.linalg.lstsq(columns, rest, rcond=None)[0].astype(config["term_dtype"])
        parts.append(weights.view(np.uint8))
        rest = rest - columns @ weights.astype(np.float64)
    first = 0
    for bin in config["residual_bins"]:
        own = rest[first : first + bin["num_elements"]]
        half = 2 ** (bin["element_bits"] - 1)
        scale = np.array([np.abs(own).max() / half or 1.0]).astype(bin["scale_dtype"])
        steps = np.clip(np.round(own / float(scale[0])), -half, half - 1) + half
        parts += [scale.view(np.uint8), packed(steps, bin["element_bits"])]
        first += bin["num_elements"]
    return np.concatenate(parts)


def rows_of(model: Any, texts: Sequence[list[int]], k: int) -> list[Row]:
    """What a model says of every token but the first."""
    rows = []
    for tokens in texts:
        with torch.no_grad():
            logs = model(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
        best = logs.topk(k, -1)
        rows.append((tokens, best.indices, best.values))
    return rows
