"""Distributions brought to another type or device, whatever they are made of."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution import Distribution


def moved(thing: Any, dtype: torch.dtype, device: str = "cpu") -> Any:
    """The same with all tensors on a device, numbers in another type; what wanted gradients still does."""
    if isinstance(thing, Tensor):
        kind = dtype if thing.is_floating_point() else thing.dtype
        return thing.detach().to(device, kind).requires_grad_(thing.requires_grad)
    if isinstance(thing, tuple | list):
        return type(thing)(moved(one, dtype, device) for one in thing)
    if isinstance(thing, Distribution):
        made = copy.copy(thing)
        made.__dict__.update({name: moved(value, dtype, device) for name, value in vars(thing).items()})
        return made
    return thing
