"""The loop: one screen, in plain sight. Accelerate runs it on one process or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import get_scheduler

from tutelage.errors import TutelageError
from tutelage.interfaces import Batch, Constraint, Samples, Teacher
from tutelage.recipes import Training
from tutelage.run.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
    weights_of,
)
from tutelage.run.learner import Learner
from tutelage.run.metrics import Metrics
from tutelage.run.watch import Watch, overlap
from tutelage.seeds import drawing_from
from tutelage.teachers import moving

Probe = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Words:
    """The exchanged words of one run, open and ready.

    Attributes:
        learner: the student and its loss.
        teacher: an open teacher that was told of this run, or None.
        samples: an open source of batches for this process.
        constraint: what the weights must obey.
        training: the recipe's `training:`.
        steps: optimiser steps in all.
        seed: of every stream of chance.
    """

    learner: Learner
    teacher: Teacher | None
    samples: Samples
    constraint: Constraint
    training: Training
    steps: int
    seed: int


def train(
    words: Words,
    folder: Path,
    accelerator: Accelerator,
    metrics: Metrics,
    probe: Probe,
    enough: Callable[[int], bool] = lambda done: False,
) -> int:
    """Train the student to the last step, from where the folder's state left it.

    Args:
        words: what is run.
        folder: of the run; its ``state/`` is read and written.
        accelerator: processes, devices and mixed precision.
        metrics: where numbers go.
        probe: measures the student on held-out text.
        enough: asked after every step whether to end before the last one, as a trial does.

    Returns:
        The step at which this call began (0 unless it resumed).
    """
    training, learner = words.training, words.learner
    optimizer = make_optimizer(learner, training)
    rate = learning_rates(optimizer, training, words.steps)
    watch = Watch(words.samples, metrics)
    begun = _resume(words, folder, optimizer, metrics, watch)
    wrapped, stepper = accelerator.prepare(learner, optimizer)
    for step in range(begun, words.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        batches = words.samples.micro_batches(step)
        counted = counted_tokens(batches, learner, accelerator)
        # The loss, and after it what teacher and estimator watch.
        seen = torch.zeros(1 + len(learner.watches), dtype=torch.float64)
        learner.train()
        with drawing_from(words.seed, "dropout", step, accelerator.process_index):
            for index, batch in enumerate(batch.to(accelerator.device) for batch in batches):
                told = None if words.teacher is None else words.teacher(batch)
                with _gathering(accelerator, wrapped, last=index + 1 == len(batches)):
                    share, watched = wrapped(batch, told, counted)
                    # Data parallelism averages gradients over processes; a share is of the whole step.
                    accelerator.backward(share * accelerator.num_processes)
                seen += torch.cat([share.detach().double().cpu()[None], watched.cpu()])
        norm: Any = accelerator.clip_grad_norm_(learner.parameters(), training.max_grad_norm or float("inf"))
        totals: Any = accelerator.reduce(seen.to(accelerator.device), "sum")
        loss, *others = totals.tolist()
        _finite(loss, float(norm), step + 1)
        stepper.step()
        stepper.zero_grad()
        words.constraint.project(learner.model.named_parameters())
        done = step + 1
        numbers = dict(zip(learner.watches, others, strict=True))
        metrics.step(done, loss, rate(step), float(norm), counted["all"], noted(words, numbers))
        for line in moving.stepped(words.teacher, step, numbers):
            metrics.say(f"warning: {line}")
        if hasattr(learner.estimator, "stepped"):
            learner.estimator.stepped(step, numbers)
        watch.step(done)
        last = done == words.steps or enough(done)
        if done % training.eval_steps == 0 or last:
            metrics.evaluation(done, {**probe(), **overlap(learner, words.teacher, batches)})
        if done % training.save_steps == 0 or last:
            _save(words, folder, optimizer, metrics, watch, done, accelerator)
        if last:
            break
    return begun


def noted(words: Words, watched: Mapping[str, float]) -> dict[str, float]:
    """Numbers of the last step that samples, estimator and teacher tell about it."""
    seen = {f"watched_{name}_nats": value for name, value in watched.items()}
    estimator = getattr(words.learner.estimator, "noted", {})
    return {**words.samples.noted, **estimator, **moving.noted(words.teacher), **seen}


def make_optimizer(learner: torch.nn.Module, training: Training) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, norms) are not decayed."""
    trained = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
    )


def learning_rates(
    optimizer: torch.optim.Optimizer, training: Training, steps: int
) -> Callable[[int], float]:
    """The learning rate as a function of the step alone, so that resuming needs no state of it."""
    warmup = training.warmup_steps or round(training.warmup_ratio * steps)
    schedule: Any = get_scheduler(
        training.lr_scheduler_type, optimizer, num_warmup_steps=warmup, num_training_steps=steps
    )
    factor: Callable[[int], float] = schedule.lr_lambdas[0]
    return lambda step: training.learning_rate * float(factor(step))


def counted_tokens(batches: Iterable[Batch], learner: Learner, accelerator: Accelerator) -> dict[str, int]:
    """Counted tokens of the whole step by writer, over all micro-batches and processes, and their rows.

    Rows with a counted token are under ``all rows``, ``student rows``, ...

    Raises:
        TutelageError: nothing counts in the whole step.
    """
    writers = ["all", *sorted({term.on for term in learner.objective} - {"all"})]
    sums = torch.zeros(2 * len(writers), dtype=torch.int64)
    for batch in batches:
        sums += torch.tensor([count for writer in writers for count in batch.counts(writer)])
    total: Any = accelerator.reduce(sums.to(accelerator.device), "sum")
    names = [name for writer in writers for name in (writer, f"{writer} rows")]
    counted = dict(zip(names, (int(n) for n in total), strict=True))
    if not counted["all"]:
        raise TutelageError(
            "no token of a whole step counts",
            expected="rows with something to be learnt in them",
            fix="look at one with `tutelage check`, which shows its mask",
        )
    return counted


def _finite(loss: float, norm: float, step: int) -> None:
    # Before the weights are touched: the last good state is what a changed recipe would begin from.
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise TutelageError(
            f"step {step}: the loss is {loss} and the gradient's length {norm}",
            expected="finite numbers",
            fix="lower `learning_rate`, write `bf16: false`, or use a divergence that stays finite where a "
            "model says 'never' (jensen_shannon, skew_forward_kl)",
        )


def _gathering(accelerator: Accelerator, module: Any, *, last: bool) -> Any:
    # Gradients travel between processes once a step, with its last micro-batch.
    return torch.enable_grad() if last else accelerator.no_sync(module)


def _resume(
    words: Words, folder: Path, optimizer: torch.optim.Optimizer, metrics: Metrics, watch: Watch
) -> int:
    found = newest_checkpoint(folder / "state")
    if found is None:
        metrics.forget_after(0)
        return 0
    restore_weights(words.learner.model, found.weights)
    restore_optimizer(optimizer, words.learner.model, found.optimizer)
    words.samples.load_state_dict(found.values["samples"])
    moving.restore(words.teacher, found.values.get("teacher", {}), found.teacher)
    if "estimator" in found.values:
        words.learner.estimator.load_state_dict(found.values["estimator"])
    metrics.forget_after(found.step)
    metrics.counted = found.values["counted_tokens"]
    watch.first = found.values.get("first_own_text", [])
    return found.step


def _save(
    words: Words,
    folder: Path,
    optimizer: torch.optim.Optimizer,
    metrics: Metrics,
    watch: Watch,
    step: int,
    accelerator: Accelerator,
) -> None:
    if accelerator.is_main_process:
        model = words.learner.model
        values = {
            "samples": words.samples.state_dict(),
            "counted_tokens": metrics.counted,
            "first_own_text": watch.first,
            "teacher": moving.state_of(words.teacher),
        }
        if hasattr(words.learner.estimator, "state_dict"):
            values["estimator"] = words.learner.estimator.state_dict()
        optimized, teacher = optimizer_tensors(optimizer, model), moving.tensors_of(words.teacher)
        state = Checkpoint(step, weights_of(model), optimized, values, teacher)
        save_checkpoint(folder / "state", state, words.training.save_total_limit)
    accelerator.wait_for_everyone()
