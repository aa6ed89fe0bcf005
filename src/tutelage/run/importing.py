"""Make a cache of top-k lists that another tool wrote; nothing is computed anew."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.distribution import TopK
from tutelage.errors import TutelageError
from tutelage.models import Vocabulary, load_tokenizer, vocabulary_of
from tutelage.recipes import Recipe, written
from tutelage.run.built import CacheTold
from tutelage.run.cache_source import texts_of, vocabulary_files
from tutelage.run.caching import SHARD_TOKENS, form_told
from tutelage.run.opened import Shelf
from tutelage.run.study import make_accelerator
from tutelage.run.told import told_text, told_tokenizer
from tutelage.stores.building import Plan, begun, finish, pour
from tutelage.stores.foreign import ForeignRow, foreign_files, foreign_hash, foreign_rows
from tutelage.stores.manifest import Description
from tutelage.stores.payload import Form, Frame, packed
from tutelage.stores.places import folder_at
from tutelage.stores.rows import row_key
from tutelage.stores.shards import planned
from tutelage.text import Example

RENORMALISED = 1e-4
"""Where the kept probabilities of all positions sum to one so closely, somebody has divided by their sum."""


@dataclass(frozen=True)
class Wanted:
    """What token ids mean, and which rows of text a recipe asks for.

    Attributes:
        vocabulary: of the tokenizer.
        told: tokenizer and texts, as plain JSON values.
        paths: of the texts, for people.
        rows: a recipe's rows by the bytes of their tokens; None takes the source's rows as they are.
    """

    vocabulary: Vocabulary
    told: Mapping[str, Any]
    paths: tuple[str, ...]
    rows: Mapping[bytes, Sequence[Example]] | None


@dataclass
class Survey:
    """What a first reading of the source found.

    Attributes:
        keys, counts: of the rows that are kept, each once.
        k: longest list.
        highest: highest id.
        read: rows of the source.
        lacking: rows of the recipe for which some counted token has no list.
        whole: least and largest sum of a position's kept probabilities.
    """

    keys: list[bytes]
    counts: list[int]
    k: int = 1
    highest: int = 0
    read: int = 0
    lacking: int = 0
    whole: tuple[float, float] = (1.0, 0.0)


def import_cache(
    source: str, place: str, format: str, *, recipe: Recipe | None = None, tokenizer: str | None = None
) -> CacheTold:
    """Keep top-k lists of another tool as a cache of the kind `top_k`.

    With a recipe its own rows are kept: a row of the source serves every row of the recipe whose tokens it
    begins with, and the recipe says which tokens count. Without one the source's labels say it.

    Args:
        source: a file, or a folder of files.
        place: where the cache goes.
        format: `axolotl` or `distillkit`.
        recipe: gives tokenizer and rows.
        tokenizer: instead of a recipe.

    Raises:
        TutelageError: the source is not of that format, or nothing in it can be used.
    """
    files = foreign_files(source)
    wanted = _of_recipe(recipe) if recipe is not None else _of_tokenizer(str(tokenizer))
    survey = _surveyed(files, format, wanted)
    if not survey.keys:
        raise TutelageError(
            f"{source}: none of its {survey.read:,} rows can be used",
            expected="rows with the tokens of the recipe's text, and a list for every token that counts",
            fix="compare a row's `input_ids` with what `tutelage check` shows: template, start and end token",
        )
    form = Form("top_k", k=survey.k)
    frame = Frame("top_k", max(wanted.vocabulary.rows, survey.highest + 1))
    description = Description(
        form=form_told(form),
        frame=frame.told(),
        teacher={"kind": "imported", "format": format, "sha256": foreign_hash(files)},
        dtype=None,
        tokenizer=wanted.told["tokenizer"],
        text={"sources": wanted.told["text"], "keys": hashlib.sha256(b"".join(survey.keys)).hexdigest()},
        columns=(),
        shard_tokens=SHARD_TOKENS,
    )
    shards = planned(survey.counts, SHARD_TOKENS)
    plan = Plan(
        description,
        vocabulary_files(wanted.vocabulary, f"the import {source}"),
        [[(survey.keys[row], survey.counts[row]) for row in shard] for shard in shards],
        {
            "teacher": f"imported from {source} ({format})",
            "text": list(wanted.paths) or [source],
            "tutelage": importlib.metadata.version("tutelage"),
        },
    )
    folder = folder_at(place)
    manifest = begun(folder, plan)
    if manifest is None:
        rows = _kept(files, format, wanted, set(survey.keys))
        pour(folder, plan, (_tensors(row, counted, form, frame) for row, _, counted in rows))
        manifest = finish(folder, plan, lambda cache: {})
        folder.close()
    return CacheTold(place, description, manifest, notes=_notes(survey, wanted))


def _of_recipe(recipe: Recipe) -> Wanted:
    shelf = Shelf(make_accelerator(recipe))
    with recipe.blaming("student"):
        student = shelf.student(recipe, recipe.seed)
    rows: dict[bytes, list[Example]] = {}
    told, paths = [], []
    for kind, word in texts_of(recipe):
        with recipe.blaming(kind):
            samples = shelf.samples(word, student)
        told.append(told_text(word, samples))
        paths.append(written(word.options.get("data", samples.source.path)))
        for example in samples.examples:
            rows.setdefault(_bytes(example.tokens), []).append(example)
    both = {"tokenizer": told_tokenizer(student.vocabulary), "text": told}
    return Wanted(student.vocabulary, both, tuple(dict.fromkeys(paths)), rows)


def _of_tokenizer(where: str) -> Wanted:
    tokenizer: Any = load_tokenizer(where)
    vocabulary = vocabulary_of(tokenizer, max(tokenizer.get_vocab().values()) + 1, Path(where).name)
    return Wanted(vocabulary, {"tokenizer": told_tokenizer(vocabulary), "text": []}, (), None)


def _surveyed(files: Sequence[Path], format: str, wanted: Wanted) -> Survey:
    found = Survey([], [])
    seen: set[bytes] = set()
    least, most = found.whole
    for row in foreign_rows(files, format):
        found.read += 1
        found.k = max(found.k, row.ids.shape[1])
        found.highest = max(found.highest, int(row.ids.max()))
        said = (row.ids >= 0).any(1)
        if bool(said.any()):
            sums = row.log_probs[said].logsumexp(1).exp()
            least, most = min(least, float(sums.min())), max(most, float(sums.max()))
        if most > 1 + 1e-3:
            raise TutelageError(
                f"{row.place}: the kept probabilities of a token sum to {most:.4f}",
                expected="at most 1: natural log-probabilities over the whole vocabulary, not logits",
                fix="subtract each position's log-sum-exp over all tokens before keeping the k best",
            )
        for key, counted in _served(row, wanted):
            if not _said_everywhere(row, counted):
                found.lacking += 1
            elif key not in seen:
                seen.add(key)
                found.keys.append(key)
                found.counts.append(sum(counted))
    found.whole = (least, most)
    return found


def _kept(
    files: Sequence[Path], format: str, wanted: Wanted, keys: set[bytes]
) -> Iterator[tuple[ForeignRow, bytes, list[bool]]]:
    """The rows that the survey kept, each once and in the same order."""
    left = set(keys)
    for row in foreign_rows(files, format):
        for key, counted in _served(row, wanted):
            if key in left and _said_everywhere(row, counted):
                left.remove(key)
                yield row, key, counted


def _served(row: ForeignRow, wanted: Wanted) -> Iterator[tuple[bytes, list[bool]]]:
    """Key and counted tokens of every row that a row of the source can stand for."""
    if wanted.rows is None:
        if any(row.counted):
            yield row_key(row.tokens, row.counted), row.counted
        return
    content = _bytes(row.tokens)
    for length in range(8, len(content) + 1, 8):
        for example in wanted.rows.get(content[:length], ()):
            counted = [bool(one) and n > 0 for n, one in enumerate(example.counted)]
            yield row_key(example.tokens, counted), counted


def _said_everywhere(row: ForeignRow, counted: Sequence[bool]) -> bool:
    said = (row.ids >= 0).any(1)[: len(counted)]
    return bool(said[torch.tensor(counted)].all())


def _tensors(row: ForeignRow, counted: Sequence[bool], form: Form, frame: Frame) -> dict[str, Tensor]:
    here = torch.tensor(counted)
    wide = (0, form.k - row.ids.shape[1])
    pad = torch.nn.functional.pad
    ids = pad(row.ids[: len(here)][here], wide, value=-1)
    logs = pad(row.log_probs[: len(here)][here], wide, value=-torch.inf)
    try:
        return packed(TopK(ids, logs, frame.vocab_size), form)
    except TutelageError as error:
        error.problem = f"{row.place}: {error.problem}"
        raise


def _notes(survey: Survey, wanted: Wanted) -> tuple[str, ...]:
    notes = [f"{survey.read:,} rows were read, {len(survey.keys):,} kept"]
    if wanted.rows is not None:
        asked = sum(len({tuple(e.counted[1:]) for e in rows}) for rows in wanted.rows.values())
        notes.append(f"of {asked:,} different rows of the recipe {asked - len(survey.keys):,} are not there")
    if survey.lacking:
        notes.append(f"{survey.lacking:,} rows were left out: no list for some token that counts")
    if survey.whole[0] > 1 - RENORMALISED:
        notes.append(
            "the kept probabilities sum to one everywhere: they were renormalised before, the mass of the "
            "rest is lost, and so are the bounds (docs/cache.md has the numbers)"
        )
    return tuple(notes)


def _bytes(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, dtype="<i8").tobytes()
