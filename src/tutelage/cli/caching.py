"""The verbs of `tutelage cache`: a teacher on disk is built, looked at, verified, imported."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from typing import Annotated, Any

import typer

from tutelage.errors import TutelageError
from tutelage.recipes import find, load

cache = typer.Typer(
    name="cache",
    help="A teacher on disk: what it says about a text is kept once and read by every run.",
    no_args_is_help=False,
    rich_markup_mode=None,
)

RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or a name of the library.")]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes of the recipe, such as samples.max_rows=100."),
]
Place = Annotated[
    str, typer.Argument(metavar="PLACE", help="Folder of a cache, or an address such as s3://bucket/name.")
]
Out = Annotated[
    str, typer.Option("--out", help="Where the cache goes: a folder, or an address such as s3://bucket/name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


class Kind(StrEnum):
    """How much of a distribution is kept."""

    hidden = "hidden"
    top_k = "top_k"
    sampled = "sampled"


class Precision(StrEnum):
    """Floating-point type of what is kept."""

    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"


class Format(StrEnum):
    """What wrote the files that are imported."""

    axolotl = "axolotl"
    distillkit = "distillkit"


@cache.command()
def build(
    recipe: RecipeFile,
    out: Out,
    changes: Changes = None,
    kind: Annotated[
        Kind, typer.Option(help="hidden: all tokens; top_k: k and the rest; sampled: drawn ones.")
    ] = Kind.hidden,
    k: Annotated[int | None, typer.Option(help="Kept tokens of `top_k`; 64 unless told.")] = None,
    draws: Annotated[int | None, typer.Option(help="Drawn tokens of `sampled`; 50 unless told.")] = None,
    power: Annotated[
        float | None, typer.Option(help="`sampled` draws from the teacher's p to this power; 1 unless told.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="bfloat16 for `hidden`, float16 for the others, unless told.")
    ] = None,
    shard_tokens: Annotated[
        int, typer.Option(help="Counted tokens in a shard at most: the work that a kill can lose.")
    ] = 32_768,
    as_json: AsJson = False,
) -> None:
    """Run a recipe's teacher over its text once and keep what it says; the same command goes on."""
    options = _options(kind, k=k, draws=draws, power=power)
    read = load(recipe, changes or ())
    from tutelage.run import caching
    from tutelage.stores.payload import Form

    form = Form(kind.value, precision=None if precision is None else precision.value, **options)
    built = caching.build_cache(read, out, form, shard_tokens=shard_tokens)
    if os.environ.get("RANK", "0") == "0":
        _print(built, as_json)


@cache.command()
def verify(place: Place, as_json: AsJson = False) -> None:
    """Read a whole cache and compare every file with its hash; exit status 3 names what is damaged."""
    from tutelage.stores.verify import verify as verified

    found = verified(place)
    _print(found, as_json)
    raise typer.Exit(found.exit_status)


@cache.command()
def info(place: Place, as_json: AsJson = False) -> None:
    """What is in a cache: kind, rows, bytes per token, teacher, text, and how much is lost."""
    from tutelage.run import caching

    _print(caching.cache_info(place), as_json)


@cache.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A .jsonl or .parquet file, or a folder of them.")
    ],
    out: Out,
    format: Annotated[Format, typer.Option("--format", help="What wrote the files.")],
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="Gives the tokenizer, and which tokens of the text count."),
    ] = None,
    changes: Changes = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Instead of a recipe: folder or hub name of the teacher's tokenizer.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a cache of top-k lists that another tool wrote; nothing is computed anew."""
    if (recipe is None) == (tokenizer is None):
        raise TutelageError(
            "an import with " + ("neither a recipe nor `--tokenizer`" if recipe is None else "both"),
            expected="one of the two, to know what the token ids mean",
            fix="write the recipe behind SOURCE, or `--tokenizer FOLDER`",
        )
    read = None if recipe is None else load(recipe, changes or ())
    words = None if tokenizer is None else find(tokenizer)
    from tutelage.run import importing

    _print(importing.import_cache(find(source), out, format.value, recipe=read, tokenizer=words), as_json)


def _options(kind: Kind, **given: Any) -> dict[str, Any]:
    """The options that were given; one that means nothing for this kind is refused, not ignored."""
    own = {Kind.top_k: {"k"}, Kind.sampled: {"draws", "power"}}.get(kind, set())
    said = {name: value for name, value in given.items() if value is not None}
    for name in said:
        if name not in own:
            home = "top_k" if name == "k" else "sampled"
            raise TutelageError(
                f"`--{name}` for a cache of the kind `{kind.value}`",
                expected=f"`--{name}` with `--kind {home}` only",
                fix=f"leave it out, or write `--kind {home}`",
            )
    return said


def _print(result: Any, as_json: bool) -> None:
    print(
        json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        if as_json
        else result.text()
    )
