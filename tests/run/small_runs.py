"""What the tests of runs share: where things are, a tiny config, the lines of a run's metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "data" / "tinystories"
TOKENIZER = ROOT / "recipes" / "demo" / "tokenizer"


def tiny_config(**changes: Any) -> dict[str, Any]:
    """A GPT-2 of two layers without dropout."""
    config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}
    return {**config, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, **changes}


def lines(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
