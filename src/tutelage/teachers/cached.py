"""What another teacher said about a text, read from a cache instead of asked again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.distribution import Distribution, Joined, kept
from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Machine, Teacher, writes_text
from tutelage.models import Vocabulary, load_tokenizer
from tutelage.stores.cache import Cache, open_cache
from tutelage.stores.manifest import TOKENIZER, VOCABULARY, differences
from tutelage.stores.payload import Frame, unpacked
from tutelage.stores.rows import keys_of, row_key
from tutelage.stores.shards import GOLD
from tutelage.teachers.fingerprint import fingerprint
from tutelage.text import Example

Tail = Literal["bucket", "renormalise", "drop"]


@dataclass(frozen=True, eq=False)
class OpenedCache:
    """A cache with what is needed to speak from it.

    Attributes:
        cache: the files.
        vocabulary: what the ids mean, with the tokenizer that came with the cache.
        frame: what all positions have in common, on the device.
    """

    cache: Cache
    vocabulary: Vocabulary
    frame: Frame

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that came with the cache, to be compared with the student's."""
        return self.vocabulary.tokenizer


@dataclass(frozen=True)
class CachedTeacher:
    """A teacher on disk; rows are looked up by their content, so any order and any batch will do.

    Attributes:
        cache: folder of a cache (`tutelage cache build`), or an address such as `s3://bucket/name`.
        of: the teacher that it must have been made with; its weights are compared, never loaded.
        tail: what becomes of the tokens that were not kept, of a cache of the kind `top_k`.
        live: the teacher that it was made with, asked about rows that are not in the cache (such as text that
            a student writes during the run); of a `top_k` cache its answers are cut to as many tokens.
    """

    cache: str
    of: Teacher | None = None
    tail: Tail = "bucket"
    live: Teacher | None = None
    opened: OpenedCache | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def vocabulary(self) -> Any:
        """What its token ids mean; None until it is open."""
        return None if self.opened is None else self.opened.vocabulary

    @property
    def needs(self) -> str | None:
        """A law that a divergence must keep to be computed from it, or None."""
        return "bounded_by_teacher" if self._open().frame.kind == "sampled" else None

    @property
    def partial(self) -> bool:
        """Whether only some tokens are known, so that it can be neither tempered nor mixed."""
        return self._open().frame.kind == "sampled" or self.tail == "drop"

    @property
    def identity(self) -> str:
        """The cache's name by content."""
        return self._open().cache.manifest.identity

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the teacher looked at."""
        return self._open().cache.description.columns

    @property
    def parameters(self) -> int | None:
        """How many numbers the teacher behind it has learnt; None until it is open, or if nobody knows."""
        return None if self.opened is None else self.opened.cache.manifest.recorded.get("parameters")

    @property
    def name(self) -> str:
        """The teacher behind it, for reports; the cache itself until it is open."""
        recorded = {} if self.opened is None else self.opened.cache.manifest.recorded
        return str(recorded.get("teacher", self.cache))

    @property
    def said(self) -> str:
        """One line for people: what of which teacher is kept."""
        form, manifest = self._open().cache.description.form, self._open().cache.manifest
        options = ", ".join(f"{key} {value}" for key, value in form.items() if key != "kind")
        bound = "; divergences from it are lower bounds" if form["kind"] == "top_k" else ""
        return (
            f"cached, {form['kind']} ({options}), {manifest.rows:,} rows and {manifest.tokens:,} tokens "
            f"of '{self.name}'{bound}"
        )

    def open(self, machine: Machine) -> CachedTeacher:
        """Open the cache; rows are mapped into memory when they are asked for.

        Raises:
            TutelageError: there is no cache, it was made with another teacher than `of`, or `tail` is said of
                a cache that keeps all tokens.
            Damaged: a file is not what was written.
        """
        cache = open_cache(self.cache)
        for teacher in (self.of, self.live):
            self._made_with(cache, teacher)
        frame = cache.frame
        if self.live is not None and (frame.kind not in ("hidden", "top_k") or self.tail != "bucket"):
            raise TutelageError(
                f"`live:` beside a cache of the kind '{frame.kind}' with `tail: {self.tail}`",
                expected="a cache of the kind `hidden`, or `top_k` with `tail: bucket`",
                fix="delete `live:`, or build such a cache",
            )
        if self.tail != "bucket" and frame.kind != "top_k":
            raise TutelageError(
                f"`tail: {self.tail}` for the cache '{self.cache}', which keeps '{frame.kind}'",
                expected="`tail` only for a cache of the kind `top_k`",
                fix="delete `tail:`",
            )
        layer = {name: t.to(machine.device, getattr(torch, machine.dtype)) for name, t in frame.layer.items()}
        never = None if frame.never is None else frame.never.to(machine.device)
        frame = dataclasses.replace(frame, layer=layer, never=never)
        live = None if self.live is None else self.live.open(machine)
        return dataclasses.replace(self, live=live, opened=OpenedCache(cache, _vocabulary(cache), frame))

    def __call__(self, batch: Batch) -> Distribution:
        """What was kept of the rows of ``batch``, in its order; of others what the live teacher says.

        Raises:
            TutelageError: a row is not in the cache, and nobody else can be asked. Damaged: what is read is
                not what was written.
        """
        device = batch.tokens.device
        if self.live is not None:
            here = torch.tensor(self._places(batch), device=device) >= 0
            if not bool(here.all()):
                return self._with_live(batch, here)
        tensors = {name: t.to(device) for name, t in self._read(batch).items()}
        return unpacked(tensors, self._open().frame, self.tail)

    @property
    def can_write(self) -> bool:
        """Whether text can be asked of it: only of a live teacher that writes."""
        return self.live is not None and writes_text(self.live)

    def reader(self, rows: Sequence[Sequence[int]], shared: Any) -> Any:
        """Begin to read rows of tokens in the live teacher, so that it can write on from them."""
        live: Any = self.live
        return live.reader(rows, shared)

    def gold_log_probs(self, batch: Batch) -> Tensor | None:
        """What the teacher said of the tokens that were written ``[N]``; None where the rows tell it."""
        return None if self._open().frame.kind == "hidden" else self._read(batch).get(GOLD)

    def measured(self) -> CachedTeacher:
        """The same with the rest in one column: how far a student is does not depend on `tail`."""
        return self if self.tail == "bucket" else dataclasses.replace(self, tail="bucket")

    def laid_out(self, sha256: str) -> Mapping[str, Any]:
        """How the text with this hash was laid out (prompt, completion, ...); empty if unknown."""
        sources = self._open().cache.description.text.get("sources") or []
        return next((one for one in sources if one.get("sha256") == sha256), {})

    def fingerprint(self) -> dict[str, Any]:
        """What tells it from other teachers; see `tutelage.teachers.fingerprint`."""
        of = self._open().cache.description
        return {"kind": "CachedTeacher", "identity": self.identity, "of": of.teacher, "tail": self.tail}

    def prove_rows(self, examples: Sequence[Example], told: Mapping[str, Any], source: str) -> None:
        """Refuse text that is not in the cache, before a run begins.

        Args:
            examples: the rows.
            told: tokenizer and text in the shape of `tutelage.stores.manifest.Description`, so that what
                differs can be named.
            source: where the rows come from, for the error.

        Raises:
            TutelageError: a row is not there; the error says which and what differs.
        """
        cache = self._open().cache
        if self.live is not None:
            return
        names = cache.description.columns
        keys = [row_key(e.tokens, e.counted, [e.columns.get(name) for name in names]) for e in examples]
        places = cache.index.find(keys)
        if -1 not in places:
            return
        number = places.index(-1)
        missing = places.count(-1)
        text = cache.manifest.recorded.get("text", ["imported"])
        differ = differences(
            told, {key: _nearest(cache.description, key, told) for key in told}, "here", "there"
        )
        raise TutelageError(
            f"{source}: row {number} is not in the cache '{self.cache}', nor are {missing - 1:,} others of "
            f"{len(examples):,}; what differs: "
            + (
                "; ".join(differ[:4])
                or "the rows alone (others were taken, or columns that the teacher reads)"
            ),
            expected=f"the text that it was built from ({', '.join(text)})",
            fix="mend the recipe, or build another cache: tutelage cache build RECIPE --out PLACE",
        )

    def _with_live(self, batch: Batch, here: Tensor) -> Distribution:
        """Rows that are here from the cache, the others from the live teacher, in the order of the batch."""
        assert self.live is not None
        kept_rows, others = here.nonzero()[:, 0], (~here).nonzero()[:, 0]
        said = self.live(batch.rows(others))
        frame = self._open().frame
        if frame.kind == "top_k":
            said = kept(said, int(self._open().cache.description.form["k"]))
        if not len(kept_rows):
            return said
        rows = batch.positions[0]
        which = (~here[rows]).long()
        place = torch.where(which == 0, (which == 0).cumsum(0), which.cumsum(0)) - 1
        return Joined([dataclasses.replace(self, live=None)(batch.rows(kept_rows)), said], which, place)

    def _places(self, batch: Batch) -> list[int]:
        """Where each row is in the cache, -1 where it is not; rows that count nothing are not missed."""
        cache = self._open().cache
        found = cache.index.find(keys_of(batch, cache.description.columns))
        counts = batch.mask.any(1).tolist()
        return [max(place, 0) if not counted else place for place, counted in zip(found, counts, strict=True)]

    def _read(self, batch: Batch) -> dict[str, Tensor]:
        cache = self._open().cache
        keys = keys_of(batch, cache.description.columns)
        counts = batch.mask.any(1).tolist()
        asked = [row for row, counted in enumerate(counts) if counted]
        places = cache.index.find([keys[row] for row in asked])
        if -1 in places:
            raise self._absent(batch, asked[places.index(-1)])
        if not places:
            return {name: tensor[:0] for name, tensor in cache.rows([0]).items()}
        return cache.rows(places)

    def _absent(self, batch: Batch, row: int) -> TutelageError:
        writer = batch.writers[row]
        if writer != "dataset":
            return TutelageError(
                f"a row that the {writer} wrote during the run is not in the cache '{self.cache}'",
                expected="text that is known before the run",
                fix="name the teacher that the cache was made with under its `live:`, or use samples of the "
                "kind `dataset`",
            )
        return TutelageError(
            f"a row of {int(batch.attention[row].sum())} tokens is not in the cache '{self.cache}'",
            expected="the rows that the cache was built from",
            fix="build it from this recipe: tutelage cache build RECIPE --out PLACE",
        )

    def _made_with(self, cache: Cache, teacher: Teacher | None) -> None:
        if teacher is None:
            return
        described = cache.description
        theirs = described.teacher
        while theirs.get("kind") == "CachedTeacher":
            theirs = theirs["of"]
        ours = fingerprint(teacher, described.dtype or "float32")
        differ = differences(ours, theirs, "here", "there")
        if differ:
            named = cache.manifest.recorded.get("teacher", "another")
            raise TutelageError(
                f"the cache '{self.cache}' was made with another teacher ({'; '.join(differ[:4])})",
                expected=f"a cache of the teacher under `of:` or `live:`; this is one of '{named}'",
                fix="name that teacher, delete `of:`, or build the cache again",
            )

    def _open(self) -> OpenedCache:
        if self.opened is None:
            raise TutelageError(
                f"the cache '{self.cache}' is not open",
                expected="a teacher whose cache is open",
                fix="call `teacher.open(machine)` first and use what it returns",
            )
        return self.opened


def _vocabulary(cache: Cache) -> Vocabulary:
    files = [cache.path(name) for name in cache.manifest.files if name.startswith(TOKENIZER)]
    tokenizer = load_tokenizer(files[0].parent) if files else None
    told = json.loads(cache.path(VOCABULARY).read_bytes())
    return Vocabulary.read(told, tokenizer)


def _nearest(description: Any, key: str, told: Mapping[str, Any]) -> Any:
    """What the cache says of what is told; of several texts the one with the same content, or the first."""
    said = getattr(description, key)
    if key == "text":
        sources = said.get("sources") or [{}]
        same = [one for one in sources if one.get("sha256") == told["text"].get("sha256")]
        said = (same or sources)[0]
    return {name: said.get(name) for name in told[key]}
