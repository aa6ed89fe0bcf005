"""What the processes of a run have each written, brought together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch.distributed as dist

Key = TypeVar("Key")
Value = TypeVar("Value")


def together(own: Mapping[Key, Value]) -> dict[Key, Value]:
    """The union over all processes of what each has, in the order of the processes; alone it is a copy.

    Every process must call it at the same point.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return dict(own)
    found: list[Mapping[Key, Value]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, dict(own))
    return {key: value for part in found for key, value in part.items()}
