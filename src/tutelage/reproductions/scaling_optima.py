"""What the compute-optimal points of somebody else's sweep can tell: how size and tokens grow with compute.

Twelve points of nanochat, four budgets under three ways of counting parameters. Each is the optimum of a
budget, so that tokens follow from sizes: they show the exponents a and b of ``N ~ C^a`` and ``D ~ C^b``, and
no more. The law itself is not identified (the tool refuses to fit them), and the losses are bits per byte,
which are no nats per token without the bytes of a token.

Data: `data/scaling/nanochat_optima.csv`, © Andrej Karpathy, MIT.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutelage.errors import TutelageError
from tutelage.plans.design import refuse_unidentified
from tutelage.plans.law import SupervisedLaw
from tutelage.plans.runs import Trained
from tutelage.reproductions.parts import Piece
from tutelage.reproductions.scaling_text import HOME as DOLLY

HOME = DOLLY.parent / "scaling" / "nanochat_optima.csv"
COUNTINGS = ("transformer_only", "kaplan", "all_params")
"""Ways of counting parameters, from fewest to most."""

COLUMNS = ("param_count", "flops", "params", "tokens", "val_bpb")


@dataclass(frozen=True)
class Slopes:
    """Straight lines through the logarithms of one way of counting.

    Attributes:
        a, b: of size and of tokens against compute.
        a_error, b_error: their standard errors, from the scatter about the line.
        refused: what the tool says when it is asked to fit a law to these points; empty if it would.
    """

    a: float
    b: float
    a_error: float
    b_error: float
    refused: str


def optimum_slopes(path: Path) -> dict[str, Slopes]:
    """The exponents of every way of counting parameters in the file.

    Raises:
        TutelageError: the file is not that table.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or set(COLUMNS) - set(rows[0]):
        raise TutelageError(
            f"{path}: no table of compute-optimal points",
            expected=f"the columns {', '.join(COLUMNS)}",
            fix="take data/scaling/nanochat_optima.csv",
        )
    found = {}
    for counting in dict.fromkeys(row["param_count"] for row in rows):
        some = [row for row in rows if row["param_count"] == counting]
        compute = np.log([float(row["flops"]) for row in some])
        a, a_error = _line(compute, np.log([float(row["params"]) for row in some]))
        b, b_error = _line(compute, np.log([float(row["tokens"]) for row in some]))
        found[counting] = Slopes(a, b, a_error, b_error, _refused(some))
    return found


def optima(little: bool) -> list[Piece]:
    """Every way of counting as a piece, the same for every seed; a smoke test has its own."""

    def numbers(counting: str) -> dict[str, float]:
        found = optimum_slopes(HOME)[counting]
        return {
            "exponent_of_size": found.a,
            "exponent_of_tokens": found.b,
            "size_error": found.a_error,
            "refused": float(bool(found.refused)),
        }

    return [
        Piece(
            f"optima/{counting}",
            f"four compute-optimal points of nanochat, parameters counted as {counting}",
            lambda counting=counting: numbers(counting),
            {"counting": counting, "little": little},
            shared=True,
        )
        for counting in COUNTINGS
    ]


def exponents(law: SupervisedLaw) -> tuple[float, float]:
    """a and b that a law implies where a token costs in proportion to the parameters."""
    return law.beta / (law.alpha + law.beta), law.alpha / (law.alpha + law.beta)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    slope, offset = np.polyfit(x, y, 1)
    scatter = np.sqrt(((y - slope * x - offset) ** 2).sum() / (len(x) - 2))
    return float(slope), float(scatter / np.sqrt(((x - x.mean()) ** 2).sum()))


def _refused(rows: list[dict[str, str]]) -> str:
    # Bits per byte stand in for a loss: what is refused is where the points lie, whatever they reached.
    runs = [
        Trained(f"point {i}", float(row["params"]), float(row["tokens"]), float(row["val_bpb"]))
        for i, row in enumerate(rows)
    ]
    try:
        refuse_unidentified(runs, 5)
    except TutelageError as error:
        return error.problem
    return ""
