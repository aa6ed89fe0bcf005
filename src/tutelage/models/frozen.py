"""A model held still: a frozen copy of its own, or the live one for a moment in evaluation mode."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator

from tutelage.models.adapters import adapters_off
from tutelage.models.load import LanguageModel


def frozen(model: LanguageModel) -> LanguageModel:
    """A copy that shares no weight with its model, in evaluation mode and without gradients.

    Tied layers stay tied, and adapters are copied with the network that they are in. It takes as much memory
    as the weights do.
    """
    # Together: adapters hold the network, and two copies would each get one.
    network, adapters = copy.deepcopy((model.model, model.adapters))
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.grad = None
    return dataclasses.replace(model, model=network, adapters=adapters)


@contextlib.contextmanager
def at_rest(model: LanguageModel, *, adapters: bool = True) -> Iterator[LanguageModel]:
    """Within the block the model is in evaluation mode; nothing is copied, and afterwards it is as before.

    Args:
        model: may be in the middle of training.
        adapters: False switches them off, which gives the network that they were put into.
    """
    training = model.model.training
    model.model.eval()
    try:
        with contextlib.nullcontext() if adapters else adapters_off(model):
            yield model
    finally:
        model.model.train(training)
