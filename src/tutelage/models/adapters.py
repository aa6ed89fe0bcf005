"""Low-rank adapters (LoRA) on a student: few numbers are trained, and merged into the weights at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from tutelage.errors import MissingExtra, TutelageError, listed
from tutelage.models.load import LanguageModel, quiet
from tutelage.seeds import drawing_from


def with_adapters(
    model: LanguageModel,
    *,
    rank: int,
    alpha: float | None = None,
    targets: Sequence[str] | None = None,
    seed: int = 0,
) -> LanguageModel:
    """The same network, frozen, with trained adapters in its linear layers; it says what it said before.

    Args:
        model: is changed in place.
        rank: of the adapters.
        alpha: they are scaled by ``alpha / rank``; None takes twice the rank.
        targets: names of the layers (as `peft` matches them); None takes all linear ones but the output
            layer.
        seed: of the first numbers.

    Raises:
        TutelageError: a target is not there, or is the output layer or the embedding.
        MissingExtra: `peft` is not installed.

    Source: Hu et al. 2022, LoRA, arXiv:2106.09685; by the library `peft`.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise MissingExtra("peft", "peft") from error
    network: Any = model.model
    chosen = "all-linear" if targets is None else list(targets)
    scale: Any = 2 * rank if alpha is None else alpha
    config = LoraConfig(r=rank, lora_alpha=scale, target_modules=chosen, task_type="CAUSAL_LM")
    ends = {id(network.get_output_embeddings()), id(network.get_input_embeddings())}
    named = [name for name, layer in network.named_modules() if id(layer) in ends]
    for target in targets or ():
        if any(name == target or name.endswith(f".{target}") for name in named):
            raise TutelageError(
                f"an adapter on '{target}', the output layer or the embedding",
                expected="layers of the body: the loss reads the output layer's weight itself",
                fix="leave it out of `student.lora_targets`",
            )
    with quiet(), drawing_from(seed, "adapters"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # it finds the right way by itself
        try:
            made = LoraModel(network, config, "default")
        except ValueError as error:
            names = {name.rpartition(".")[2] for name, layer in network.named_modules() if _linear(layer)}
            raise TutelageError(
                f"no layer of '{model.name}' is called {listed(map(str, targets or ()))}",
                expected=f"some of {listed(sorted(names))}",
                fix="name those under `student.lora_targets`, or delete it for all of them",
            ) from error
    network.enable_input_require_grads()  # else recomputed activations would have nothing to go back to
    return dataclasses.replace(model, adapters=made)


def merged(model: LanguageModel) -> LanguageModel:
    """The network with its adapters merged into its weights, a plain one again; without any, as it is."""
    if model.adapters is None:
        return model
    network: Any = model.model
    network.disable_input_require_grads()
    with quiet():
        plain = model.adapters.merge_and_unload()
    return dataclasses.replace(model, model=plain, adapters=None)


@contextlib.contextmanager
def adapters_off(model: LanguageModel) -> Iterator[None]:
    """Within the block the network says what it said without its adapters; they are trained on afterwards.

    The block has to end before adapters are merged: from then on the network without them is gone.
    """
    trained = {name: weight.requires_grad for name, weight in model.model.named_parameters()}
    # Where they were merged meanwhile there is nothing to switch off, and the trained network would speak.
    assert any("lora_" in name for name in trained), "the network has no adapters any more"
    model.adapters.disable_adapter_layers()
    try:
        yield
    finally:
        model.adapters.enable_adapter_layers()
        for name, weight in model.model.named_parameters():
            weight.requires_grad_(trained[name])


def _linear(layer: Any) -> bool:
    return type(layer).__name__ in ("Linear", "Conv1D")
