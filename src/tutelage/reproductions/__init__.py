"""Papers' claims in miniature: one file a paper, one line each in this table.

A reproduction is made of pieces (a language, a teacher, an arm, ...) that are done for every seed, and of
claims that are held against their numbers; see `tutelage.reproductions.parts`. How it is run and resumed is
in `tutelage.reproductions.running`.
"""

from typing import Any

from tutelage.registry import Entry, Table

TABLE = Table(
    "reproductions",
    {
        "minillm": Entry("tutelage.reproductions.minillm:minillm", paper="minillm"),
        "f-distill": Entry("tutelage.reproductions.f_distill:f_distill", paper="f-distill"),
        "delta-kd": Entry("tutelage.reproductions.delta_kd:delta_kd", paper="delta-kd"),
        "taid": Entry("tutelage.reproductions.taid:taid", paper="taid"),
        "distillation-scaling-laws": Entry(
            "tutelage.reproductions.distillation_scaling_laws:distillation_scaling_laws",
            paper="distillation-scaling-laws",
        ),
    },
)


def __getattr__(name: str) -> Any:
    return TABLE.attribute(__name__, name)


def __dir__() -> list[str]:
    return ["TABLE", *(entry.attribute for entry in TABLE.values())]
