"""`tutelage plan RECIPE`: does this recipe fit, how long does it take, is its teacher worth it?"""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer

from tutelage.errors import OutOfRange
from tutelage.recipes import load

RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or a name of the library.")]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes of the recipe, such as training.max_steps=5."),
]
NoProbe = Annotated[
    bool, typer.Option("--no-probe", help="By shapes alone: nothing is loaded, nothing is run; no verdict.")
]
Limit = Annotated[
    str | None, typer.Option(help="Memory there is, such as 8GiB; the machine's unless told otherwise.")
]
Speed = Annotated[
    str | None, typer.Option(help="FLOP per second, for the time where `--no-probe` leaves it unmeasured.")
]
Price = Annotated[float | None, typer.Option(help="Price of the machine for an hour.")]
Law = Annotated[str | None, typer.Option(help="A file of `plan fit`: the law of this very text.")]
Pilot = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Steps on the text alone that the teacher has to beat; about 5 % of the run's, 10 to 100, "
        "unless told otherwise; 0 for none.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]

_BYTES = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([kKMGT]?)(i?)[Bb]?\s*")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def recipe(
    recipe: RecipeFile,
    changes: Changes = None,
    no_probe: NoProbe = False,
    memory_limit: Limit = None,
    flops_per_second: Speed = None,
    price_per_hour: Price = None,
    law: Law = None,
    pilot: Pilot = None,
    as_json: AsJson = False,
) -> None:
    """Does this recipe fit, how long does it take, is its teacher worth it? Exit status 3 says no."""
    read = load(recipe, changes or ())
    from tutelage.forecast import plan_recipe
    from tutelage.plans.lawfile import laws_named
    from tutelage.plans.units import number

    found = plan_recipe(
        read,
        trial=not no_probe,
        memory_limit=None if memory_limit is None else size(memory_limit),
        flops_per_second=None if flops_per_second is None else number(flops_per_second, "--flops-per-second"),
        price_per_hour=price_per_hour,
        laws=None if law is None else laws_named(law),
        pilot=pilot,
    )
    told = json.dumps(found.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    print(told if as_json else found.text())
    raise typer.Exit(found.exit_status)


def size(text: str) -> int:
    """Bytes of a size such as ``8GiB``, ``500MB`` or ``1000000``.

    Raises:
        OutOfRange: it is none.
    """
    found = _BYTES.fullmatch(text)
    if found is None:
        raise OutOfRange(
            f"the memory limit is {text!r}", expected="a number with a unit", fix="write for instance 8GiB"
        )
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** _POWERS[found[2].lower()])
