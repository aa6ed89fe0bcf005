"""What most divergences have in common: one elementwise function of student and teacher."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from tutelage.divergences.rows import Rows, value_of
from tutelage.errors import TutelageError
from tutelage.interfaces import WholeRows

Density = Callable[..., tuple[Tensor, Tensor]]
Statistics = Callable[..., dict[str, Tensor]]


class Separable:
    """A divergence made from its elementwise part; see `separable`.

    Attributes:
        part: the elementwise part: ``(log_q, log_p, q, p, **options) -> (f, g)`` with ``g = df / dlog q``.
        slope_sum: what ``g`` sums to over a vocabulary, whatever the rows; None where that must be summed up.
    """

    __name__: str

    def __init__(self, part: Density, slope_sum: float | None = None) -> None:
        self.part = part
        self.slope_sum = slope_sum
        functools.update_wrapper(self, part)

    def __call__(self, student: Tensor, teacher: Tensor, **options: Any) -> Tensor:
        """The divergence in nats ``(...)`` of log-probabilities ``(..., V)``, student first."""
        self._same_shape(student, teacher)
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

    def _same_shape(self, student: Tensor, teacher: Tensor) -> None:
        if student.shape != teacher.shape:
            raise TutelageError(
                f"{self.__name__} got rows of shape {tuple(student.shape)} and {tuple(teacher.shape)}",
                expected="the student's and the teacher's log-probabilities in one shape (..., V)",
                fix="restrict both to the token ids that they share (`tutelage.distribution.restricted`)",
            )

    def __repr__(self) -> str:
        return f"<divergence {self.__name__}{inspect.signature(self.part)}>"


class Statistical(Separable):
    """A divergence made from an elementwise part that is told something of the row; see `separable_after`.

    Attributes:
        part: ``(log_q, log_p, q, p, [target,] **statistics, **options) -> (f, g)``.
        of_rows: what it must be told: ``(rows, **options) -> {name: [n]}``.
        asks_target: whether one token a position must be named.
    """

    def __init__(self, part: Density, of_rows: Statistics, asks_target: bool) -> None:
        super().__init__(part)
        self.of_rows = of_rows
        self.asks_target = asks_target
        self._options = frozenset(inspect.signature(of_rows).parameters)

    def __call__(
        self, student: Tensor, teacher: Tensor, *, target: Tensor | None = None, **options: Any
    ) -> Tensor:
        """The divergence in nats ``(...)`` of log-probabilities ``(..., V)``, student first.

        Args:
            student: the student's rows.
            teacher: the teacher's.
            target: token ids ``(...)``, for a divergence that asks for them.
            options: of the divergence.
        """
        self._same_shape(student, teacher)
        check_target(self.__name__, self.asks_target, target, student.shape[:-1], student.shape[-1])
        log_q, log_p = (rows.reshape(-1, rows.shape[-1]).T for rows in (student, teacher))
        rows = Rows(log_q, log_p, target=None if target is None else target.reshape(-1))
        return value_of(self, rows, **options).view(student.shape[:-1])

    def statistics(self, rows: WholeRows, **options: Any) -> dict[str, Tensor]:
        """What the part must be told of the rows, ``[n]`` each."""
        return self.of_rows(rows, **{name: options[name] for name in options if name in self._options})


def separable(part: Density) -> Separable:
    """Make a divergence of its elementwise part.

    The part maps tiles ``(log_q, log_p, q, p)`` of any shape to the value's density ``f`` and its slope
    ``g = df / dlog q``; ``q`` and ``p`` are the exponentials of the first two. Then the value of a row is
    ``sum f`` and the gradient with respect to the student's logit ``j`` is ``g_j - q_j sum g``, which is
    all that the fused evaluation needs.
    """
    return Separable(part)


def separable_summing_to(slope_sum: float) -> Callable[[Density], Separable]:
    """The same for a divergence whose slopes sum to one number, whatever student and teacher say.

    The gradient ``g_j - q_j sum g`` of a token is then known as soon as the token is looked at, so that
    the fused evaluation walks the vocabulary once less.
    """
    return lambda part: Separable(part, slope_sum)


def separable_after(of_rows: Statistics, *, asks_target: bool = False) -> Callable[[Density], Statistical]:
    """Make a divergence of its elementwise part and of what that must first be told of the whole row.

    Args:
        of_rows: gives statistics ``[n]`` of `interfaces.WholeRows` by name; it takes those options of the
            divergence that it names. What carries gradient must be part of the slopes.
        asks_target: whether the part also takes ``target``, true where one token a position stands.
    """
    return lambda part: Statistical(part, of_rows, asks_target)


def check_target(
    name: str, asks: bool, target: Tensor | None, shape: tuple[int, ...], vocab: int, counts: Any = ...
) -> None:
    """Refuse a target that is missing, that nobody asked for, or that is no token id a position.

    Raises:
        TutelageError: it is so.
    """
    if not asks and target is None:
        return
    if not asks or target is None:
        raise TutelageError(
            f"{name} was {'not ' if asks else ''}given a target",
            expected="token ids, one a position"
            if asks
            else "no `target`: this divergence is about all tokens",
            fix="pass `target=ids`" if asks else "leave it out, or use `decoupled`",
        )
    if tuple(target.shape) != tuple(shape) or target.is_floating_point() or target.is_complex():
        raise TutelageError(
            f"{name} got a target of shape {tuple(target.shape)} and type {target.dtype}",
            expected=f"token ids of shape {tuple(shape)}, one a position",
            fix="pass the tokens that were written (`batch.gold`)",
        )
    told = target[counts]
    if told.numel() and not 0 <= int(told.min()) <= int(told.max()) < vocab:
        raise TutelageError(
            f"{name} got targets from {int(told.min())} to {int(told.max())}",
            expected=f"token ids from 0 to {vocab - 1}",
            fix="leave positions without a token out, by a mask",
        )
