"""How often student and teacher would say the same thing first: a measure for reports."""

from torch import Tensor

from tutelage.shapes import LogProbs, PerRow


def top1_agreement(student: LogProbs, teacher: LogProbs) -> PerRow:
    """1 where both rows have the same most likely token, else 0; ties go to the lower id.

    It has no gradient, so an objective cannot hold it.

    Args:
        student: log-probabilities ``(..., V)``.
        teacher: log-probabilities ``(..., V)``.
    """
    return (_first_best(student) == _first_best(teacher)).to(student.dtype)


def _first_best(log_probs: Tensor) -> Tensor:
    # argmax does not promise which of several equal entries it returns.
    best = log_probs.amax(-1, keepdim=True)
    return (log_probs == best).int().argmax(-1)
