"""How an expectation over text becomes a gradient: one file an estimator, one line each in this table.

Each has ``suits(objective)``, which refuses what it cannot do, and ``terms(...)``, which says what the fused
evaluation is to compute. One that moves with a run may also have ``begun(steps)`` (the same at its
beginning), ``watches`` and ``watched(...)`` (names, and terms whose means it is told),
``stepped(step, seen)``, ``state_dict()`` with ``load_state_dict(state)``, and ``noted`` for
``metrics.jsonl``; ``tempers`` says that it brings a temperature of its own.
"""

from typing import Any

from tutelage.registry import Entry, Table

TABLE = Table(
    "estimators",
    {
        "per_token": Entry("tutelage.estimators.per_token:PerToken"),
        "curriculum_temperature": Entry(
            "tutelage.estimators.curriculum_temperature:CurriculumTemperature", paper="ctkd"
        ),
        "policy_gradient": Entry("tutelage.estimators.policy_gradient:PolicyGradient", paper="minillm"),
        "sampled_token": Entry("tutelage.estimators.sampled_token:SampledToken"),
    },
)


def __getattr__(name: str) -> Any:
    return TABLE.attribute(__name__, name)


def __dir__() -> list[str]:
    return ["TABLE", *(entry.attribute for entry in TABLE.values())]
