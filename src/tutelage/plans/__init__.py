"""What compute to spend: one file a plan, one line each in this table. None exists yet."""

from typing import Any

from tutelage.registry import Table

TABLE = Table("plans", {})


def __getattr__(name: str) -> Any:
    if name in TABLE:
        return TABLE.load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
