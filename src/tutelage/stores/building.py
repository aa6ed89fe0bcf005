"""Write a cache: shard by shard, by one process or several, and from where a killed build left it.

What a shard holds is a function of the plan alone, and its name carries the hash of its content. So
nothing is ever replaced by something else, no lock is needed, and none can be left behind: each process
takes a shard that is not there yet, and two that happen to take the same one write the same file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import TutelageError
from tutelage.stores.cache import Cache
from tutelage.stores.index import Entry, Index
from tutelage.stores.manifest import (
    DESCRIPTION,
    INDEX,
    MANIFEST,
    SHARDS,
    Description,
    FileRecord,
    Manifest,
    read_description,
    read_manifest,
    shard_name,
    shard_number,
)
from tutelage.stores.places import Folder
from tutelage.stores.shards import write_shard


@dataclass(frozen=True)
class Plan:
    """What a cache will hold.

    Attributes:
        description: all that its content follows from.
        beside: content of the small files: vocabulary, tokenizer, output layer.
        shards: for every shard key and number of positions of its rows, in their order.
        recorded: for people: names of teacher and text, versions.
    """

    description: Description
    beside: Mapping[str, bytes]
    shards: Sequence[Sequence[tuple[bytes, int]]]
    recorded: Mapping[str, Any]

    @property
    def index(self) -> Index:
        """Where each row will be."""
        entries = []
        for number, rows in enumerate(self.shards):
            start = 0
            for row, (key, count) in enumerate(rows):
                entries.append(Entry(key, number, row, start, count))
                start += count
        return Index.of(entries)


def begun(folder: Folder, plan: Plan) -> Manifest | None:
    """Take a place for a plan, or go on with it; what is complete is given back, else None.

    Raises:
        TutelageError: the place holds another cache or somebody's files; nothing is touched.
    """
    there = folder.names()
    found = read_description(folder)
    if found is None and there:
        raise TutelageError(
            f"{folder.place}: is not empty and holds no cache",
            expected="a new or empty folder, or the place of a cache that this command began",
            fix="choose another place with `--out`; nothing in this one was touched",
        )
    if found is not None and found.identity != plan.description.identity:
        differ = plan.description.differences(found)
        raise TutelageError(
            f"{folder.place}: holds another cache ({'; '.join(differ[:4])})",
            expected="the place of a cache of this teacher, text and form, or a new one",
            fix="choose another place with `--out`, or remove this one",
        )
    if found is not None and MANIFEST in there:
        manifest = read_manifest(folder)
        cut = [name for name, file in manifest.files.items() if name in there and there[name] != file.bytes]
        for name in cut:
            folder.remove(name)
        if not cut and manifest.files.keys() <= there.keys():
            return manifest
        there = {name: size for name, size in there.items() if name not in cut}
    # The description first: it is what a second process, or the next try, recognises the place by.
    if found is None:
        folder.write(DESCRIPTION, plan.description.file())
    for name, content in plan.beside.items():
        if there.get(name) != len(content):
            folder.write(name, content)
    return None


def fill(
    folder: Folder,
    plan: Plan,
    make: Callable[[int], Mapping[str, Tensor]],
    *,
    share: tuple[int, int] = (0, 1),
    wrote: Callable[[int, int], None] = lambda shard, left: None,
) -> None:
    """Make the shards that are not there until all are, whoever made them.

    Args:
        folder: where.
        plan: of the cache.
        make: the tensors of a shard by its number; the same number always gives the same ones.
        share: which of how many processes this is, if that is known: each begins with its own shards.
        wrote: is told the number of a shard that this process wrote, and how many were left before it.
    """
    rank, processes = share
    chance = random.SystemRandom()
    while left := sorted(set(range(len(plan.shards))) - shards_of(folder).keys()):
        mine = [number for number in left if number % processes == rank]
        # At random: two processes that went in the same order would make every shard twice.
        number = chance.choice(mine or left)
        _put(folder, plan, number, make(number))
        wrote(number, len(left))


def pour(folder: Folder, plan: Plan, rows: Iterable[Mapping[str, Tensor]]) -> None:
    """Make the shards that are not there from rows that come one after the other, in the plan's order.

    Args:
        folder: where.
        plan: of the cache.
        rows: the tensors of every row of the plan.
    """
    there, coming = shards_of(folder), iter(rows)
    for number, shard in enumerate(plan.shards):
        taken = [next(coming) for _ in shard]
        if number not in there:
            tensors = {name: torch.cat([row[name] for row in taken]) for name in taken[0]}
            _put(folder, plan, number, tensors)


def _put(folder: Folder, plan: Plan, number: int, tensors: Mapping[str, Tensor]) -> None:
    keys, counts = [key for key, _ in plan.shards[number]], [count for _, count in plan.shards[number]]
    file = folder.workroom() / f"{number}.safetensors"
    sha256 = write_shard(file, tensors, keys, counts)
    folder.take(shard_name(number, sha256), file)


def shards_of(folder: Folder) -> dict[int, str]:
    """The shards that are there: names by number. Where machines disagree, the first by name."""
    names = sorted(name for name in folder.names() if name.startswith(SHARDS))
    found: dict[int, str] = {}
    for name in names:
        found.setdefault(shard_number(name), name)
    return found


def finish(folder: Folder, plan: Plan, measure: Callable[[Cache], Mapping[str, Any]]) -> Manifest:
    """Write the index, measure what the cache gives back, and write the manifest last.

    Args:
        folder: with all shards of the plan.
        plan: of the cache.
        measure: compares the open cache with its teacher; plain JSON values.
    """
    index = plan.index
    contents = {**plan.beside, DESCRIPTION: plan.description.file(), INDEX: index.file()}
    folder.write(INDEX, contents[INDEX])
    sizes = folder.names()
    files = {
        name: FileRecord(len(content), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    }
    for name in shards_of(folder).values():
        files[name] = FileRecord(sizes[name], name.rpartition("-")[2].removesuffix(".safetensors"))
    manifest = Manifest(
        plan.description.identity,
        rows=len(index),
        tokens=int(index.counts.sum()),
        files=dict(sorted(files.items())),
        recorded=plan.recorded,
    )
    manifest = dataclasses.replace(manifest, measured=measure(Cache(folder, manifest)))
    folder.write(MANIFEST, manifest.file())
    return manifest
