"""Rewards of a row of text summed up: what follows a token, by rows of a batch, deaf to padding."""

from __future__ import annotations

import torch
from torch import Tensor


def by_row(values: Tensor, mask: Tensor) -> Tensor:
    """Numbers ``[N]`` at counted tokens put in their places in the batch ``[B, L]``, 0 elsewhere."""
    placed = values.new_zeros(mask.shape)
    placed[mask] = values
    return placed


def summed_from(rewards: Tensor, discount: float = 1.0) -> Tensor:
    """``R_t = sum over t' >= t of discount^(t' - t) r_t'``, ``[B, L]``.

    Args:
        rewards: ``[B, L]``, 0 where nothing counts; what counts of a row stands together.
        discount: 1 sums plainly; 0 leaves each reward alone.
    """
    if discount == 1:
        return rewards.flip(1).cumsum(1).flip(1)
    out = torch.zeros_like(rewards)
    running = rewards.new_zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        running = rewards[:, t] + discount * running
        out[:, t] = running
    return out


def summed_after(rewards: Tensor, mask: Tensor, discount: float = 1.0) -> Tensor:
    """``R_{t+1}``, the return of what follows a token, ``[B, L]``: 0 at a row's last token."""
    after = torch.cat([summed_from(rewards, discount)[:, 1:], torch.zeros_like(rewards[:, :1])], 1)
    return torch.where(mask, after, 0.0)


def followers(mask: Tensor) -> Tensor:
    """How many counted tokens follow each in its row, ``T - t``, ``[B, L]``."""
    counts = mask.long()
    return counts.flip(1).cumsum(1).flip(1) - counts
