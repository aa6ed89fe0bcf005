"""What the weights must obey after a step: one file a constraint, one line each in this table."""

from typing import Any

from tutelage.registry import Entry, Table

TABLE = Table("constraints", {"none": Entry("tutelage.constraints.none:NoConstraint")})


def __getattr__(name: str) -> Any:
    if name in TABLE:
        return TABLE.load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
