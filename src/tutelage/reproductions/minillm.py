"""MiniLLM in miniature: reverse KL on the student's own text, and what each of its tricks prevents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutelage.reproductions.claims import Claim, Margin, Numbers, less
from tutelage.reproductions.parts import Column, Piece, Plane, Reproduction
from tutelage.reproductions.testbed import LANGUAGE, SMOKE, TEACHER, WHOLE, Arm, Bed, SetUp, dataset

STRONG = SetUp("strong", modes=6, layers=2, width=40, warm_steps=900, steps=300)
WEAK = SetUp("weak", modes=6, layers=1, width=24, warm_steps=500, steps=250)
TEACHERS = ((1, 64), (2, 64), (2, 96))
"""Layers and width of three teachers; the last is the one that students of all three are held against."""

PROMPTS = {"data": f"{LANGUAGE}/data.jsonl", "max_length": 32, "max_new_tokens": 24}
OWN = {"kind": "student", **PROMPTS}
MIXED = OWN | {"teacher_tokens": 0.2, "inner_epochs": 4}
TEACHERS_TEXT = {"kind": "teacher", "max_rows": 4000, "store": f"{LANGUAGE}/written", **PROMPTS}
REVERSE = [{"divergence": "reverse_kl", "on": "student"}]
GOLD = [{"divergence": "cross_entropy", "against": "gold"}]


def gradient(**changes: Any) -> dict[str, Any]:
    """MiniLLM's estimator with everything on, as changed."""
    return {"kind": "policy_gradient", "clip": 0.2, "reading": "ppo", "length_normalised": True} | changes


def own_text(samples: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Reverse KL on the student's own text by policy gradient."""
    return {"objective": REVERSE, "samples": samples, "estimator": gradient(**changes)}


TRICKS = (
    Arm("minillm", "MiniLLM: single and long part, all tricks", own_text(MIXED)),
    Arm("no_length_normalisation", "without length normalisation", own_text(MIXED, length_normalised=False)),
    Arm(
        "no_teacher_mixing", "without the teacher in the sampling", own_text(MIXED | {"teacher_tokens": 0.0})
    ),
    Arm(
        "no_single_step",
        "without the single part: returns of drawn tokens alone",
        own_text(MIXED, single=False),
    ),
)
CONTROLS = (
    Arm("sft", "cross-entropy on the language's text", {"objective": GOLD, "samples": dataset()}),
    Arm("kd", "word-level KD on the language's text", {"divergence": "forward_kl", "samples": dataset()}),
    Arm("seqkd", "cross-entropy on the teacher's text", {"objective": GOLD, "samples": TEACHERS_TEXT}),
)
SINGLE = (
    Arm(
        "single_part",
        "the single part alone, on the same text as MiniLLM",
        {"objective": REVERSE, "samples": MIXED},
    ),
)
FURTHER = (
    Arm(
        "soft_kl",
        "word-level KD on the teacher's text",
        {"divergence": "forward_kl", "samples": TEACHERS_TEXT},
    ),
    Arm(
        "single_part_fresh",
        "the single part alone, new text at every step (four times as much)",
        {"objective": REVERSE, "samples": OWN},
    ),
)
SIZES = tuple(
    Arm(
        f"taught_by_{layers}x{width}",
        f"MiniLLM, its teacher has {layers} layers of width {width}",
        own_text(MIXED),
        teacher=(layers, width),
        same_as="strong/minillm" if (layers, width) == TEACHER else "",
    )
    for layers, width in TEACHERS
)


def minillm() -> Reproduction:
    """MiniLLM: on-policy reverse KL, mode seeking, exposure bias, and what each trick prevents."""
    return Reproduction(
        name="minillm",
        paper="minillm",
        about=ABOUT,
        pieces=pieces,
        claims=(
            *(claim for same in zip(claims(STRONG, 0.85), claims(WEAK, 0.5), strict=True) for claim in same),
            larger_teacher(),
        ),
        columns=COLUMNS,
        planes=tuple(
            Plane(
                of.name,
                "coverage_risk",
                "likelihood_risk",
                f"Two risks, {of.name} student",
                "Down is text that the teacher finds likelier, left is more of what the teacher says.",
                beside="language-6/teacher-2x64",
            )
            for of in (STRONG, WEAK)
        ),
        set_ups={
            "language-6": "teachers beside themselves",
            "strong": "a student of 2 layers of width 40, 300 steps",
            "weak": "a student of 1 layer of width 24, 250 steps",
            "sizes": "the strong student taught by three teachers, held against the largest",
        },
        notes=NOTES,
    )


def pieces(folder: Path, seed: int, smoke: bool) -> list[Piece]:
    """Everything that is done for one seed."""
    bed = Bed(folder, seed, SMOKE if smoke else WHOLE)
    sizes = SetUp("sizes", STRONG.modes, STRONG.layers, STRONG.width, STRONG.warm_steps, STRONG.steps)
    return [
        bed.language(6),
        bed.teacher(6),
        bed.warm_start(STRONG),
        bed.warm_start(WEAK),
        *(bed.teacher(6, size) for size in TEACHERS if size != TEACHER),
        *bed.arms(STRONG, (*CONTROLS, *FURTHER, *SINGLE, *TRICKS)),
        *bed.arms(WEAK, (*CONTROLS, *SINGLE, *TRICKS)),
        *bed.arms(sizes, SIZES, measured_by=TEACHERS[-1], start=STRONG.name),
    ]


def claims(of: SetUp, shorter: float) -> tuple[Claim, ...]:
    """What is asked of each student.

    Args:
        of: the set-up.
        shorter: without length normalisation texts are shorter than this share of those with it.
    """
    return *claims_against_controls(of), *claims_of_tricks(of, shorter)


def claims_against_controls(of: SetUp) -> tuple[Claim, ...]:
    """MiniLLM beside SFT, KD and SeqKD."""
    name, ours = of.name, f"{of.name}/minillm"
    baselines = {one: f"{name}/{one}" for one in ("kd", "seqkd")}
    every = {"sft": f"{name}/sft", **baselines}
    return (
        Claim(
            f"likelier_text_{name}",
            f"The student's text is likelier under the teacher than with KD and SeqKD ({name} student)",
            "likelihood risk and validity better than both by more than 3 standard errors",
            {
                f"likelihood risk, {one}": less(ours, it, "likelihood_risk", errors=3.0)
                for one, it in baselines.items()
            }
            | {f"validity, {one}": less(it, ours, "valid", errors=3.0) for one, it in baselines.items()},
        ),
        Claim(
            f"mode_seeking_{name}",
            f"It seeks modes: at the same time it covers less ({name} student)",
            "coverage risk higher than with KD and SeqKD",
            {f"coverage risk, {one}": less(it, ours, "coverage_risk") for one, it in baselines.items()},
        ),
        Claim(
            f"exposure_bias_{name}",
            f"Exposure bias is lower ({name} student)",
            "ExAccErr over live sequences lower than with SFT, KD and SeqKD at lengths 10, 12, 14 and 16",
            {
                f"at {length}, {one}": less(ours, it, f"exposure_{length}")
                for one, it in every.items()
                for length in (10, 12, 14, 16)
            },
        ),
        Claim(
            f"diversity_{name}",
            f"Diversity is kept ({name} student)",
            "Dist-4 at least 98 % of that of SFT",
            {"Dist-4": less(every["sft"], ours, "dist_4", share=1 / 0.98)},
        ),
    )


def claims_of_tricks(of: SetUp, shorter: float) -> tuple[Claim, ...]:
    """MiniLLM beside itself without one of its parts."""
    name, ours = of.name, f"{of.name}/minillm"
    single, unnormalised, unmixed, sampled = (
        f"{name}/{one}"
        for one in ("single_part", "no_length_normalisation", "no_teacher_mixing", "no_single_step")
    )
    return (
        Claim(
            f"length_normalisation_{name}",
            f"Length normalisation prevents short texts ({name} student)",
            f"without it mean length below {100 * shorter:.0f} % of that with it, and validity lower",
            {
                "length": less(unnormalised, ours, "length", share=shorter),
                "validity": less(unnormalised, ours, "valid"),
            },
        ),
        Claim(
            f"teacher_mixing_{name}",
            f"The teacher in the sampling prevents degenerate texts ({name} student)",
            "without it Dist-4 lower and coverage risk higher",
            {
                "Dist-4": less(unmixed, ours, "dist_4"),
                "coverage risk": less(ours, unmixed, "coverage_risk"),
            },
            "The paper also sees quality fall; the validity of both arms stands in the table.",
        ),
        Claim(
            f"single_step_{name}",
            f"The single-step decomposition helps ({name} student)",
            "without it the reverse KL of sequences is higher after as many steps",
            {"sequence reverse KL": less(ours, sampled, "sequence_reverse_kl")},
            "That its one-sample variance is lower is exact on enumerable toys, and a test of the estimator.",
        ),
        Claim(
            f"long_part_{name}",
            f"The long part adds quality over the single part alone ({name} student)",
            "validity or likelihood risk better than with the single part alone on as much new text",
            {
                "validity or likelihood risk": either(
                    less(single, ours, "valid"), less(ours, single, "likelihood_risk")
                )
            },
            "The margin is the larger of the two: of a share, and of nats per token.",
        ),
    )


def larger_teacher() -> Claim:
    """Of three teachers the largest teaches best."""
    small, middle, large = (f"sizes/{arm.name}" for arm in SIZES)
    return Claim(
        "larger_teacher",
        "A larger teacher makes a better student (strong student)",
        "likelihood risk under the largest of three teachers falls with the size of the one that taught",
        {
            "smallest against middle": less(middle, small, "likelihood_risk"),
            "middle against largest": less(large, middle, "likelihood_risk"),
        },
        "All three go on from one warm start, which the middle teacher took part in.",
    )


def either(*margins: Margin) -> Callable[[Numbers], float]:
    """The largest of several margins: one of them has to hold."""
    return lambda found: max(margin(found) for margin in margins)


COLUMNS = (
    Column("likelihood_risk", "R_llh", 2, "nats per token of the student's text under the teacher"),
    Column("coverage_risk", "R_cvg", 2, "nats per token of the teacher's text under the student"),
    Column("sequence_reverse_kl", "seq. RKL", 1, "reverse KL of whole texts, nats"),
    Column("exposure_12", "ExAccErr(12)", 0, "excess error on its own prefixes up to length 12, percent"),
    Column("valid", "valid", 3, "share of texts that the language can say"),
    Column("length", "length", 1, "tokens of a text with its end"),
    Column("dist_4", "Dist-4", 3, "distinct 4-grams as a share of all"),
    Column("cpu_seconds", "CPU-s", 0, "processor seconds of training, text included"),
)
ABOUT = (
    """A prompt is one of 8 topics; a topic has 6 modes, sparse Markov chains over 14 of 48 words. A teacher
of 2 layers of width 64 learns the language, a student too small for all modes is warm-started (half
cross-entropy, half word-level KD) and goes on in one way for each arm. Language, teacher and students belong
to one seed. Measured are 800 texts of the student and 800 of the teacher at temperature 1.""",
    """MiniLLM runs with a fifth of the teacher in the sampling, 4 updates for a collection of own text, clip
0.2 as in PPO, no discount, returns after a token divided by their number, no language-modelling term.""",
)
FIRST_RATES = """Teachers and warm starts learn at 3e-3, arms at 1e-3. The former was chosen so that
  validity and risks of both come out as the plan had recorded them (with 1e-3 they are worse)."""
NOTES = (
    FIRST_RATES,
    """Verdicts near a limit move: an earlier record of the same plan, whose models computed GPT-2's
  activation in several steps and so rounded otherwise, had *too small to tell* for length normalisation and
  *not reproduced* for the long part, both of the strong student.""",
    "The learning rate falls to 0 along its cosine, where the plan said to a tenth.",
    "Likelihood and validity are best for a student that has collapsed: read length and Dist-4 beside them.",
    "Not in reach at this scale: Rouge-L and judged quality of large models, human preference, calibration.",
)
