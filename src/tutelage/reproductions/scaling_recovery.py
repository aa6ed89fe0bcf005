"""Planted laws found again: the design of the scaling study with made-up losses, fitted as a user's runs are.

Nothing here is measured on a model. It shows what the tool recovers from runs like the paper's when it knows
the truth: predictions, and which coefficients are knowledge.

Source: the design is that of Busbridge et al. 2025, arXiv:2502.08606, section 4.2 and table 13; how the sizes
of a profile are spaced is ours (``derived``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.plans.fit import objectives
from tutelage.plans.fitting import Study, distilled_points, fit_study, losses, supervised_points
from tutelage.plans.flops import Family, published_shape
from tutelage.plans.held_out import disorder, shuffled
from tutelage.plans.law import DistillationLaw, Laws, Numbers
from tutelage.plans.published import published
from tutelage.plans.runs import Trained

BUDGETS = {3e19: 0.50e9, 1e20: 0.93e9, 3e20: 1.64e9, 1e21: 3.04e9}
"""Training FLOP of the profiles, and the size at the optimum of each."""

FIXED_TEACHERS = (14, 17, 21, 24, 29, 34)
"""Layers of the teachers of 20 tokens a parameter: 546M to 7.75B."""

FIXED_STUDENTS = (10, 14, 17, 21)
"""Layers of the students of 20 tokens a parameter: 198M to 1.82B."""

WEAK = 2.3
"""Runs above this loss predict those below it, nats per token."""

BIG = (1e11, 4e12)
"""Parameters and tokens far outside the runs."""


@dataclass(frozen=True)
class Planted:
    """Runs that were made from known laws.

    Attributes:
        truth: the laws.
        runs: with losses that carry noise.
    """

    truth: Laws
    runs: tuple[Trained, ...]


def size_of(layers: int) -> float:
    """Parameters without embeddings of the paper's model of a number of layers."""
    return float(published_shape(layers).parameters)


def planted(seed: int, noise: float, *, share: float = 1.0, law: str = "reconciled") -> Planted:
    """The design of 73 supervised and 662 distilled runs, with losses from published laws.

    Args:
        seed: of the noise, and of which runs are kept.
        noise: standard deviation of the logarithm of a loss; teachers have theirs too.
        share: of the distilled runs that are kept, for a smaller study.
        law: name of the laws that are planted.
    """
    truth, rng = published(law), np.random.default_rng(seed)
    runs: list[Trained] = []
    reached: dict[tuple[float, float], float] = {}

    def trained(size: float, tokens: float) -> float:
        # One model, one loss: a teacher of two students is the same teacher.
        if (size, tokens) not in reached:
            reached[size, tokens] = float(truth.supervised.loss(size, tokens)) * np.exp(noise * rng.normal())
        return reached[size, tokens]

    for size, tokens, profile in _supervised():
        runs.append(Trained(f"s{len(runs)}", size, tokens, trained(size, tokens), profile=profile))
    settings = _distilled()
    kept = np.sort(rng.permutation(len(settings))[: round(share * len(settings))])
    for size, tokens, teacher, told in (settings[i] for i in kept):
        by = trained(teacher, told)
        loss = float(truth.student_loss(size, tokens, by)) * np.exp(noise * rng.normal())
        name = f"teacher {teacher:.4g} x {told:.4g}"
        runs.append(Trained(f"d{len(runs)}", size, tokens, loss, name, by, teacher, told))
    return Planted(truth, tuple(runs))


def fitted(data: Planted) -> Study:
    """What the tool makes of the runs."""
    return fit_study(data.runs, form="full")


def exactness(data: Planted, study: Study) -> dict[str, float]:
    """Without noise: the largest relative error of a prediction, and how far the objectives are apart.

    Both objectives are those of the sharpest loss, at the fit and at the truth.
    """
    error = np.abs(study.predicted(data.runs) / losses(data.runs) - 1).max()
    assert study.distillation_fit is not None
    fit, first = study.distillation_fit, study.supervised_fit
    at_truth = [
        objectives(
            one.form,
            one.form.candidate(law)[None],
            points,
            np.log(losses(runs)),
            np.ones((1, len(runs))),
            one.delta,
        )[0]
        for one, law, points, runs in (
            (first, data.truth.supervised, supervised_points(study.supervised), study.supervised),
            (
                fit,
                data.truth.distillation,
                distilled_points(study.distilled, [data.truth.supervised]),
                study.distilled,
            ),
        )
    ]
    return {
        "exact_largest_error": float(error),
        "exact_objective_apart": float(max(first.objective - at_truth[0], fit.objective - at_truth[1], 0.0)),
    }


def predictions(data: Planted, study: Study) -> dict[str, float]:
    """Relative errors against the truth without noise: in range, beyond it, from weak runs to strong."""
    told = noiseless(data)
    error = study.predicted(data.runs) / told - 1
    taught = np.array([run.distilled for run in data.runs])
    beyond = float(study.law.loss(*BIG)) / float(data.truth.supervised.loss(*BIG)) - 1
    weak = [run for run in data.runs if run.loss > WEAK or not run.distilled]
    strong = [run for run in data.runs if run.distilled and run.loss <= WEAK]
    found = {
        "distilled_rms": _rms(error[taught]),
        "supervised_largest": float(np.abs(error[~taught]).max()),
        "supervised_beyond": abs(beyond),
    }
    if strong:
        again = fit_study(weak, form="full")
        found["weak_to_strong_rms"] = _rms(again.predicted(strong) / noiseless(data, strong) - 1)
    return found


def coefficients(data: Planted, study: Study) -> dict[str, float]:
    """How far what the data determine is off: relative errors, and for the exponent a the difference."""
    truth, found = data.truth.distillation, study.with_teacher
    assert isinstance(truth, DistillationLaw)
    assert found is not None
    first, law = data.truth.supervised, study.law
    return {
        "r50_off": abs(found.ratio_at_half / truth.ratio_at_half - 1),
        "kappa_off": abs(found.kappa / truth.kappa - 1),
        "alpha_gamma_off": abs(found.alpha * found.gamma / (truth.alpha * truth.gamma) - 1),
        "beta_gamma_off": abs(found.beta * found.gamma / (truth.beta * truth.gamma) - 1),
        "a_off": abs(law.beta / (law.alpha + law.beta) - first.beta / (first.alpha + first.beta)),
    }


def coverage(
    data: Planted, study: Study, *, draws: int = 200, points: int = 50, seed: int = 0
) -> dict[str, float]:
    """Share of new points whose true loss lies inside the 90 % band of the bootstrap."""
    rng = np.random.default_rng(seed + 1)
    taught = study.distilled
    size = np.array([taught[i].parameters for i in rng.integers(len(taught), size=points)])
    each = np.exp(rng.uniform(np.log(20), np.log(320), points))
    teachers = [run.teacher_loss for run in taught if run.teacher_loss is not None]
    teacher = rng.uniform(min(teachers), max(teachers), points)
    laws = study.laws("planted", "", error=0.01, vocabulary=None, draws=study.bootstrapped(draws, seed))
    band = laws.band(lambda one: one.student_loss(size, size * each, teacher))
    assert band is not None
    true = data.truth.student_loss(size, size * each, teacher)
    return {
        "band_covers": float(np.mean((band[0] <= true) & (true <= band[1]))),
        "band_width": float(np.median((band[1] - band[0]) / true)),
    }


def control(data: Planted, study: Study, *, seed: int = 0) -> dict[str, float]:
    """How many times worse the objective is with the teachers shuffled, before and after they were."""
    again = fit_study(shuffled(data.runs, seed), form="full")
    assert again.distillation_fit is not None
    assert study.distillation_fit is not None
    return {
        "disorder_of_runs": disorder(study, seed, times=1),
        "shuffled_objective": again.distillation_fit.objective / max(study.distillation_fit.objective, 1e-9),
        "disorder_of_shuffled_runs": disorder(again, seed, times=1),
    }


def planning(data: Planted, study: Study) -> dict[str, float]:
    """What it costs to choose the teacher by the fitted law: true loss there above the true optimum, nats.

    With a free teacher: students of 300M to 10B at 1e20 and 1e21 FLOP.
    """
    cost, worst = Family(), 0.0
    laws = study.laws("planted", "", error=0.01, vocabulary=None, draws=[])
    teacher = np.linspace(1.3, 2.9, 3201)
    for size in (3e8, 1e9, 3e9, 1e10):
        for budget in (1e20, 1e21):
            tokens = budget / (3 * cost.flops(size))
            true = data.truth.student_loss(size, tokens, teacher)
            chosen = int(np.argmin(laws.student_loss(size, tokens, teacher)))
            worst = max(worst, float(true[chosen] - true.min()))
    return {"plan_excess_nats": worst}


def noiseless(data: Planted, runs: Sequence[Trained] | None = None) -> Numbers:
    """What the planted laws say of runs, with the teachers that they had."""
    asked = data.runs if runs is None else runs
    return np.array(
        [
            float(data.truth.student_loss(run.parameters, run.tokens, run.teacher_loss or 0.0))
            if run.distilled
            else float(data.truth.supervised.loss(run.parameters, run.tokens))
            for run in asked
        ]
    )


def recovered(seed: int, noise: float, *, share: float = 1.0, draws: int = 200) -> dict[str, float]:
    """All of it for one seed: plain numbers by name, for a table of claims.

    Args:
        seed: of the noise.
        noise: of the logarithm of a loss; 0 gives the two numbers of `exactness` alone.
        share: of the distilled runs.
        draws: of the bootstrap; 0 leaves the bands out.
    """
    data = planted(seed, noise, share=share)
    study = fitted(data)
    if noise == 0:
        return exactness(data, study)
    found = predictions(data, study) | coefficients(data, study) | planning(data, study)
    found |= control(data, study, seed=seed)
    return found | (coverage(data, study, draws=draws, seed=seed) if draws else {})


def _supervised() -> list[tuple[float, float, str]]:
    at_twenty = [size_of(n) for n in (9, 10, 12, 14, 17, 19, 21, 24, 29, 34, 40)]
    found = [(size, 20 * size, "") for size in at_twenty]
    found += [(size_of(n), 5.12e11, "") for n in (10, 14, 17, 21, 24, 29)]
    for budget in BUDGETS:
        found += [(size, tokens, f"{budget:g}") for size, tokens in _profile(budget, 14)]
    return found


def _distilled() -> list[tuple[float, float, float, float]]:
    """Student's size and tokens, teacher's size and tokens."""
    found = []
    for layers in FIXED_TEACHERS:
        teacher = size_of(layers)
        students = [one for budget in BUDGETS for one in _profile(budget, 10)]
        students += [(size, 3e21 / (3 * Family().flops(size))) for size in (size_of(21), size_of(29))]
        found += [(size, tokens, teacher, 20 * teacher) for size, tokens in students]
    for layers in FIXED_STUDENTS:
        student = size_of(layers)
        teachers = [one for budget in BUDGETS for one in _profile(budget, 10)]
        found += [(student, 20 * student, teacher, told) for teacher, told in teachers]
    for layers in (10, 12, *FIXED_TEACHERS, 19, 40):
        teacher = size_of(layers)
        for student in map(size_of, (9, 10, 14, 17, 21)):
            found += [(student, each * student, teacher, 20 * teacher) for each in (20, 40, 80, 160, 320)]
    return found


def _profile(budget: float, count: int) -> list[tuple[float, float]]:
    """Sizes around the optimum of a budget, from a quarter of it to four times it, and the tokens it buys."""
    optimum = BUDGETS[budget]
    sizes = np.array([size_of(n) for n in range(8, 41)])
    near = sizes[(sizes > optimum / 4.5) & (sizes < optimum * 4.5)]
    chosen = near[np.unique(np.linspace(0, len(near) - 1, count).round().astype(int))]
    return [(float(size), budget / (3 * float(Family().flops(size)))) for size in chosen]


def _rms(error: Numbers) -> float:
    return float(np.sqrt(np.mean(error**2)))
