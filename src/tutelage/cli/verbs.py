"""The verbs. What loads torch is imported inside a verb: help and mistakes must not wait for it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.cli import caching, evaluating, listing, planning, reproducing, serving
from tutelage.recipes import load

app = typer.Typer(
    name="tutelage",
    help="Distil machine-learning models: the teacher is a distribution.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or a name of the library.")]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes of the recipe, such as training.max_steps=5."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def _version(wanted: bool | None) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"tutelage {version('tutelage')}")
        raise typer.Exit


@app.callback()
def _tutelage(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Distil machine-learning models: the teacher is a distribution."""


@app.command()
def demo(
    out: Annotated[
        str, typer.Option(help="Folder of the run; a second demo goes on there.")
    ] = "tutelage-demo",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds each arm is run with.")] = 3,
) -> None:
    """Distil a small language model on real text, with control arms and a report; minutes, offline."""
    from tutelage import api, run

    folder = api.reported(run.demo(out, seeds=tuple(range(seeds))))
    if api.is_first_process():
        print(run.summary(folder))
        print(f"\nreport: {folder / 'report.html'}")


@app.command("run")
def run_(recipe: RecipeFile, changes: Changes = None) -> None:
    """Distil as a recipe says. The same command again goes on where it stopped."""
    read = load(recipe, changes or ())
    from tutelage import api, run

    folder = api.reported(run.distil(read, command=_typed()))
    if api.is_first_process():
        print(folder)


@app.command()
def check(
    recipe: RecipeFile,
    changes: Changes = None,
    conformance: Annotated[
        bool,
        typer.Option(
            "--conformance", help="Instead: do cache, server, hidden states, batching agree, in nats?"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Before anything is spent: same vocabulary, same template, does the teacher know more, does it fit?"""
    read = load(recipe, changes or ())
    result: Any
    if conformance:
        from tutelage.conformance import conform

        result = conform(read)
    else:
        from tutelage import run

        result = run.check(read)
    print(_json(result.to_json()) if as_json else result.text())
    raise typer.Exit(result.exit_status)


app.command()(evaluating.evaluate)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a run or a study.")],
) -> None:
    """Write report.html of a run again: one file that stands alone."""
    listing.run_folder(folder)
    from tutelage.report import write_report

    print(write_report(folder))


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A GGUF file, or smollm2-135m-instruct (from its package)."),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the model goes; must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Turn a GGUF checkpoint into a plain model folder, which recipes can name."""
    from tutelage import models

    result = models.import_model(source, folder)
    print(_json(result.to_json()) if as_json else result.text())


app.command()(serving.serve)


app.command()(reproducing.reproduce)


app.add_typer(caching.cache)


app.add_typer(planning.plan)


@app.command("list")
def list_(
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help="One table only, such as divergences.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What there is: teachers, divergences, samples, estimators, constraints, plans, recipes; or measures."""
    tables = listing.tables(family)
    print(_json(tables) if as_json else listing.as_text(tables))


@app.command()
def cite(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A paper, anything that `list` shows, or a run's folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Whom to cite, as BibTeX; without a name, every paper there is."""
    papers = listing.papers(name)
    print(_json(listing.papers_as_json(papers)) if as_json else listing.papers_as_text(papers, name))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def _typed() -> str:
    return shlex.join(["tutelage", *sys.argv[1:]])
