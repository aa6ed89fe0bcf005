"""What the paper prints and what its laws give: plain arithmetic, no model and no run.

Every row holds numbers of the paper against the same numbers from coefficients, once from table 6 as it is
printed and once from `reconciled`, whose B' is not published. Some were read off figures (about 0.005 nats).

Source: Busbridge et al. 2025, arXiv:2502.08606, tables 6 and 13, figures 6 to 8, appendix D.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.plans.flops import Family, published_shape
from tutelage.plans.law import Laws
from tutelage.plans.published import published
from tutelage.reproductions.parts import Piece

SETS = ("reconciled", "table6")
LAYERS = (8, 14, 21, 34, 40)
"""Of the paper's models of 103M, 546M, 1.82B, 7.75B and 12.6B."""

SIZES = (3e8, 1e9, 3e9, 1e10)
GRID = 4001


@dataclass(frozen=True)
class Row:
    """Numbers of one kind.

    Attributes:
        name: of the arm.
        what: they are, and where they stand.
        printed: the paper's.
        ours: the same from a set of laws.
        allowed: largest difference that counts as the same.
        relative: whether differences are shares of what is printed.
    """

    name: str
    what: str
    printed: Sequence[float]
    ours: Callable[[Laws], Sequence[float]]
    allowed: float
    relative: bool = False

    def off(self, laws: Laws) -> float:
        """Largest difference from what is printed."""
        printed, ours = np.asarray(self.printed), np.asarray(self.ours(laws))
        return float(np.abs(ours / printed - 1 if self.relative else ours - printed).max())

    def numbers(self) -> Mapping[str, float]:
        """Of the arm."""
        off = {f"off_{name}": self.off(published(name)) for name in SETS}
        return {"values": float(len(self.printed)), "allowed": self.allowed, **off}


def arithmetic(little: bool) -> list[Piece]:
    """Every row as a piece, the same for every seed; a smoke test has its own."""
    return [
        Piece(
            f"printed/{row.name}",
            row.what,
            row.numbers,
            {"printed": list(row.printed), "allowed": row.allowed, "little": little},
            shared=True,
        )
        for row in ROWS
    ]


def best_teacher(laws: Laws, size: float, tokens: float) -> tuple[float, float]:
    """Loss of the best teacher for a student, and of that student, nats per token."""
    alone = float(laws.supervised.loss(size, tokens))
    low, high = laws.supervised.E * (1 + 1e-9), 1.5 * alone
    for _ in range(2):
        # The curve has one lowest point; a second and third grid lie between its neighbours in the first.
        teachers = np.geomspace(low, high, GRID)
        at = int(laws.student_loss(size, tokens, teachers).argmin())
        low, high = float(teachers[max(at - 1, 0)]), float(teachers[min(at + 1, GRID - 1)])
    teachers = np.geomspace(low, high, GRID)
    losses = laws.student_loss(size, tokens, teachers)
    return float(teachers[losses.argmin()]), float(losses.min())


def bought(size: float, budget: float) -> float:
    """Tokens that a budget of FLOP trains a size on."""
    return budget / (3 * Family().flops(size))


def stops_helping(laws: Laws, size: float, teacher: float) -> float:
    """Tokens from which on a student learns more from text than from a teacher of 20 tokens a parameter."""
    tokens = np.geomspace(2e9, 1e13, GRID)
    told = float(laws.supervised.loss(teacher, 20 * teacher))
    ahead = laws.student_loss(size, tokens, told) < laws.supervised.loss(size, tokens)
    return float(tokens[ahead][-1])


def _sums(laws: Laws) -> list[float]:
    alone, taught = laws.supervised, laws.distillation
    assert taught is not None
    return [
        alone.beta / (alone.alpha + alone.beta),
        alone.alpha / (alone.alpha + alone.beta),
        taught.beta / (taught.alpha + taught.beta),
        taught.alpha / (taught.alpha + taught.beta),
    ]


def _twice_the_size(_: Laws) -> list[float]:
    shapes = [published_shape(layers) for layers in (8, 14, 21, 40)]
    return [100 * (2 * one.parameters / one.forward_flops_with_softmax - 1) for one in shapes]


ROWS = (
    Row("shares", "a, b, a', b' (table 6)", (0.513, 0.486, 0.664, 0.335), _sums, 0.0015),
    Row(
        "flops",
        "forward GFLOP a token of five models (table 13)",
        (0.3398, 1.415, 4.28, 16.99, 27.23),
        lambda _: [published_shape(layers).forward_flops / 1e9 for layers in LAYERS],
        0.0005,
        relative=True,
    ),
    Row(
        "twice_the_size",
        "error of 2N against the full count, per cent (table 13)",
        (-39.74, -22.96, -14.99, -7.42),
        _twice_the_size,
        0.02,
    ),
    Row(
        "stored",
        "all parameters of 103M and 12.6B, billions (table 13)",
        (0.1363, 12.78),
        lambda _: [published_shape(layers).total_parameters / 1e9 for layers in (8, 40)],
        0.001,
        relative=True,
    ),
    Row(
        "alone",
        "loss without a teacher at 1e21 FLOP, 300M to 10B (read off figure 8), nats",
        (2.358, 2.216, 2.171, 2.224),
        lambda laws: [float(laws.supervised.loss(size, bought(size, 1e21))) for size in SIZES],
        0.008,
    ),
    Row(
        "best_case",
        "loss with the best teacher at 1e21 FLOP, 300M to 10B (read off figure 8), nats",
        (2.336, 2.194, 2.122, 2.107),
        lambda laws: [best_teacher(laws, size, bought(size, 1e21))[1] for size in SIZES],
        0.008,
    ),
    Row(
        "best_case_10B",
        "the same of 10B at 3.16e20, 1e22 and 1e23 FLOP (read off figure 8), nats",
        (2.258, 1.936, 1.844),
        lambda laws: [best_teacher(laws, 1e10, bought(1e10, budget))[1] for budget in (3.16e20, 1e22, 1e23)],
        0.008,
    ),
    Row(
        "best_teacher",
        "loss of the best teacher of 1B, 10B and 100B on 250B to 16T tokens (read off figure 7), nats",
        (2.0, 1.705, 1.28, 1.975, 1.70, 1.285, 1.965, 1.69, 1.36, 1.955, 1.68, 1.43),
        lambda laws: [
            best_teacher(laws, size, tokens)[0]
            for tokens in (2.5e11, 1e12, 4e12, 1.6e13)
            for size in (1e9, 1e10, 1e11)
        ],
        0.017,
    ),
    Row(
        "stops_helping",
        "tokens where a teacher of 4.82B or 7.75B stops helping 10B (read off figure 6), log of the ratio",
        (float(np.log(35e9)), float(np.log(56e9))),
        lambda laws: [float(np.log(stops_helping(laws, 1e10, teacher))) for teacher in (4.82e9, 7.75e9)],
        float(np.log(1.4)),
    ),
)
