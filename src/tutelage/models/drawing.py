"""How a token is drawn from what a model says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from tutelage.errors import OutOfRange


@dataclass(frozen=True)
class Drawing:
    """How a token is drawn from what a model says: its *sampling distribution*.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token each time.
        top_k: draw among so many likeliest tokens; None draws among all.
        top_p: draw among the fewest likeliest tokens that make up this share of the probability.

    Raises:
        OutOfRange: one of them means nothing.
    """

    temperature: Annotated[float, "[0, inf)"] = 1.0
    top_k: Annotated[int, "[1, inf)"] | None = None
    top_p: Annotated[float, "(0, 1]"] = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise OutOfRange(
                f"temperature is {self.temperature}",
                expected="0 or more",
                fix="write 0 for the likeliest text, 1 for the model's own distribution",
            )
        if self.top_k is not None and self.top_k < 1:
            raise OutOfRange(
                f"top_k is {self.top_k}", expected="a number from 1 up", fix="leave it out for all tokens"
            )
        if not 0 < self.top_p <= 1:
            raise OutOfRange(
                f"top_p is {self.top_p}",
                expected="a share above 0, at most 1",
                fix="write 1 to draw from all tokens",
            )

    def log_probs(self, logits: Tensor) -> Tensor:
        """Natural logs ``[B, V]`` of the sampling distribution of rows of logits; of one token it is 0."""
        if self.temperature == 0:
            first = logits.argmax(1, keepdim=True)
            return torch.full_like(logits, -torch.inf).scatter(1, first, 0.0)
        logs = (logits / self.temperature).log_softmax(1)
        if self.top_k is not None and self.top_k < logs.shape[1]:
            least = logs.topk(self.top_k, 1).values[:, -1:]
            logs = logs.masked_fill(logs < least, -torch.inf).log_softmax(1)
        if self.top_p < 1:
            ordered, places = logs.sort(1, descending=True)
            likelier = ordered.double().exp().cumsum(1) - ordered.double().exp()
            too_many = torch.zeros_like(logs, dtype=torch.bool).scatter(1, places, likelier >= self.top_p)
            logs = logs.masked_fill(too_many, -torch.inf).log_softmax(1)
        return logs


def drawn(log_probs: Tensor, chance: Tensor) -> Tensor:
    """The token ``[B]`` at which the summed-up probability passes a number ``[B]`` between 0 and 1."""
    mass = log_probs.double().exp().cumsum(1)
    wanted = chance[:, None] * mass[:, -1:]
    return torch.searchsorted(mass, wanted, right=True)[:, 0].clamp(max=mass.shape[1] - 1)
