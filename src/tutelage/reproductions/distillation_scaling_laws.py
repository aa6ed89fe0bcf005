"""Distillation scaling laws in miniature: models of a few thousand parameters on bytes of text.

Source: Busbridge et al. 2025, Distillation Scaling Laws, arXiv:2502.08606.
"""

from __future__ import annotations

from pathlib import Path

from tutelage.reproductions.parts import Column, Piece, Reproduction
from tutelage.reproductions.scaling_bed import SMOKE, TEN_MINUTES, Bed


def distillation_scaling_laws() -> Reproduction:
    """Both laws fitted to a real study of 45 runs, and held against runs that no fit saw."""
    return Reproduction(
        name="distillation-scaling-laws",
        paper="distillation-scaling-laws",
        about=(),
        pieces=pieces,
        claims=(),
        columns=(Column("loss_nats", "loss", 3, "cross-entropy on held-out text, nats per byte"),),
        planes=(),
        set_ups={"rate": "learning rates", "supervised": "s", "distilled": "d"},
    )


def pieces(folder: Path, seed: int, smoke: bool) -> list[Piece]:
    """Everything that is done for one seed."""
    bed = Bed(folder, seed, SMOKE if smoke else TEN_MINUTES)
    return [*bed.common(), *bed.supervised(), *bed.distilled()]
