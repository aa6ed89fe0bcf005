"""On whose text a student is taught: one file a source, one line each in this table."""

from typing import Any

from tutelage.registry import Entry, Table

TABLE = Table("samples", {"dataset": Entry("tutelage.samples.dataset:DatasetSamples")})


def __getattr__(name: str) -> Any:
    if name in TABLE:
        return TABLE.load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
