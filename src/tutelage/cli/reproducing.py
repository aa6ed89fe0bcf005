"""``tutelage reproduce``: a paper's claims in miniature. What loads torch is imported inside."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.cli.listing import as_text

DOCS = Path("docs")


def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A reproduction; without one they are listed.")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="The same path in at most a minute; it proves nothing.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="The longer version, of a reproduction that has one: NAME-full.json."),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="How many seeds; as many as it asks for, 1 of a smoke test."),
    ] = None,
    out: Annotated[
        str, typer.Option(help="Folder of NAME.json and of the work; the same again goes on there.")
    ] = "reproductions",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Hold a paper's claims against small models: all arms, several seeds, an honest verdict; minutes."""
    from tutelage.reproductions import TABLE

    if name is None:
        listed = [
            {"name": key, "summary": entry.summary, "paper": entry.paper, "module": entry.module}
            for key, entry in TABLE.items()
        ]
        print(_json(listed) if as_json else as_text({TABLE.family: listed}))
        return
    TABLE[name]
    from tutelage.reproductions import pages, running

    command = shlex.join(["tutelage", *sys.argv[1:]])
    count = 1 if smoke and seeds is None else seeds
    wanted = None if count is None else range(count)
    path = running.reproduce(name, Path(out), seeds=wanted, smoke=smoke, full=full, command=command)
    if not smoke and Path(out) == Path("reproductions"):
        pages.write_pages(DOCS, Path(out))
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    print(_json(record) if as_json else f"{pages.as_text(record)}\n\n{path}")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
