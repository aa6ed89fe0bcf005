"""On whose text a student is taught: one file a source, one line each in this table."""

from typing import Any

from tutelage.registry import Entry, Table

TABLE = Table(
    "samples",
    {
        "dataset": Entry("tutelage.samples.dataset:DatasetSamples", writers=frozenset({"dataset"})),
        "student": Entry(
            "tutelage.samples.student:StudentSamples",
            writers=frozenset({"dataset", "student"}),
            paper="gkd",
        ),
        "teacher": Entry(
            "tutelage.samples.teacher:TeacherSamples", writers=frozenset({"teacher"}), paper="seqkd"
        ),
        "mixture": Entry(
            "tutelage.samples.mixture:MixtureSamples",
            writers=frozenset({"dataset", "teacher", "student"}),
            paper="f-distill",
        ),
        "replay": Entry(
            "tutelage.samples.replay:ReplaySamples",
            writers=frozenset({"dataset", "student"}),
            paper="distillm",
        ),
    },
)


def __getattr__(name: str) -> Any:
    return TABLE.attribute(__name__, name)


def __dir__() -> list[str]:
    return ["TABLE", *(entry.attribute for entry in TABLE.values())]
