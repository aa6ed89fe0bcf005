"""f-DISTILL in miniature: four divergences between whole texts, each on the text that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.reproductions.claims import Claim, Margin, Numbers, at_least, between, less, within
from tutelage.reproductions.minillm import FIRST_RATES
from tutelage.reproductions.parts import Column, Piece, Plane, Reproduction
from tutelage.reproductions.testbed import LANGUAGE, SMOKE, WHOLE, Arm, Bed, SetUp

A = SetUp("A", modes=6, layers=1, width=24, warm_steps=500, steps=250)
B = SetUp("B", modes=6, layers=2, width=40, warm_steps=900, steps=300)
C = SetUp("C", modes=1, layers=1, width=24, warm_steps=500, steps=250)

PROMPTS = {"data": f"{LANGUAGE}/data.jsonl", "max_length": 32, "max_new_tokens": 24}
STORED = {"max_rows": 4000, "store": f"{LANGUAGE}/written"}
OWN = {"kind": "student", **PROMPTS}
TEACHERS = {"kind": "teacher", **PROMPTS, **STORED}
HALVES = {"kind": "mixture", "teacher": 0.5, "student": 0.5, **PROMPTS, **STORED}
FRESH = {key: value for key, value in HALVES.items() if key != "store"} | {"copies": 6}
"""New text of the teacher at every step: no prompt gets a text of his that it had before."""


def half(divergence: str, writer: str, **options: Any) -> dict[str, Any]:
    """Half of the loss, on the rows of one writer."""
    return {"divergence": {"kind": divergence, **options}, "on": writer, "weight": 0.5}


JS = [half("skew_forward_kl", "teacher", skew=0.5), half("skew_reverse_kl", "student", skew=0.5)]
TVD = [half("total_variation", "teacher"), half("total_variation", "student")]
SEQKD = Arm(
    "seqkd",
    "cross-entropy on the teacher's text",
    {"objective": [{"divergence": "cross_entropy", "against": "gold", "on": "teacher"}], "samples": TEACHERS},
    needs=("kl",),
)
ENGINE = Arm(
    "engine",
    "how unlikely the teacher finds the student's text",
    {"objective": [{"divergence": "reverse_cross_entropy", "on": "student"}], "samples": OWN},
)
FOUR = (
    Arm(
        "kl",
        "forward KL on the teacher's text",
        {"objective": [{"divergence": "forward_kl", "on": "teacher"}], "samples": TEACHERS},
    ),
    Arm(
        "rkl",
        "reverse KL on the student's text",
        {"objective": [{"divergence": "reverse_kl", "on": "student"}], "samples": OWN},
    ),
    Arm(
        "js",
        "Jensen-Shannon, half on each writer's text",
        {"objective": JS, "samples": HALVES},
        rows=96,
        needs=("kl",),
    ),
    Arm(
        "tvd",
        "total variation, half on each writer's text",
        {"objective": TVD, "samples": HALVES},
        rows=96,
        needs=("kl",),
    ),
)
BESIDE = (
    Arm(
        "js_online",
        "Jensen-Shannon, new text of the teacher at every step",
        {"objective": JS, "samples": FRESH},
        rows=96,
    ),
    Arm(
        "js_exact",
        "Jensen-Shannon with the middle of whole texts",
        {"objective": JS, "samples": HALVES, "estimator": {"kind": "per_token", "middle": "exact"}},
        rows=96,
        needs=("kl",),
    ),
)


def f_distill() -> Reproduction:
    """f-DISTILL: KL covers, reverse KL seeks, symmetric divergences between; soft labels, stored text."""
    return Reproduction(
        name="f-distill",
        paper="f-distill",
        about=ABOUT,
        pieces=pieces,
        claims=(
            *(claim for same in zip(*map(claims, (A, B, C)), strict=True) for claim in same),
            *(claim for same in zip(*map(claims_of_six, (A, B)), strict=True) for claim in same),
            *claims_across(),
        ),
        columns=COLUMNS,
        planes=tuple(
            Plane(
                of.name,
                "coverage_risk",
                "likelihood_risk",
                f"Two risks, set-up {of.name}",
                "Down is text that the teacher finds likelier, left is more of what the teacher says.",
                beside=f"language-{of.modes}/teacher-2x64",
            )
            for of in (A, B, C)
        ),
        set_ups={
            "language-6": "the teacher beside itself, 6 modes a topic",
            "language-1": "the teacher beside itself, 1 mode a topic",
            "A": "6 modes a topic, a student of 1 layer of width 24, 250 steps",
            "B": "6 modes a topic, a student of 2 layers of width 40, 300 steps",
            "C": "1 mode a topic, the student of A, 250 steps",
        },
        notes=NOTES,
    )


def pieces(folder: Path, seed: int, smoke: bool) -> list[Piece]:
    """Everything that is done for one seed."""
    bed = Bed(folder, seed, SMOKE if smoke else WHOLE)
    return [
        bed.language(6),
        bed.language(1),
        bed.teacher(6),
        bed.teacher(1),
        *(bed.warm_start(of) for of in (B, A, C)),
        *bed.arms(B, (*FOUR, SEQKD, ENGINE)),
        *bed.arms(A, (*FOUR, SEQKD, ENGINE, *BESIDE)),
        *bed.arms(C, FOUR),
    ]


def claims(of: SetUp) -> tuple[Claim, ...]:
    """What is asked of every set-up."""
    kl, rkl, js, tvd = (f"{of.name}/{one}" for one in ("kl", "rkl", "js", "tvd"))
    symmetric, others = {"JS": js, "TVD": tvd}, {"KL": kl, "RKL": rkl}
    return (
        Claim(
            f"kl_covers_{of.name}",
            f"KL covers, reverse KL does not ({of.name})",
            "coverage risk of KL below that of RKL",
            {"coverage risk": less(kl, rkl, "coverage_risk")},
        ),
        Claim(
            f"between_{of.name}",
            f"JS and TVD lie between KL and RKL ({of.name})",
            "likelihood risk strictly between; coverage risk between or at most 1 % outside",
            {
                f"likelihood risk, {name}": between(it, kl, rkl, "likelihood_risk")
                for name, it in symmetric.items()
            }
            | {
                f"coverage risk, {name}": between(it, kl, rkl, "coverage_risk", outside=0.01)
                for name, it in symmetric.items()
            },
        ),
        Claim(
            f"symmetric_bounds_{of.name}",
            f"Symmetric beats asymmetric on a symmetric yardstick ({of.name})",
            "JS and TVD both below KL and RKL on the JS bound and on the TVD bound",
            {
                f"{shown} bound, {name} against {other}": less(it, that, f"{bound}_bound")
                for bound, shown in {"js": "JS", "tvd": "TVD"}.items()
                for name, it in symmetric.items()
                for other, that in others.items()
            },
        ),
        Claim(
            f"symmetric_quality_{of.name}",
            f"Symmetric beats asymmetric on the quality of texts ({of.name})",
            "validity of JS and TVD above that of KL and RKL",
            {
                f"{name} against {other}": less(that, it, "valid")
                for name, it in symmetric.items()
                for other, that in others.items()
            },
        ),
    )


def claims_of_six(of: SetUp) -> tuple[Claim, ...]:
    """What is asked of a language with many modes."""
    kl, rkl, seqkd, engine = (f"{of.name}/{one}" for one in ("kl", "rkl", "seqkd", "engine"))
    return (
        Claim(
            f"rkl_likelier_{of.name}",
            f"Texts of reverse KL are likelier where there are many modes ({of.name})",
            "likelihood risk of RKL below that of KL",
            {"likelihood risk": less(rkl, kl, "likelihood_risk")},
        ),
        Claim(
            f"soft_beats_hard_{of.name}",
            f"Soft labels beat hard ones ({of.name})",
            "KL better than SeqKD on both risks; RKL better than ENGINE on coverage risk and Dist-4",
            {
                "likelihood risk, KL against SeqKD": less(kl, seqkd, "likelihood_risk"),
                "coverage risk, KL against SeqKD": less(kl, seqkd, "coverage_risk"),
                "coverage risk, RKL against ENGINE": less(rkl, engine, "coverage_risk"),
                "Dist-4, RKL against ENGINE": less(engine, rkl, "dist_4"),
            },
        ),
    )


def claims_across() -> tuple[Claim, ...]:
    """What compares set-ups, or ways of running one."""
    return (
        Claim(
            "gap_grows",
            "The gap between KL and reverse KL grows with the number of modes",
            "difference of their coverage risks larger with 6 modes than with 1",
            {f"{of.name} against C": gap(of, C) for of in (A, B)},
        ),
        Claim(
            "kl_on_few_modes",
            "KL is to be preferred where there is one mode (C)",
            "validity and likelihood risk of KL no worse than those of RKL",
            {
                "validity": at_least("C/kl", "C/rkl", "valid"),
                "likelihood risk": at_least("C/rkl", "C/kl", "likelihood_risk"),
            },
        ),
        Claim(
            "stored_text",
            "Stored text of the teacher loses nothing against new text, and is faster (A)",
            "JS bound within one standard error of the difference; processor time of the online run longer",
            {
                "JS bound": within("A/js", "A/js_online", "js_bound"),
                "processor time": less("A/js", "A/js_online", "cpu_seconds"),
            },
            "The texts are stored already; a run draws nothing new from the teacher.",
        ),
        Claim(
            "exact_middle",
            "Not a claim of the paper: the exact middle of JS trains like the step-wise one (A)",
            "JS bound within one standard error of the difference",
            {"JS bound": within("A/js_exact", "A/js", "js_bound")},
        ),
    )


def gap(many: SetUp, few: SetUp) -> Margin:
    """By how much more the coverage risks of KL and RKL differ in one set-up than in another."""

    def between_them(of: SetUp, found: Numbers) -> float:
        risks: Mapping[str, float] = {
            one: found[f"{of.name}/{one}"]["coverage_risk"] for one in ("rkl", "kl")
        }
        return risks["rkl"] - risks["kl"]

    return lambda found: between_them(many, found) - between_them(few, found)


COLUMNS = (
    Column("likelihood_risk", "R_llh", 2, "nats per token of the student's text under the teacher"),
    Column("coverage_risk", "R_cvg", 2, "nats per token of the teacher's text under the student"),
    Column("js_bound", "JS bound", 2, "step-wise bound on the Jensen-Shannon divergence of texts, nats"),
    Column("tvd_bound", "TVD bound", 2, "step-wise bound on the total variation of texts"),
    Column("valid", "valid", 3, "share of texts that the language can say"),
    Column("length", "length", 1, "tokens of a text with its end"),
    Column("dist_4", "Dist-4", 3, "distinct 4-grams as a share of all"),
    Column("cpu_seconds", "CPU-s", 0, "processor seconds of training, text included"),
)
ABOUT = (
    """The language, teachers and students are those of [MiniLLM's reproduction](#minillm): 8 topics, sparse
Markov chains over 14 of 48 words, with 6 modes a topic or with 1. Every arm goes on from one warm start (half
cross-entropy, half word-level KD). Texts of the teacher are drawn once, 4,000 of them, and stored; the
student's are new at every step. A step has 48 rows of each writer that its loss asks for; each half is a mean
over its own tokens.""",
)
NOTES = (
    FIRST_RATES,
    "The learning rate falls to 0 along its cosine, where the plan said to a tenth.",
    """No single number ranks these students: validity alone crowns ENGINE, which says a handful of texts.
  Read both risks with Dist-4 beside them.""",
    "Not in reach at this scale: BLEU, ROUGE and learned metrics on real tasks, human evaluation.",
)
