"""The verbs of `tutelage plan`: what to spend, on which teacher, or "do not distil"."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from tutelage.cli import forecasting
from tutelage.cli.plan_options import (
    AsJson,
    Aspect,
    Budget,
    Context,
    Devices,
    DiskPrice,
    Divergence,
    Entries,
    EntryBytes,
    Epochs,
    ForwardFlops,
    Html,
    Law,
    LogitsShare,
    Mfu,
    Mixing,
    Peak,
    Price,
    Rows,
    Served,
    Size,
    Students,
    Target,
    TeacherMfu,
    Teachers,
    TeacherThroughput,
    TeacherTokens,
    Temperature,
    Throughput,
    Tokens,
    TopK,
    TrainingShare,
    Unique,
    Vocabulary,
    Who,
)
from tutelage.errors import nearest
from tutelage.recipes import library

RECIPE = "recipe"
"""The hidden command that a first word which is no verb is handed to."""


class PlanGroup(typer.core.TyperGroup):
    """A group in which a recipe may stand where a verb is expected."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb of a command line; a word that is none is a recipe, if recipes can be planned."""
        first = args[0] if args else ""
        # `standardised` is a recipe although it is spelt a little like `student`.
        known = "." in first or "/" in first or first in library()
        if first not in self.commands and (known or not nearest(first, self._verbs())):
            args = [RECIPE, *args]
        return super().resolve_command(ctx, args)

    def _verbs(self) -> list[str]:
        return [name for name in self.commands if name != RECIPE]


plan = typer.Typer(
    name="plan",
    cls=PlanGroup,
    help="Before anything is spent: distil or not, with which teacher, for how many tokens, at what cost. "
    "`tutelage plan RECIPE [KEY=VALUE]...`: does this recipe fit, how long does it take, is its teacher "
    "worth it? (`tutelage plan recipe --help`)",
    no_args_is_help=False,
    rich_markup_mode=None,
)


@plan.command()
def student(
    size: Size,
    budget: Budget = None,
    tokens: Tokens = None,
    unique_tokens: Unique = None,
    epochs: Epochs = None,
    teacher: Teachers = None,
    scenario: Who = None,
    students: Students = 1,
    rows_shared: Rows = False,
    logits_share: LogitsShare = None,
    training_share: TrainingShare = None,
    teacher_tokens: TeacherTokens = None,
    forward_flops: ForwardFlops = None,
    law: Law = "reconciled",
    context: Context = 4096,
    vocabulary: Vocabulary = 32768,
    aspect: Aspect = 128,
    target_loss: Target = None,
    served_tokens: Served = None,
    peak: Peak = None,
    mfu: Mfu = None,
    teacher_mfu: TeacherMfu = None,
    throughput: Throughput = None,
    teacher_throughput: TeacherThroughput = None,
    devices: Devices = 1,
    price_per_hour: Price = None,
    stored_entries: Entries = None,
    entry_bytes: EntryBytes = None,
    price_per_terabyte: DiskPrice = None,
    temperature: Temperature = 1,
    mixing: Mixing = 1,
    divergence: Divergence = "forward_kl",
    top_k: TopK = None,
    as_json: AsJson = False,
    html: Html = None,
) -> None:
    """Distil this student, or train it without a teacher? Exit status 3 says: without."""
    from tutelage.cli import asking

    problem = asking.problem(**_only(locals(), asking.PROBLEM))
    machine = asking.machine(**_only(locals(), asking.MACHINE))
    storage = asking.storage(stored_entries, entry_bytes, price_per_terabyte)
    from tutelage.plans.answer import plan_student

    found = plan_student(
        problem,
        target=asking.number(target_loss, "--target-loss"),
        served=asking.number(served_tokens, "--served-tokens"),
        rows=rows_shared,
        machine=machine,
        storage=storage,
        more=asking.cautions(**_only(locals(), asking.CAUTIONS)),
    )
    _answer(found, as_json, html)


@plan.command()
def teacher(
    size: Size,
    budget: Budget = None,
    tokens: Tokens = None,
    unique_tokens: Unique = None,
    epochs: Epochs = None,
    teacher: Teachers = None,
    scenario: Who = None,
    students: Students = 1,
    rows_shared: Rows = False,
    logits_share: LogitsShare = None,
    training_share: TrainingShare = None,
    teacher_tokens: TeacherTokens = None,
    forward_flops: ForwardFlops = None,
    law: Law = "reconciled",
    context: Context = 4096,
    vocabulary: Vocabulary = 32768,
    aspect: Aspect = 128,
    as_json: AsJson = False,
    html: Html = None,
) -> None:
    """How good a teacher does this student want, and which of yours? Exit status 3 says: none of them."""
    from tutelage.cli import asking

    told = _only(locals(), asking.PROBLEM)
    if not teacher and scenario is None:
        told["scenario"] = "free"
    problem = asking.problem(**told)
    from tutelage.plans.choosing import plan_teacher

    found = plan_teacher(problem, more=asking.cautions(epochs, unique_tokens))
    _answer(found, as_json, html)


@plan.command()
def fit(
    runs: Annotated[
        Path, typer.Argument(help="A CSV file (N, D, L; L_T where there was a teacher) or runs/.")
    ],
    law_out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the laws, for `--law`.")] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(help="A share, or names of runs and teachers with commas; else every run by turns."),
    ] = None,
    form: Annotated[str, typer.Option(help="Of the law with a teacher: full, reduced, or auto.")] = "auto",
    hold: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A coefficient that is not fitted, such as gamma=1."),
    ] = None,
    draws: Annotated[int, typer.Option(min=0, help="Resamples of the runs, for the bands.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of starts, resamples and shuffles.")] = 0,
    vocabulary: Annotated[int | None, typer.Option(min=2, help="Tokens of the runs' tokenizer.")] = None,
    as_json: AsJson = False,
    html: Html = None,
) -> None:
    """Both laws of your own runs, with bands and errors on runs not seen. Exit status 3: do not use them."""
    from tutelage.cli import asking
    from tutelage.plans.fitted import fit_runs

    found = fit_runs(
        runs,
        law_out=law_out,
        hold_out=asking.held_out(hold_out),
        form=form,  # type: ignore[arg-type]
        fixed=asking.coefficients(hold or []),
        draws=draws,
        seed=seed,
        vocabulary=vocabulary,
        command=" ".join(["tutelage", *sys.argv[1:]]),
    )
    _answer(found, as_json, html)


@plan.command()
def sweep(
    folder: Annotated[Path, typer.Argument(help="New folder of the study.")],
    text: Annotated[Path, typer.Option(help="Documents: .jsonl or .jsonl.gz with a `text` in each row.")],
    held_out: Annotated[str, typer.Option(help="Text that all runs are measured on.")],
    tokenizer: Annotated[str, typer.Option(help="Folder or hub name.")],
    layers: Annotated[str, typer.Option(help="Sizes, by their layers, such as 2,3,4,6.")],
    tokens: Annotated[str, typer.Option(help="Tokens that every size learns from, such as 5M,20M,80M.")],
    aspect: Annotated[int, typer.Option(min=1, help="Width of the models over their layers.")] = 64,
    head_size: Annotated[int, typer.Option(min=1, help="Width of an attention head.")] = 64,
    context: Annotated[int, typer.Option(min=2, help="Tokens of a row.")] = 512,
    vocabulary: Annotated[
        int | None, typer.Option(min=2, help="Tokens of the tokenizer; else counted in its folder.")
    ] = None,
    teachers: Annotated[int, typer.Option(help="How many of the models teach.")] = 3,
    students: Annotated[int, typer.Option(help="How many of the smallest sizes are taught.")] = 2,
    learning_rate: Annotated[float, typer.Option(help="Of the smallest size; by 1/width elsewhere.")] = 1e-3,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a step.")] = 8,
    held_out_rows: Annotated[int, typer.Option(min=1, help="Rows that are measured.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of every run.")] = 0,
    throughput: Annotated[str | None, typer.Option(help="FLOP per second of the machine, for hours.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the recipes of a scaling study of your own text, for `tutelage run` and then `plan fit`."""
    from tutelage.cli import asking
    from tutelage.plans.ladder import Ladder, vocabulary_of
    from tutelage.plans.sweep import write_sweep

    sizes = tuple(int(asking.units.number(one, "--layers")) for one in layers.split(","))
    known = vocabulary or vocabulary_of(tokenizer)
    found = write_sweep(
        folder,
        text=text,
        held_out=held_out,
        tokenizer=tokenizer,
        ladder=Ladder(sizes, aspect, head_size, context, known),
        tokens=[int(asking.units.number(one, "--tokens")) for one in tokens.split(",")],
        teachers=teachers,
        students=students,
        learning_rate=learning_rate,
        rows=rows,
        held_out_rows=held_out_rows,
        seed=seed,
        throughput=asking.number(throughput, "--throughput"),
    )
    _print(found, as_json)


@plan.command()
def laws(as_json: AsJson = False) -> None:
    """The published coefficients, with where they are from and what they cover."""
    from tutelage.cli import asking

    print(json.dumps(asking.laws_json(), indent=2, ensure_ascii=False) if as_json else asking.laws_text())


plan.command(RECIPE, hidden=True)(forecasting.recipe)


def _only(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Of everything that was typed, what one part of the question needs."""
    return {name: given[name] for name in names}


def _answer(found: Any, as_json: bool, html: Path | None) -> NoReturn:
    """Write the page of an answer if one was asked for, print the answer, and leave with its status."""
    try:
        if html is not None:
            from tutelage.report.plan_page import write_plan

            write_plan(found, html)
    finally:
        # A page that cannot be written must not cost the answer of a long fit; and a reader that closes the
        # pipe early, such as `head`, must not cost the page.
        _print(found, as_json)
    raise typer.Exit(found.exit_status)


def _print(result: Any, as_json: bool) -> None:
    said = json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    print(said if as_json else result.text())
