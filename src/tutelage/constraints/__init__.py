"""What the weights must obey after a step: one file a constraint, one line each in this table."""

from typing import Any

from tutelage.registry import Entry, Table

TABLE = Table("constraints", {"none": Entry("tutelage.constraints.none:NoConstraint")})


def __getattr__(name: str) -> Any:
    return TABLE.attribute(__name__, name)


def __dir__() -> list[str]:
    return ["TABLE", *(entry.attribute for entry in TABLE.values())]
