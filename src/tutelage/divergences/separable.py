"""What most divergences have in common: one elementwise function of student and teacher."""

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
        part: the elementwise part: ``(log_q, log_p, q, p, **options) -> (f, g)`` with ``g = df / dlog q``.
    """

    __name__: str

    def __init__(self, part: Density) -> None:
        self.part = part
        functools.update_wrapper(self, part)

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

    def density(
        self, log_q: Tensor, log_p: Tensor, q: Tensor | None = None, p: Tensor | None = None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Elementwise value ``f`` and slope ``g = df / dlog q``.

        Args:
            log_q: the student's log-probabilities, any shape.
            log_p: the teacher's, same shape.
            q, p: the exponentials of both, where somebody has them already: they are what costs most.
            options: of the divergence.
        """
        q = log_q.exp() if q is None else q
        return self.part(log_q, log_p, q, log_p.exp() if p is None else p, **options)

    def __repr__(self) -> str:
        return f"<divergence {self.__name__}{inspect.signature(self.part)}>"


def separable(part: Density) -> Separable:
    """Make a divergence of its elementwise part.

    The part maps tiles ``(log_q, log_p, q, p)`` of any shape to the value's density ``f`` and its slope
    ``g = df / dlog q``; ``q`` and ``p`` are the exponentials of the first two. Then the value of a row is
    ``sum f`` and the gradient with respect to the student's logit ``j`` is ``g_j - q_j sum g``, which is
    all that the fused evaluation needs.
    """
    return Separable(part)
