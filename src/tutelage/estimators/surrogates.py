"""Losses of a sampled token whose gradients are those of an estimator; elementwise, for the fused evaluation.

They are evaluated against the tokens that were drawn (`tutelage.distribution.gold`): the student's
log-probability of such a token is all that they look at. What else they need is a number a position.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tutelage.divergences.separable import separable
from tutelage.shapes import Logs, Probs

Reading = Literal["ppo", "paper"]


@separable
def clipped_ratio(
    log_q: Logs,
    log_p: Logs,
    q: Probs,
    p: Probs,
    *,
    advantage: Tensor,
    log_behaviour: Tensor,
    clip: float | None = 0.2,
    reading: Reading = "ppo",
) -> tuple[Logs, Logs]:
    """``-A rho`` with ``rho = q / behaviour`` of the drawn token, clipped as in proximal policy optimisation.

    Its gradient by ``log q`` is ``-A rho``, or 0 where the clip bites: `ppo` minimises the larger of the
    clipped and the unclipped loss, so that it bites where a step has gone far enough in the direction that
    the advantage asks for; `paper` clips the ratio itself from above, whatever the sign of the advantage.

    Args:
        log_q: the student's log-probabilities, tokens first.
        log_p: 0 at the drawn token, ``-inf`` elsewhere.
        q, p: their exponentials.
        advantage: ``A``, ``[n]``.
        log_behaviour: natural log-probability under which the token was drawn, ``[n]``.
        clip: how far the ratio may be from 1; None never clips.
        reading: `ppo` (MiniLLM's code), or `paper` (MiniLLM's Algorithm 1 to the letter).

    Source: Schulman et al. 2017, arXiv:1707.06347; Gu et al. 2024, MiniLLM, arXiv:2306.08543.
    """
    drawn = p > 0
    rho = torch.where(drawn, log_q - log_behaviour, -torch.inf).exp()
    slope = -advantage * rho
    if clip is None:
        return slope, slope
    held = rho.clamp(1 - clip, 1 + clip)
    if reading == "paper":
        value = -advantage * torch.minimum(rho, held)
        bites = rho > 1 + clip
    else:
        clipped = -advantage * held
        value = torch.maximum(slope, clipped)
        bites = (clipped > slope) & (held != rho)
    return torch.where(drawn, value, 0.0), torch.where(drawn & ~bites, slope, 0.0)


@separable
def half_square(log_q: Logs, log_p: Logs, q: Probs, p: Probs, *, log_teacher: Tensor) -> tuple[Logs, Logs]:
    """k2: half the square of ``log q - log p`` at the drawn token.

    Its gradient is the log-ratio times that of ``log q``: over the student's own tokens the mean is the exact
    gradient of the reverse KL.

    Args:
        log_q: the student's log-probabilities, tokens first.
        log_p: 0 at the drawn token, ``-inf`` elsewhere.
        q, p: their exponentials.
        log_teacher: the teacher's log-probability of the drawn token, ``[n]``.

    Source: Schulman 2020, "Approximating KL divergence" (a note on the web).
    """
    apart = torch.where(p > 0, log_q - log_teacher, 0.0)
    return apart * apart / 2, apart


@separable
def positive_ratio(log_q: Logs, log_p: Logs, q: Probs, p: Probs, *, log_teacher: Tensor) -> tuple[Logs, Logs]:
    """k3: ``p / q - 1 - log(p / q)`` at the drawn token: never negative, its mean is the reverse KL.

    Its *gradient* is ``1 - p / q`` times that of ``log q``, whose mean over the student's own tokens is the
    gradient of the *forward* KL: value and gradient estimate two different things.

    Args:
        log_q: the student's log-probabilities, tokens first.
        log_p: 0 at the drawn token, ``-inf`` elsewhere.
        q, p: their exponentials.
        log_teacher: the teacher's log-probability of the drawn token, ``[n]``.

    Source: Schulman 2020, "Approximating KL divergence" (a note on the web).
    """
    apart = torch.where(p > 0, log_teacher - log_q, 0.0)
    ratio = apart.exp()
    return ratio - 1 - apart, 1 - ratio
