"""The words of a recipe: what each key holds once it has been read.

The keys of ``student``, ``training`` and ``evaluation`` are the fields below: name, type, range, default and
help are read from here, like the options of a teacher are read from its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tutelage.objective import Term

__all__ = ["Evaluation", "SamplesWord", "StudentWord", "TeacherWord", "Term", "Training", "Word"]

Tracker = Literal[
    "tensorboard", "wandb", "trackio", "mlflow", "comet_ml", "aim", "clearml", "dvclive", "swanlab"
]


@dataclass(frozen=True)
class Word:
    """A name of a table with its options.

    Attributes:
        kind: the name.
        options: everything its entry may be told, defaults filled in.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TeacherWord(Word):
    """A name of `tutelage.teachers.TABLE`; an option may itself be a teacher word or a tuple of them."""


@dataclass(frozen=True)
class SamplesWord(Word):
    """A name of `tutelage.samples.TABLE`."""


@dataclass(frozen=True)
class StudentWord:
    """The model to be trained: one that exists, or a new one made from a config.

    Attributes:
        model: folder or hub name of a model to go on from.
        config: instead of `model`: the settings of a new model as its `config.json` has them, with
            `model_type`, or the path of such a file.
        tokenizer: folder or hub name of the tokenizer; needed with `config`, else the model's own.
        lora_rank: train adapters of this rank instead of the weights, and merge them at the end; None trains
            the weights.
        lora_alpha: adapters are scaled by this over their rank; None takes twice the rank.
        lora_targets: names of the layers that get one; None takes all linear ones but the output layer.
    """

    model: str | None = None
    config: Mapping[str, Any] | str | None = None
    tokenizer: str | None = None
    lora_rank: Annotated[int, "[1, inf)"] | None = None
    lora_alpha: Annotated[float, "(0, inf)"] | None = None
    lora_targets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Training:
    """How the student is trained, in the words of `transformers.TrainingArguments`.

    Attributes:
        learning_rate: the highest rate of AdamW, reached after the warm-up.
        per_device_train_batch_size: rows in one micro-batch of one process.
        gradient_accumulation_steps: micro-batches of a process in one step.
        num_train_epochs: how often the text is gone through, where `max_steps` does not say otherwise.
        max_steps: steps to take; above 0 it wins over `num_train_epochs`, -1 leaves it to that.
        lr_scheduler_type: how the rate falls after the warm-up.
        warmup_steps: steps in which the rate rises from 0; above 0 it wins over `warmup_ratio`.
        warmup_ratio: the same as a share of all steps.
        weight_decay: decay of AdamW, on matrices only.
        adam_beta1: memory of AdamW's mean gradient.
        adam_beta2: memory of AdamW's mean squared gradient.
        adam_epsilon: keeps AdamW's division finite.
        max_grad_norm: the whole gradient is shortened to this length; 0 leaves it as it is.
        bf16: compute in bfloat16; the weights that are trained stay in float32.
        gradient_checkpointing: compute activations twice instead of keeping them.
        logging_steps: a line of `metrics.jsonl` every so many steps.
        eval_steps: an evaluation on held-out text every so many steps.
        save_steps: a checkpoint to resume from every so many steps.
        save_total_limit: checkpoints that are kept; the oldest is deleted first.
        report_to: trackers that are told the metrics too, by their names in accelerate.
    """

    learning_rate: Annotated[float, "(0, inf)"] = 5e-5
    per_device_train_batch_size: Annotated[int, "[1, inf)"] = 8
    gradient_accumulation_steps: Annotated[int, "[1, inf)"] = 1
    num_train_epochs: Annotated[float, "(0, inf)"] = 1.0
    max_steps: Annotated[int, "[1, inf)"] | Literal[-1] = -1
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: Annotated[int, "[0, inf)"] = 0
    warmup_ratio: Annotated[float, "[0, 1]"] = 0.0
    weight_decay: Annotated[float, "[0, inf)"] = 0.0
    adam_beta1: Annotated[float, "[0, 1)"] = 0.9
    adam_beta2: Annotated[float, "[0, 1)"] = 0.999
    adam_epsilon: Annotated[float, "(0, inf)"] = 1e-8
    max_grad_norm: Annotated[float, "[0, inf)"] = 1.0
    bf16: bool = False
    gradient_checkpointing: bool = False
    logging_steps: Annotated[int, "[1, inf)"] = 10
    eval_steps: Annotated[int, "[1, inf)"] = 50
    save_steps: Annotated[int, "[1, inf)"] = 100
    save_total_limit: Annotated[int, "[1, inf)"] = 2
    report_to: tuple[Tracker, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """What the student is measured on: text it is not trained on.

    Attributes:
        data: path or hub name of held-out text, read like the data of `samples`.
        max_rows: rows that are used, from the beginning.
        per_device_eval_batch_size: rows in one batch of one process.
        prompts: beginnings that teacher and student are asked to continue, for the report.
        max_new_tokens: length of those continuations.
    """

    data: str
    max_rows: Annotated[int, "[1, inf)"] = 100
    per_device_eval_batch_size: Annotated[int, "[1, inf)"] = 8
    prompts: tuple[str, ...] = ()
    max_new_tokens: Annotated[int, "[1, inf)"] = 60
