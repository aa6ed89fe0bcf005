"""Losses of other libraries, as functions of the same four tensors, and whether they compute the same.

They live in an environment of their own (``peers.txt``) and are imported where they are asked for. Each is
called as its library calls it: where a trainer makes logits first, they are made first, all of them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.distribution import Hidden
from tutelage.divergences import loss as our_loss

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Student's hidden states and weight, teacher's; a scalar in nats per position."""

BETA = {"forward_kl": 0.0, "jensen_shannon": 0.5, "reverse_kl": 1.0}
"""How TRL and Liger call the divergences."""


@dataclass(frozen=True)
class Peer:
    """Another library's loss.

    Attributes:
        library: what has to be installed.
        loss: from a divergence to the loss.
        divergences: that it has.
        about: how it goes about it.
        less_entropy: its forward KL leaves the teacher's entropy out, which has no gradient.
    """

    library: str
    loss: Callable[[str], Loss]
    divergences: tuple[str, ...]
    about: str
    less_entropy: bool = False

    @property
    def is_here(self) -> bool:
        """Whether its library is installed."""
        return importlib.util.find_spec(self.library) is not None


def labels(rows: int, hidden: Tensor) -> Tensor:
    """Token ids of ``hidden`` ``[n, H]`` that nobody leaves out, ``[rows, n]``."""
    return torch.zeros(rows, len(hidden), dtype=torch.long, device=hidden.device)


def trl_dense(divergence: str) -> Loss:
    """The loss of TRL's `GKDTrainer`."""
    from trl.experimental.gkd import GKDTrainer

    def loss(hidden: Tensor, weight: Tensor, told: Tensor, theirs: Tensor) -> Tensor:
        with torch.no_grad():
            teacher = told @ theirs.T
        return GKDTrainer.generalized_jsd_loss(hidden @ weight.T, teacher, beta=BETA[divergence])

    return loss


def trl_chunked(divergence: str) -> Loss:
    """The loss of TRL's `DistillationTrainer`."""
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    def loss(hidden: Tensor, weight: Tensor, told: Tensor, theirs: Tensor) -> Tensor:
        counts = labels(1, hidden) + 1
        return _chunked_divergence_loss(hidden[None], told[None], weight, theirs, counts, BETA[divergence])[0]

    return loss


def torchtune_dense(divergence: str) -> Loss:
    """torchtune's `ForwardKLLoss` and `ReverseKLLoss`."""
    losses: Any = importlib.import_module("torchtune.modules.loss")
    own = losses.ForwardKLLoss() if divergence == "forward_kl" else losses.ReverseKLLoss()

    def loss(hidden: Tensor, weight: Tensor, told: Tensor, theirs: Tensor) -> Tensor:
        with torch.no_grad():
            teacher = told @ theirs.T
        return own(hidden @ weight.T, teacher, labels(1, hidden)[0])

    return loss


def torchtune_chunked(divergence: str) -> Loss:
    """torchtune's losses over eight chunks of logits."""
    losses: Any = importlib.import_module("torchtune.modules.loss")
    forward = divergence == "forward_kl"
    own = losses.ForwardKLWithChunkedOutputLoss() if forward else losses.ReverseKLWithChunkedOutputLoss()

    def loss(hidden: Tensor, weight: Tensor, told: Tensor, theirs: Tensor) -> Tensor:
        with torch.no_grad():
            teacher = [chunk @ theirs.T for chunk in told[None].chunk(own.num_output_chunks, dim=1)]
        student = [chunk @ weight.T for chunk in hidden[None].chunk(own.num_output_chunks, dim=1)]
        return own(student, teacher, labels(1, hidden))

    return loss


def liger(chunk_rows: int) -> Callable[[str], Loss]:
    """Liger's fused and compiled loss, with so many rows in a chunk."""

    def with_divergence(divergence: str) -> Loss:
        from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

        own = LigerFusedLinearJSDLoss(
            weight_hard_loss=0.0, weight_soft_loss=1.0, beta=BETA[divergence], chunk_size=chunk_rows
        )

        def loss(hidden: Tensor, weight: Tensor, told: Tensor, theirs: Tensor) -> Tensor:
            return own(hidden, weight, told, theirs, labels(1, hidden)[0])

        return loss

    return with_divergence


PEERS = {
    "TRL dense": Peer("trl", trl_dense, tuple(BETA), "`GKDTrainer.generalized_jsd_loss` on all logits"),
    "TRL chunked": Peer("trl", trl_chunked, tuple(BETA), "the loss of `DistillationTrainer`"),
    "torchtune dense": Peer(
        "torchtune",
        torchtune_dense,
        ("forward_kl", "reverse_kl"),
        "`ForwardKLLoss`, `ReverseKLLoss` on all logits",
        less_entropy=True,
    ),
    "torchtune chunked": Peer(
        "torchtune",
        torchtune_chunked,
        ("forward_kl", "reverse_kl"),
        "`ForwardKLWithChunkedOutputLoss` and its reverse",
        less_entropy=True,
    ),
    "Liger": Peer(
        "liger_kernel", liger(1024), tuple(BETA), "`LigerFusedLinearJSDLoss`, compiled, as it comes"
    ),
    "Liger, chunks of 256": Peer(
        "liger_kernel", liger(256), tuple(BETA), "the same with `chunk_size=256`, which takes less memory"
    ),
}


def differences(
    name: str, divergence: str, rows: int = 64, vocab: int = 500, width: int = 32
) -> dict[str, Any]:
    """How far a peer is from ours on small tensors.

    Returns:
        ``value``: difference of the losses, nats; ``gradient``: largest difference in the gradients of hidden
        states and weight, as a share of the largest entry.
    """
    torch.manual_seed(1)
    hidden, told = torch.randn(rows, width), torch.randn(rows, width)
    weight, theirs = torch.randn(vocab, width) * 0.3, torch.randn(vocab, width) * 0.3
    peer = PEERS[name]
    theirs_value, theirs_grads = _with_gradients(peer.loss(divergence), hidden, weight, told, theirs)
    value, grads = _with_gradients(
        lambda h, w, t, o: our_loss(h, w, Hidden(t, o), divergence), hidden, weight, told, theirs
    )
    if peer.less_entropy and divergence == "forward_kl":
        said = (told @ theirs.T).log_softmax(-1)
        theirs_value += float((said.exp() * said).sum(-1).mean())
    off = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(theirs_grads, grads, strict=True)]
    return {"value": abs(theirs_value - value), "gradient": max(off)}


def _with_gradients(
    loss: Loss, hidden: Tensor, weight: Tensor, told: Tensor, theirs: Tensor
) -> tuple[float, list[Tensor]]:
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    value = loss(hidden, weight, told, theirs)
    value.backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return float(value), [hidden.grad, weight.grad]
