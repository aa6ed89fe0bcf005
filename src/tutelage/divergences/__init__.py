"""How a student is compared with a teacher: one file a divergence, one line each in this table.

Called as functions of natural-log probabilities ``(..., V)``, student first, they give nats ``(...)``:

>>> import torch
>>> from tutelage.divergences import forward_kl
>>> student = torch.tensor([0.5, 0.5]).log()
>>> teacher = torch.tensor([1.0, 0.0]).log()
>>> round(float(forward_kl(student, teacher)), 4)
0.6931

A file is not called like the function in it: Python would take the file for the function once it was
imported. Inside a run they are evaluated by `tutelage.divergences.fused`, slice by slice.
"""

import importlib
from typing import Any

from tutelage.registry import Entry, Table

# What an entry claims, and the suite in tests/laws holds it to.
PROPER = frozenset({"never_negative", "zero_at_equality", "exact_gradient", "relabelling"})
F_DIVERGENCE = PROPER | {"merging"}
# Value and slope are no larger than the teacher's probability times something: tokens drawn from it will do.
BY_TEACHER = frozenset({"bounded_by_teacher"})

TABLE = Table(
    "divergences",
    {
        "forward_kl": Entry(
            "tutelage.divergences.kl:forward_kl", paper="hinton", laws=F_DIVERGENCE | BY_TEACHER
        ),
        "reverse_kl": Entry("tutelage.divergences.kl:reverse_kl", paper="minillm", laws=F_DIVERGENCE),
        "jensen_shannon": Entry(
            "tutelage.divergences.js:jensen_shannon",
            paper="gkd",
            laws=F_DIVERGENCE | {"at_most_log_2", "symmetric"},
        ),
        "total_variation": Entry(
            "tutelage.divergences.tv:total_variation",
            paper="f-distill",
            laws=F_DIVERGENCE | {"at_most_one", "symmetric"},
        ),
        "skew_forward_kl": Entry(
            "tutelage.divergences.skew_kl:skew_forward_kl", paper="distillm", laws=F_DIVERGENCE | BY_TEACHER
        ),
        "skew_reverse_kl": Entry(
            "tutelage.divergences.skew_kl:skew_reverse_kl", paper="distillm", laws=F_DIVERGENCE
        ),
        "alpha_divergence": Entry(
            "tutelage.divergences.alpha:alpha_divergence",
            paper="alpha-divergence",
            laws=F_DIVERGENCE,
        ),
        "decoupled": Entry("tutelage.divergences.dkd:decoupled", paper="dkd", laws=PROPER),
        "adaptive_kl": Entry("tutelage.divergences.akl:adaptive_kl", paper="akl", laws=PROPER),
        "top1_cross_entropy": Entry(
            "tutelage.divergences.top1:top1_cross_entropy",
            paper="hinton",
            laws=frozenset({"never_negative", "exact_gradient", "relabelling"}),
        ),
        "cross_entropy": Entry(
            "tutelage.divergences.ce:cross_entropy",
            laws=frozenset({"never_negative", "exact_gradient", "relabelling"}) | BY_TEACHER,
            against="gold",
        ),
        "reverse_cross_entropy": Entry(
            "tutelage.divergences.ce:reverse_cross_entropy",
            paper="engine",
            laws=frozenset({"never_negative", "exact_gradient", "relabelling"}),
        ),
        "top1_agreement": Entry(
            "tutelage.divergences.agreement:top1_agreement",
            laws=frozenset({"relabelling"}),
            trains=False,
        ),
    },
)


def __getattr__(name: str) -> Any:
    if name == "loss":
        return importlib.import_module("tutelage.divergences.fused").loss
    return TABLE.attribute(__name__, name)


def __dir__() -> list[str]:
    return [*TABLE, "TABLE", "loss"]
