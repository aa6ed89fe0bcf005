"""The identities: name, what is compared, how far apart it may be and why, and where it is measured."""

from __future__ import annotations

from tutelage.conformance.found import Bound, Identity

ULP32, ULP16 = 2.0**-23, 2.0**-7
"""One unit in the last place of numbers near 1, in float32 and in bfloat16."""

SUMS = "float32 rounds in the seventh digit, and sums over a vocabulary are taken in another order"
STEP = (
    Bound("loss", 1e-5, "nats", SUMS + " (times the loss where that is above 1)", half=2e-2),
    Bound(
        "gradient",
        1e-4,
        "relative",
        "rounding adds up over layers; length of the difference over that of the gradient, or of "
        "cross-entropy's where that is longer",
        half=1e-1,
    ),
)

IDENTITIES = (
    Identity(
        "teacher = student",
        "itself:nothing_to_learn",
        "the student with itself as its teacher: every divergence of the recipe is 0 and so is its gradient",
        (
            Bound("loss", 1e-6, "nats", "rounding in float32: both sides are the same weights"),
            Bound("gradient", 1e-5, "relative", "rounding in float32, over the length of cross-entropy's"),
        ),
    ),
    Identity(
        "hidden = logits",
        "logits:same_logits",
        "log-probabilities made of hidden states and output layer, and those of the model's own logits",
        (
            Bound("student", 64 * ULP32, "nats", "64 roundings in float32 of the largest logit"),
            Bound(
                "teacher",
                64 * ULP32,
                "nats",
                "64 roundings of the largest logit in float32; in 16 bits one, as the model rounds logits",
                half=ULP16,
            ),
        ),
    ),
    Identity(
        "cached = local",
        "cached:cached_is_local",
        "the recipe's divergences with what a cache gives back and with its teacher in memory",
        (
            Bound("hidden, float32", 1e-6, "nats", "nothing is lost but rounding in float32", half=1e-2),
            Bound("hidden, bfloat16", 1e-3, "nats", "hidden states keep three digits", half=1e-2),
            Bound(
                "top_k",
                1e-5,
                "nats",
                "k tokens and the rest give a lower bound (data processing); above it is rounding alone",
                half=2e-2,
            ),
            Bound(
                "sampled",
                5.0,
                "standard errors",
                "an unbiased estimate is further off once in about 2 million (a normal mean)",
            ),
        ),
    ),
    Identity(
        "served = local",
        "served:served_is_local",
        "the recipe's divergences with what a server on this machine answers and with its teacher in memory",
        (Bound("", 1e-6, "nats", "the same numbers go over a wire in float32", half=1e-2),),
    ),
    Identity("micro-batches", "sameness:micro_batches", "rows one by one and all rows at once", STEP),
    Identity("padding", "sameness:padding", "rows padded with five columns more", STEP),
    Identity("order of rows", "sameness:order", "the longest row first and the shortest first", STEP),
    Identity("chunk_rows", "sameness:chunks", "positions in three chunks and in as many as are chosen", STEP),
    Identity(
        "processes", "processes:two_processes", "two processes that share the rows and one process", STEP
    ),
    Identity(
        "fused = plain",
        "twin:fused_is_plain",
        "the evaluation that trains and the obvious one in float64, each term at a few positions",
        (
            Bound("loss", 1e-5, "nats", SUMS),
            Bound("gradient", 1e-4, "relative", "by hidden states and output layer; " + SUMS),
        ),
    ),
)
