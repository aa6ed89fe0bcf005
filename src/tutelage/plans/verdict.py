"""The answer: distil, train without a teacher, or no difference that the law can resolve.

A difference counts only above a margin, the law's own error; the sign of a smaller one means nothing.

Source: Busbridge et al. 2025, arXiv:2502.08606, sections 4.4 and 5; the procedure is ``derived``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.plans.allocate import Optimum
from tutelage.plans.law import Laws
from tutelage.plans.problem import Problem

DISTIL = "distil"
ALONE = "train without a teacher"
UNRESOLVED = "no difference that the law can resolve"

WORSE = "this teacher is worse than training on the text"


@dataclass(frozen=True)
class Verdict:
    """What to do, and how sure that is.

    Attributes:
        answer: `DISTIL`, `ALONE` or `UNRESOLVED`.
        gain: nats per token by which the student is better with a teacher; None if no teacher can be paid.
        margin: nats per token below which a difference means nothing.
        margin_from: where the margin comes from.
        because: the reason in a sentence.
    """

    answer: str
    gain: float | None
    margin: float
    margin_from: str
    because: str

    @property
    def exit_status(self) -> int:
        """3 where the answer is no, else 0."""
        return 3 if self.answer == ALONE else 0


def ratio(problem: Problem, point: Optimum) -> float:
    """r: the teacher's loss over what the student reaches by itself on the same tokens."""
    return point.teacher_loss / problem.unaided(point.tokens)


def margin(problem: Problem, point: Optimum | None) -> tuple[float, str]:
    """Nats per token that the law cannot resolve, and where they come from.

    A law that was fitted with resampled runs gives half the width of the gain's own 90 % band, every draw
    judged at the planned point; others their error as a share of the unaided student's loss.
    """
    laws = problem.laws
    if laws.draws and point is not None:
        found = laws.band(lambda draw: _gain(draw, problem, point))
        if found is not None:
            low, high = (float(end) for end in found)
            return (high - low) / 2, f"half the 90 % band of the gain over {len(laws.draws)} resampled fits"
    return laws.error * problem.alone, f"{100 * laws.error:.3g} % of the loss, the law's own error"


def decide(problem: Problem, point: Optimum | None) -> Verdict:
    """The verdict on the best point of a problem."""
    least, source = margin(problem, point)
    if point is None:
        return Verdict(ALONE, None, least, source, "the budget does not pay for any teacher")
    gain = problem.alone - point.loss
    r = ratio(problem, point)

    def said(answer: str, because: str) -> Verdict:
        return Verdict(answer, gain, least, source, because)

    if r > 1:
        return said(
            ALONE,
            f"{WORSE}: its loss of {point.teacher_loss:.3f} nats is {100 * (r - 1):.2g} % above what the "
            f"student reaches by itself on the same tokens",
        )
    if problem.scenario.logits == 1 and problem.scenario.training == 1:
        return said(ALONE, "a teacher that is trained and run for one student alone costs more than it gives")
    if gain > least:
        return said(DISTIL, "the student is better with a teacher by more than the law's error")
    if gain < -least:
        return said(ALONE, "the same compute spent on the text alone gives a better student")
    return said(UNRESOLVED, "the difference is smaller than the law's error; the plain run is simpler")


def _gain(draw: Laws, problem: Problem, point: Optimum) -> float:
    teacher = point.teacher_loss
    measured = point.teacher is not None and point.teacher.loss is not None
    if not measured and point.teacher_parameters and point.teacher_tokens:
        teacher = float(draw.supervised.loss(point.teacher_parameters, point.teacher_tokens))
    if teacher <= draw.supervised.E:
        return float("nan")
    distilled = float(draw.student_loss(problem.student, point.tokens, teacher))
    return float(draw.supervised.loss(problem.student, problem.alone_tokens)) - distilled
