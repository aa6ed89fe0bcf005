"""What most divergences have in common: one elementwise function of ``(log q, log p)``."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from tutelage.errors import TutelageError

Density = Callable[..., tuple[Tensor, Tensor]]


class Separable:
    """A divergence made from its elementwise part; see `separable`.

    Attributes:
        density: the elementwise part: ``(log_q, log_p, **options) -> (f, g)`` with ``g = df / dlog q``.
    """

    __name__: str

    def __init__(self, density: Density) -> None:
        self.density = density
        functools.update_wrapper(self, density)

    def __call__(self, student: Tensor, teacher: Tensor, **options: Any) -> Tensor:
        """The divergence in nats ``(...)`` of log-probabilities ``(..., V)``, student first."""
        if student.shape != teacher.shape:
            raise TutelageError(
                f"{self.__name__} got rows of shape {tuple(student.shape)} and {tuple(teacher.shape)}",
                expected="the student's and the teacher's log-probabilities in one shape (..., V)",
                fix="restrict both to the token ids that they share (`tutelage.distribution.restricted`)",
            )
        value, _ = self.density(student, teacher, **options)
        return value.sum(-1)

    def __repr__(self) -> str:
        return f"<divergence {self.__name__}{inspect.signature(self.density)}>"


def separable(density: Density) -> Separable:
    """Make a divergence of its elementwise part.

    The part maps tiles ``(log_q, log_p)`` of any shape to the value's density ``f`` and its slope
    ``g = df / dlog q``. Then the value of a row is ``sum f`` and the gradient with respect to the
    student's logit ``j`` is ``g_j - q_j sum g``, which is all that the fused evaluation needs.
    """
    return Separable(density)
