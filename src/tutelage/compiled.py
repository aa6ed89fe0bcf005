"""Elementwise work as one kernel each, on a GPU, by `torch.compile`; anywhere else as it is written.

Eager torch writes every intermediate result to memory and reads it again, which on a GPU is all the cost
there is. Functions that are given to `kernel` are plain torch and stay the yardstick: on a CPU, in float64
and on small tensors they run as they are, and so they do where nothing can be compiled (`NOT_COMPILED`
then says why, and a run writes it down).
"""

from __future__ import annotations

import functools
import itertools
import logging
import types
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

WORTH_IT = 2**20
"""Elements from which on a compiled kernel is quicker than eager torch, whose calls cost less by then."""

MOST = 64
"""Kernels in one process; options that change from step to step would compile for ever."""

NOT_COMPILED: dict[str, str] = {}
"""What runs eagerly on a GPU in this process, and why."""

_LOG = logging.getLogger(__name__)
_NUMBER, _MADE = itertools.count(), itertools.count()


class Kernel:
    """A function of tensors, compiled when it is first needed; see `kernel`.

    Args:
        function: plain torch, without a look at the numbers inside its tensors.
        fixed: further arguments, the same in every call.
    """

    def __init__(self, function: Callable[..., Any], fixed: tuple[Hashable, ...]) -> None:
        self.plain = functools.partial(_called, function, fixed)
        self.name = f"{function.__name__}_{next(_NUMBER)}"
        self._compiled: Callable[..., Any] | None = None
        self._given_up = False

    def __call__(self, first: Tensor, *others: Any) -> Any:
        """The function of its tensors; the first one says where and how large."""
        tensors = (first, *others)
        if self._given_up or not self._wanted(first):
            return self.plain(tensors)
        try:
            if self._compiled is not None:
                with _Constants():  # other sizes may compile it anew
                    return self._compiled(tensors)
            with warnings.catch_warnings(), _Constants():
                warnings.simplefilter("ignore")  # the compiler's advice is not for who trains
                compiled = self._make()
                result = compiled(tensors)
            self._compiled = compiled
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            self._given_up = True
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            NOT_COMPILED[self.name] = reason
            _LOG.warning("%s runs eagerly, which is slower: %s", self.name, reason)
            return self.plain(tensors)
        return result

    def _wanted(self, first: Tensor) -> bool:
        return first.device.type == "cuda" and first.dtype != torch.float64 and first.numel() >= WORTH_IT

    def _make(self) -> Callable[..., Any]:
        if next(_MADE) >= MOST:
            raise RuntimeError(f"{MOST} kernels were compiled before")
        return torch.compile(_own(self.plain, self.name), dynamic=True, fullgraph=True, options=_options())


@functools.cache
def _options() -> dict[str, Any]:
    """That no intermediate result is written to memory because many things are made of it."""
    known = torch._inductor.list_options()
    return {name: 2**20 for name in ("realize_opcount_threshold", "realize_reads_threshold") if name in known}


class _Constants:
    """Options of a divergence become constants of its kernel, whatever their type.

    Left to itself the compiler makes inputs of floats, and some versions (torch 2.13) then fail at a guard of
    their own for numbers that are computed from an option. Set by hand, because `config.patch` takes longer
    than many a kernel.
    """

    def __enter__(self) -> None:
        self._before = torch._dynamo.config.specialize_float
        torch._dynamo.config.specialize_float = True

    def __exit__(self, *_: object) -> None:
        torch._dynamo.config.specialize_float = self._before


@functools.lru_cache(maxsize=4 * MOST)
def kernel(function: Callable[..., Any], *fixed: Hashable) -> Kernel:
    """``function(*tensors, *fixed)`` as a `Kernel`, the same one for the same arguments."""
    return Kernel(function, fixed)


def _called(function: Callable[..., Any], fixed: tuple[Hashable, ...], tensors: tuple[Any, ...]) -> Any:
    return function(*tensors, *fixed)


def _own(plain: Callable[[tuple[Any, ...]], Any], name: str) -> Callable[[tuple[Any, ...]], Any]:
    """The same as a function with code of its own: torch counts by code how often it compiled."""

    def call(tensors: tuple[Any, ...]) -> Any:
        return plain(tensors)

    return types.FunctionType(
        call.__code__.replace(co_name=name), call.__globals__, name, None, call.__closure__
    )
