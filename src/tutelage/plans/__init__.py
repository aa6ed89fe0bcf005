"""What compute to spend: a question a line, and who answers it; arithmetic on a law, no model is loaded."""

from typing import Any

from tutelage.registry import Entry, Table

_PAPER = "distillation-scaling-laws"

TABLE = Table(
    "plans",
    {
        "student": Entry("tutelage.plans.answer:plan_student", paper=_PAPER),
        "teacher": Entry("tutelage.plans.choosing:plan_teacher", paper=_PAPER),
        "recipe": Entry("tutelage.forecast.planned:plan_recipe", paper=_PAPER),
        "fit": Entry("tutelage.plans.fitted:fit_runs", paper=_PAPER),
        "sweep": Entry("tutelage.plans.sweep:write_sweep", paper=_PAPER),
    },
)


def __getattr__(name: str) -> Any:
    return TABLE.attribute(__name__, name)


def __dir__() -> list[str]:
    return ["TABLE", *(entry.attribute for entry in TABLE.values())]
