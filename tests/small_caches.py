"""What the tests of caches share: a tiny teacher, a recipe on a few stories, and caches built from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.interfaces import Machine
from tutelage.models import new_model, save_student
from tutelage.recipes import Recipe, read
from tutelage.run.built import CacheTold
from tutelage.run.caching import build_cache
from tutelage.stores.payload import Form

ROOT = Path(__file__).parents[1]
STORIES = ROOT / "data" / "tinystories"
TOKENIZER = ROOT / "recipes" / "demo" / "tokenizer"
TINY = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def saved_model(folder: Path, *, seed: int, tokenizer: Path = TOKENIZER, **changes: Any) -> Path:
    """A model with random weights in a folder."""
    return save_student(new_model({**TINY, **changes}, tokenizer, seed=seed, machine=Machine()), folder)


def stories(folder: Path, teacher: Path | str | dict[str, Any], **changes: Any) -> Recipe:
    """A recipe that distils a tiny student on a dozen stories, with held-out text."""
    words: dict[str, Any] = {
        "out": str(folder / "run"),
        "student": {"config": {**TINY, **STILL}, "tokenizer": str(TOKENIZER)},
        "teacher": teacher if isinstance(teacher, dict) else str(teacher),
        "divergence": "forward_kl",
        "samples": {
            "kind": "dataset",
            "data": str(STORIES / "train.txt.gz"),
            "max_rows": 12,
            "max_length": 40,
            "long": "cut",
        },
        "training": {
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 4,
            "max_steps": 4,
            "logging_steps": 1,
            "eval_steps": 2,
            "save_steps": 2,
        },
        "evaluation": {"data": str(STORIES / "valid.txt.gz"), "max_rows": 3},
    }
    return read(words, **changes)


def cache_of(recipe: Recipe, place: Path | str, kind: str = "hidden", **options: Any) -> CacheTold:
    """A cache of a recipe's teacher in shards of some four rows."""
    form = Form(kind, **options)  # type: ignore[arg-type]
    return build_cache(recipe, str(place), form, shard_tokens=160)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
