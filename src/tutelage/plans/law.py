"""The two scaling laws: what a model reaches by itself, and what it reaches with a teacher.

    supervised   L(N, D)          = E + (A / N^alpha + B / D^beta)^gamma
    distilled    L_S(N, D, L_T)   = L_T + L_T^-c0 * G(L_T / L(N, D)) * (A' / N^alpha' + B' / D^beta')^gamma'

Losses are nats per token on held-out text of one tokenizer; sizes are parameters without embeddings, data
are tokens; all are raw numbers, never millions or billions. Everything is computed in the log form, in
float64.

Source: Busbridge et al. 2025, Distillation Scaling Laws, arXiv:2502.08606, equations 1 and 8.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import OutOfRange

Numbers = NDArray[np.float64]
ArrayLike = float | int | Sequence[Any] | NDArray[Any]
"""What is taken for numbers; numpy's type of this name takes no float when types are checked at run time."""


@dataclass(frozen=True)
class SupervisedLaw:
    """Cross-entropy of a model trained on text: ``E + (A / N^alpha + B / D^beta)^gamma``.

    Attributes:
        E: irreducible loss, nats per token.
        A, alpha: size of the model.
        B, beta: tokens it was trained on.
        gamma: curvature of both together; 1 is the law of Hoffmann et al.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    gamma: float = 1.0

    def __post_init__(self) -> None:
        _positive(self)

    def log_loss(self, parameters: ArrayLike, tokens: ArrayLike) -> Numbers:
        """Natural log of the loss, elementwise over arrays that broadcast; infinite tokens are legal."""
        n, d = _log(parameters), _log(tokens)
        reducible = np.logaddexp(np.log(self.A) - self.alpha * n, np.log(self.B) - self.beta * d)
        return np.asarray(np.logaddexp(np.log(self.E), self.gamma * reducible))

    def loss(self, parameters: ArrayLike, tokens: ArrayLike) -> Numbers:
        """Nats per token, elementwise."""
        return np.asarray(np.exp(self.log_loss(parameters, tokens)))

    def limit(self, parameters: ArrayLike) -> Numbers:
        """What a size reaches with infinitely many tokens, nats per token."""
        return self.loss(parameters, np.inf)

    def log_tokens(self, parameters: ArrayLike, loss: ArrayLike) -> Numbers:
        """Natural log of the tokens with which a size reaches a loss; nan where no number of tokens does."""
        with np.errstate(invalid="ignore", divide="ignore"):
            needed = np.exp(np.log(np.asarray(loss, float) - self.E) / self.gamma)
            left = needed - self.A * np.exp(-self.alpha * _log(parameters))
            return np.where(left > 0, (np.log(self.B) - np.log(left)) / self.beta, np.nan)


@dataclass(frozen=True)
class Imitation(ABC):
    """What the forms of the distillation law share: all but how the imitation error ends, ``G(r)``.

    Attributes:
        A, alpha: size of the student.
        B, beta: tokens it is distilled on.
        gamma: curvature of both together.
        c0: how much harder a better teacher is to imitate.
    """

    A: float
    B: float
    alpha: float
    beta: float
    gamma: float
    c0: float

    def __post_init__(self) -> None:
        _positive(self)

    @abstractmethod
    def log_fading(self, log_ratio: Numbers) -> Numbers:
        """``log G(r)`` from ``log r``, where r is the teacher's loss over the unaided student's."""

    @property
    @abstractmethod
    def ratio_at_half(self) -> float:
        """The ratio r at which G has fallen to one half."""

    def log_loss(
        self, parameters: ArrayLike, tokens: ArrayLike, log_teacher: ArrayLike, log_unaided: ArrayLike
    ) -> Numbers:
        """Natural log of the distilled student's cross-entropy against text, elementwise.

        Args:
            parameters: of the student.
            tokens: it is distilled on.
            log_teacher: natural log of the teacher's own cross-entropy in nats per token.
            log_unaided: natural log of what the student would reach on the same tokens by itself.
        """
        teacher, unaided = np.asarray(log_teacher, float), np.asarray(log_unaided, float)
        n, d = _log(parameters), _log(tokens)
        reached = np.logaddexp(np.log(self.A) - self.alpha * n, np.log(self.B) - self.beta * d)
        gap = -self.c0 * teacher + self.log_fading(np.asarray(teacher - unaided)) + self.gamma * reached
        return np.asarray(np.logaddexp(teacher, gap))


@dataclass(frozen=True)
class DistillationLaw(Imitation):
    """The published form: ``G(r) = (1 + (r / d1)^(1 / f1))^(-c1 f1)``, a broken power law.

    Attributes:
        c1: slope beyond the break.
        f1: width of the break.
        d1: ratio at which it breaks.
    """

    c1: float
    f1: float
    d1: float

    def log_fading(self, log_ratio: Numbers) -> Numbers:
        """``-c1 f1 log(1 + (r / d1)^(1 / f1))``, from ``log r``."""
        return np.asarray(-self.c1 * self.f1 * np.logaddexp(0.0, (log_ratio - np.log(self.d1)) / self.f1))

    @property
    def ratio_at_half(self) -> float:
        """The ratio r at which G has fallen to one half."""
        return float(self.d1 * np.expm1(np.log(2.0) / (self.c1 * self.f1)) ** self.f1)

    @property
    def kappa(self) -> float:
        """Of the exponential cut-off that this is in effect: ``G(r) ~ exp(-kappa r^(1 / f1))``."""
        return float(self.c1 * self.f1 * np.exp(-np.log(self.d1) / self.f1))


@dataclass(frozen=True)
class CutOffLaw(Imitation):
    """The reduced form, for small studies: ``G(r) = exp(-kappa r^(1 / f1))``, one coefficient fewer.

    Data determine kappa and f1; of the published form they do not determine c1 and d1 one by one
    (``derived``, not in the paper).

    Attributes:
        kappa: strength of the cut-off.
        f1: how gradual it is.
    """

    kappa: float
    f1: float

    def log_fading(self, log_ratio: Numbers) -> Numbers:
        """``-kappa r^(1 / f1)``, from ``log r``."""
        return np.asarray(-self.kappa * np.exp(log_ratio / self.f1))

    @property
    def ratio_at_half(self) -> float:
        """The ratio r at which G has fallen to one half."""
        return float((np.log(2.0) / self.kappa) ** self.f1)


@dataclass(frozen=True)
class Ranges:
    """Where the runs lay that a law was fitted to, lowest and highest; outside it extrapolates.

    Attributes:
        parameters: of students and teachers.
        tokens: of either.
        tokens_per_parameter: of either.
        teacher_loss: nats per token.
        student_flops: training cost of students, FLOP.
    """

    parameters: tuple[float, float]
    tokens: tuple[float, float]
    tokens_per_parameter: tuple[float, float] | None = None
    teacher_loss: tuple[float, float] | None = None
    student_flops: tuple[float, float] | None = None


@dataclass(frozen=True)
class Laws:
    """Both laws of one architecture, tokenizer and kind of text, with where they are from.

    Attributes:
        name: as ``--law`` takes it.
        supervised: what a model reaches by itself.
        distillation: what it reaches with a teacher; None where nobody fitted one.
        ranges: of the runs behind them.
        source: who fitted them to what, in one line; every answer carries it.
        error: their relative error of prediction; losses closer than that are not told apart.
        vocabulary: tokens of the tokenizer: a loss above its log is worse than guessing; None if unknown.
        smallest_parameters, smallest_tokens: below these a number is taken for one in another unit.
        draws: the same laws fitted to resampled runs, each without draws of its own; empty if nobody did.
    """

    name: str
    supervised: SupervisedLaw
    distillation: DistillationLaw | CutOffLaw | None
    ranges: Ranges
    source: str
    error: float = 0.01
    vocabulary: int | None = None
    smallest_parameters: float = 1e3
    smallest_tokens: float = 1e6
    draws: tuple[Laws, ...] = field(default=(), repr=False)

    def band(self, of: Callable[[Laws], ArrayLike], level: float = 0.9) -> tuple[Numbers, Numbers] | None:
        """Low and high percentile over the draws of anything that is computed from laws; None without draws.

        Args:
            of: a number, or an array of one shape, from one draw. Values that are not finite are left out.
            level: share of the draws between the two.
        """
        if not self.draws:
            return None
        values = np.asarray([of(draw) for draw in self.draws], dtype=float)
        values = np.where(np.isfinite(values), values, np.nan)
        low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return np.asarray(low), np.asarray(high)

    def student_loss(self, parameters: ArrayLike, tokens: ArrayLike, teacher_loss: ArrayLike) -> Numbers:
        """Cross-entropy of a distilled student in nats per token, elementwise; never below the teacher's.

        Args:
            parameters: of the student, without embeddings.
            tokens: it is distilled on.
            teacher_loss: the teacher's own cross-entropy, nats per token.

        Raises:
            OutOfRange: these laws have no distillation law.
        """
        if self.distillation is None:
            raise OutOfRange(
                f"the laws '{self.name}' say nothing about distillation",
                expected="laws with both parts",
                fix="use `reconciled`, or fit your own with `tutelage plan fit`",
            )
        unaided = self.supervised.log_loss(parameters, tokens)
        teacher = _log(teacher_loss)
        return np.asarray(np.exp(self.distillation.log_loss(parameters, tokens, teacher, unaided)))


def _log(values: ArrayLike) -> Numbers:
    return np.asarray(np.log(np.asarray(values, dtype=float)))


def _positive(law: Any) -> None:
    for name, value in vars(law).items():
        if not (np.isfinite(value) and value > 0):
            raise OutOfRange(
                f"coefficient {name} of the {type(law).__name__} is {value}",
                expected="a finite number above 0",
                fix="fit the law again, or use a published set (`tutelage plan laws` lists them)",
            )
