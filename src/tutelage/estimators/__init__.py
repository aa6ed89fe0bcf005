"""How an expectation over text becomes a gradient: one file an estimator, one line each in this table."""

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
