"""What `tutelage plan student` and `plan teacher` can be told, one name an option."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Size = Annotated[str, typer.Argument(metavar="SIZE", help="Parameters without embeddings, such as 1B.")]
Budget = Annotated[str | None, typer.Option(help="FLOP for this student and its share of the teacher.")]
Tokens = Annotated[str | None, typer.Option(help="Tokens the student may see, such as 512B.")]
Unique = Annotated[str | None, typer.Option(help="Tokens of text there are; seen `--epochs` times at most.")]
Epochs = Annotated[float | None, typer.Option(help="How often each of them may be seen; 4 unless told.")]
Teachers = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        metavar="KEY=VALUE,...",
        help="A teacher that exists: loss (nats on your text), size, tokens, flops, name; may be repeated.",
    ),
]
Who = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        help="Who pays for the teacher: free, inference (its logits), pretraining (its training) or both; "
        "inference if a `--teacher` is given, else both.",
    ),
]
Students = Annotated[int, typer.Option(min=1, help="Students that share the training of one teacher.")]
Rows = Annotated[bool, typer.Option("--rows-shared", help="They share stored logits of the same tokens too.")]
LogitsShare = Annotated[float | None, typer.Option(help="Share of the logits' cost, 0 to 1 (delta_lgt).")]
TrainingShare = Annotated[
    float | None, typer.Option(help="Share of the training's cost, 0 to 1 (delta_pre).")
]
TeacherTokens = Annotated[str | None, typer.Option(help="Tokens a teacher has seen, or may see.")]
ForwardFlops = Annotated[str | None, typer.Option(help="Forward FLOP per token of the student's real shape.")]
Law = Annotated[str, typer.Option(help="Coefficients: a name of `plan laws`, or a file of `plan fit`.")]
Context = Annotated[int, typer.Option(min=1, help="Tokens of a sequence, for the cost of attention.")]
Vocabulary = Annotated[int, typer.Option(min=1, help="Tokens of the tokenizer, for the cost of the output.")]
Aspect = Annotated[float, typer.Option(min=1, help="Width of the models over their layers.")]
Target = Annotated[str | None, typer.Option(help="A loss in nats; its cheapest budgets are told too.")]
Served = Annotated[str | None, typer.Option(help="Tokens it will serve; with a target, the cheapest size.")]
Peak = Annotated[str | None, typer.Option(help="Peak FLOP per second of a device, for hours and price.")]
Mfu = Annotated[float | None, typer.Option(help="Share of the peak that training reaches; 0.4 unless told.")]
TeacherMfu = Annotated[
    float | None, typer.Option(help="Share of the peak of a teacher's forward pass; 0.5 unless told.")
]
Throughput = Annotated[str | None, typer.Option(help="Measured FLOP per second of a device in training.")]
TeacherThroughput = Annotated[str | None, typer.Option(help="The same of a teacher's forward pass.")]
Devices = Annotated[int, typer.Option(min=1, help="Devices that work together.")]
Price = Annotated[float | None, typer.Option(help="Price of a device for an hour.")]
Entries = Annotated[int | None, typer.Option(help="Kept tokens of a stored row, for the size on disk.")]
EntryBytes = Annotated[
    float | None, typer.Option(help="Bytes of a kept token, index and probability; 6 unless told.")
]
DiskPrice = Annotated[float | None, typer.Option(help="Price of a terabyte for a month.")]
Temperature = Annotated[float, typer.Option(help="Of the objective; the law knows 1.")]
Mixing = Annotated[float, typer.Option(help="Weight of the teacher against gold tokens; the law knows 1.")]
Divergence = Annotated[str, typer.Option(help="Of the objective; the law knows forward KL.")]
TopK = Annotated[int | None, typer.Option(help="Kept tokens in the objective; the law knows all.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a page with the curves.")]
