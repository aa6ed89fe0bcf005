"""Recipes and data files with one thing broken, drawn from a seed: the same on every machine."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

PLAIN: dict[str, Any] = {
    "out": "runs/first",
    "seed": 3,
    "student": {"config": {"model_type": "gpt2", "n_embd": 8}, "tokenizer": "models/teacher"},
    "teacher": {"kind": "mixture", "teachers": ["models/teacher", "models/teacher"], "weights": [1.0, 3.0]},
    "objective": [
        {"divergence": "jensen_shannon", "beta": 0.3, "weight": 0.9, "temperature": 2.0, "on": "dataset"},
        {"divergence": "cross_entropy", "weight": 0.1, "against": "gold"},
    ],
    "samples": {"kind": "dataset", "data": "data/train.jsonl", "max_length": 64, "shuffle": True},
    "estimator": {"kind": "per_token"},
    "constraint": {"kind": "none"},
    "training": {
        "learning_rate": 0.001,
        "max_steps": 5,
        "adam_beta1": 0.9,
        "bf16": False,
        "warmup_ratio": 0.1,
    },
    "evaluation": {"data": "data/train.jsonl", "max_rows": 3, "prompts": ["Once"]},
    "arms": {"sft": {"divergence": "cross_entropy"}, "long": {"training": {"max_steps": 9}}},
    "control": "sft",
}
"""A recipe in which nearly every key is said."""

NEEDED = ("out", "student", "samples")
FREE = ("config", "arms", "prompts", "prompt", "completion")
"""Below these a recipe may say anything (or nearly), so that a change there need not be a fault."""

Spot = tuple[Any, ...]


def spots(value: Any, path: Spot = ()) -> Iterator[Spot]:
    """The path of every value below ``value`` that is not free."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield (*path, key)
        if key not in FREE:
            yield from spots(item, (*path, key))


def parent_of(recipe: Any, path: Spot) -> Any:
    """The mapping or list that holds the value at ``path``."""
    for key in path[:-1]:
        recipe = recipe[key]
    return recipe


def misspelt(draw: random.Random, word: str) -> str:
    """The word with two slips, so that it is no other word by chance."""
    for _ in range(2):
        at = draw.randrange(len(word))
        word = draw.choice(
            [
                word[:at] + word[at + 1 :],
                word[:at] + draw.choice("zqxj") + word[at:],
                word[:at] + "_" + word[at:],
            ]
        )
    return word + "q"


def misspell_a_key(draw: random.Random, recipe: Any) -> str:
    path = draw.choice([path for path in spots(recipe) if isinstance(path[-1], str)])
    holder = parent_of(recipe, path)
    renamed = {misspelt(draw, key) if key == path[-1] else key: value for key, value in holder.items()}
    holder.clear()
    holder.update(renamed)
    return f"key {'.'.join(map(str, path))}"


def misspell_a_word(draw: random.Random, recipe: Any) -> str:
    words = [path for path in spots(recipe) if isinstance(value_at(recipe, path), str) and path[-1] != "out"]
    path = draw.choice(words)
    # Only behind the slash: with another owner it could be the name of a model on a hub.
    folder, slash, leaf = value_at(recipe, path).rpartition("/")
    parent_of(recipe, path)[path[-1]] = folder + slash + misspelt(draw, leaf)
    return f"word {'.'.join(map(str, path))}"


def take_another_type(draw: random.Random, recipe: Any) -> str:
    path = draw.choice(list(spots(recipe)))
    wrong = draw.choice([{"a": {"b": 1}}, [[1], [2]], "seven and a half", True, -7.5, [{"x": "y"}]])
    if wrong is True and isinstance(value_at(recipe, path), bool):
        wrong = "yes"
    if isinstance(wrong, str) and path in (("out",), ("control",)):
        wrong = 7.25
    parent_of(recipe, path)[path[-1]] = wrong
    return f"{wrong} at {'.'.join(map(str, path))}"


def leave_the_range(draw: random.Random, recipe: Any) -> str:
    path, values = draw.choice(
        [
            (("training", "learning_rate"), [0, -1, float("nan"), float("inf"), 10**400]),
            (("training", "max_steps"), [0, -2, 10**30]),
            (("training", "adam_beta1"), [1, -0.1, 7]),
            (("training", "warmup_ratio"), [1.5, -1]),
            (("training", "save_steps"), [0, -5]),
            (("objective", 0, "temperature"), [0, -1]),
            (("objective", 0, "weight"), [-1, float("nan")]),
            (("objective", 0, "beta"), [-0.1, 1.5, float("nan")]),
            (("samples", "max_length"), [1, 0, -64]),
            (("teacher", "weights"), [[-1, 2], [1, float("nan")]]),
            (("evaluation", "max_rows"), [0, -3]),
            (("seed",), [-1, 2**70]),
        ]
    )
    value = draw.choice(values)
    parent_of(recipe, path)[path[-1]] = value
    huge = not isinstance(value, list) and not abs(value) < 1e99
    return f"{'huge' if huge else value} at {'.'.join(map(str, path))}"


def take_a_key_away(draw: random.Random, recipe: Any) -> str:
    needed = [("out",), ("student",), ("samples",), ("samples", "kind"), ("samples", "data")]
    needed += [("teacher", "kind"), ("teacher", "teachers"), ("student", "tokenizer"), ("student", "config")]
    needed += [("evaluation", "data"), ("objective", 0, "divergence"), ("student", "config", "model_type")]
    path = draw.choice([*needed, ("teacher",), ("arms", "sft"), ("estimator", "kind")])
    del parent_of(recipe, path)[path[-1]]
    return f"no {'.'.join(map(str, path))}"


def add_what_is_known_elsewhere(draw: random.Random, recipe: Any) -> str:
    word = draw.choice(
        ["output_dir", "fp16", "optim", "lmbda", "deepspeed", "eval_strategy", "seed", "alpha"]
    )
    home = draw.choice(["training", "evaluation", "samples", "teacher"])
    recipe[home][word] = 1
    return f"{word} in {home}"


STRUCTURAL: tuple[Callable[[random.Random, Any], str], ...] = (
    misspell_a_key,
    misspell_a_word,
    take_another_type,
    leave_the_range,
    take_a_key_away,
    add_what_is_known_elsewhere,
)


def value_at(recipe: Any, path: Spot) -> Any:
    """The value at ``path``."""
    return parent_of(recipe, path)[path[-1]]


def broken_text(draw: random.Random, text: bytes) -> tuple[str, bytes]:
    """The text of a recipe broken below the level of its values."""
    lines = text.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    breaks: dict[str, Callable[[], bytes]] = {
        "a tab": lambda: b"".join([*lines[:at], b"\t" + lines[at], *lines[at + 1 :]]),
        "an open bracket": lambda: b"".join([*lines[:at], b"open: [1, 2\n", *lines[at:]]),
        "an open quote": lambda: b"".join([*lines[:at], b'open: "text\n', *lines[at:]]),
        "a tag": lambda: b"".join([*lines, b"extra: !!python/object/apply:os.system ['touch pwned']\n"]),
        "Latin-1": lambda: b"".join([*lines[:at], "# Käse\n".encode("latin-1"), *lines[at:]]),
        "a NUL byte": lambda: b"".join([*lines[:at], b"a: \x00\n", *lines[at:]]),
        "UTF-16": lambda: text.decode().encode("utf-16"),
        "a list": lambda: b"- a\n" * (at + 1),
        "two documents": lambda: text + b"---\n" + text,
        "a key twice": lambda: text + b"out: again\n",
        "an unknown alias": lambda: text + b"more: *nowhere\n",
        "nothing": lambda: b"\n" * at,
        "noise": lambda: draw.randbytes(200),
        "a deep list": lambda: text + b"deep: " + b"[" * (50 + 40 * at),
        "a merge": lambda: text + b"<<: {seed: 1}\n",
    }
    name = draw.choice(list(breaks))
    return name, breaks[name]()


def broken_recipes(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """``count`` recipes that cannot be used, each with what was done to it; three in four by value."""
    for number in range(count):
        draw = random.Random(f"{seed}:{number}")
        recipe = yaml.safe_load(yaml.safe_dump(PLAIN))
        if number % 4 == 3:
            done, content = broken_text(draw, yaml.safe_dump(recipe, sort_keys=False).encode())
        else:
            done = STRUCTURAL[draw.randrange(len(STRUCTURAL))](draw, recipe)
            content = yaml.safe_dump(recipe, sort_keys=False).encode()
        yield f"{number}: {done}", content


def _rows(count: int = 6) -> list[dict[str, str]]:
    return [{"prompt": f"Say {i}.", "completion": f"It is {i}, she said."} for i in range(count)]


def _jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _parquet(rows: list[dict[str, str]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def broken_data(seed: int = 0) -> Iterator[tuple[str, str, bytes]]:
    """Data files that cannot be used: what was done, the file's name and its content."""
    draw = random.Random(seed)
    good = _jsonl(_rows())
    packed = gzip.compress(good, mtime=0)
    table = _parquet(_rows())
    yield "nothing", "d.jsonl", b""
    yield "blank lines", "d.jsonl", b"\n\n  \n"
    yield "a row that is a list", "d.jsonl", good + b"[1, 2]\n"
    yield "a row that is a number", "d.jsonl", good + b"7\n"
    yield "columns that nobody knows", "d.jsonl", _jsonl([{"a": "b"}] * 3)
    yield "a prompt without completions", "d.jsonl", _jsonl([{"prompt": "b"}] * 3)
    yield "text that is a number", "d.jsonl", _jsonl([{"text": 7}] * 3)
    yield "text that is null", "d.jsonl", _jsonl([{"text": None}] * 3)
    yield "messages that are text", "d.jsonl", _jsonl([{"messages": "hello"}] * 3)
    yield "messages without roles", "d.jsonl", _jsonl([{"messages": [{"content": "hello"}]}] * 3)
    yield "Latin-1", "d.jsonl", '{"text": "Käse"}\n'.encode("latin-1")
    yield "UTF-16", "d.jsonl", good.decode().encode("utf-16")
    yield "NaN for a row", "d.jsonl", b"NaN\n"
    yield "a name without a kind", "d.words", good
    yield "an object instead of a list", "d.json", b'{"a": 1}'
    yield "an empty list", "d.json", b"[]"
    yield "a header alone", "d.csv", b"prompt,completion\n"
    yield "a row too long", "d.csv", b"text\nsome\nmore,and,more\n"
    yield "an open quote", "d.csv", b'text\n"some\nmore\n'
    yield "no text", "d.txt", b" \n\n"
    yield "bytes for text", "d.txt", b"\xff\xfe\xfa\x00" * 9
    yield "not packed", "d.jsonl.gz", good
    yield "packed nothing", "d.jsonl.gz", gzip.compress(b"")
    yield "not a table", "d.parquet", good
    yield "a table without rows", "d.parquet", _parquet(_rows(1)[:0] or [])
    for _ in range(10):
        cut = draw.randrange(1, len(good) - 1)
        if good[cut - 1] not in b"\n}":
            yield f"cut at {cut}", "d.jsonl", good[:cut]
    for _ in range(10):
        cut = draw.randrange(1, len(packed) - 1)
        yield f"packed and cut at {cut}", "d.jsonl.gz", packed[:cut]
    for _ in range(10):
        # Past the header, whose date nobody checks.
        at = draw.randrange(10, len(packed))
        flipped = bytes([packed[at] ^ (1 << draw.randrange(8))])
        yield f"a bit flipped at {at}", "d.jsonl.gz", packed[:at] + flipped + packed[at + 1 :]
    for _ in range(10):
        cut = draw.randrange(1, len(table) - 1)
        yield f"a table cut at {cut}", "d.parquet", table[:cut]
