"""Where a teacher's distribution comes from: one file a kind, one line each in this table."""

from typing import Any

from tutelage.registry import Entry, Table

TABLE = Table(
    "teachers",
    {
        "model": Entry("tutelage.teachers.model:ModelTeacher"),
        "mixture": Entry("tutelage.teachers.mixture:MixtureTeacher"),
        "interpolated": Entry("tutelage.teachers.interpolated:InterpolatedTeacher", paper="taid"),
        "cached": Entry("tutelage.teachers.cached:CachedTeacher"),
        "delta": Entry("tutelage.teachers.delta:DeltaTeacher", paper="delta-kd"),
        "server": Entry("tutelage.teachers.server:ServerTeacher"),
        "self": Entry("tutelage.teachers.self:SelfTeacher", paper="mean-teacher"),
    },
)


def __getattr__(name: str) -> Any:
    return TABLE.attribute(__name__, name)


def __dir__() -> list[str]:
    return ["TABLE", *(entry.attribute for entry in TABLE.values())]
