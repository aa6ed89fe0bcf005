"""``tutelage evaluate``: several students in one table."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tutelage.errors import TutelageError
from tutelage.evaluation import TABLE
from tutelage.evaluation.needs import nothing_to_measure
from tutelage.recipes import find

Students = Annotated[list[str], typer.Argument(metavar="STUDENT", help="Model folders or hub names.")]
Data = Annotated[str | None, typer.Option(help="Held-out text: a file or a hub name.")]
Told = Annotated[str | None, typer.Option(help="Compare with this model, server or cache too.")]
Measures = Annotated[
    str | None,
    typer.Option(
        help="Names with commas between, such as rouge_l,dist:n=2, or all (`tutelage list measures`); "
        "else those of held-out text."
    ),
]
MaxRows = Annotated[int, typer.Option(min=1, help="Rows that are used, from the beginning.")]
MaxLength = Annotated[
    int | None, typer.Option(min=2, help="Tokens in a row at most; as many as the models take, up to 512.")
]
Prompt = Annotated[
    str | None, typer.Option(help="How a prompt is made of columns, such as '{instruction}\\n'.")
]
Completion = Annotated[str | None, typer.Option(help="How a completion is made of columns.")]
References = Annotated[
    str | None, typer.Option(help="Column with a reference text or a list of them; else the completion.")
]
PromptTokens = Annotated[int, typer.Option(min=1, help="Of a row of plain text, so many tokens are given.")]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Tokens that are written at most.")]
Seeds = Annotated[str, typer.Option(help="A text is drawn for each; with commas between.")]
Tasks = Annotated[
    str | None, typer.Option(help="Tasks of lm-eval, or YAML files that describe one; with commas between.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def evaluate(
    students: Students,
    data: Data = None,
    teacher: Told = None,
    measures: Measures = None,
    max_rows: MaxRows = 100,
    max_length: MaxLength = None,
    prompt: Prompt = None,
    completion: Completion = None,
    references: References = None,
    prompt_tokens: PromptTokens = 8,
    max_new_tokens: MaxNewTokens = 128,
    seeds: Seeds = "10,20,30,40,50",
    tasks: Tasks = None,
    as_json: AsJson = False,
) -> None:
    """Measure students on held-out text, by what they write, beside a teacher, or on tasks of lm-eval."""
    if data is None and not _split(tasks):
        raise nothing_to_measure()
    asked = _split(measures)
    for name in asked or ():
        if name != "all":
            TABLE[name.partition(":")[0]]  # an unknown name is told in the first second
    numbers = _whole_numbers(seeds)
    places = [find(student) for student in students]
    text, told = None if data is None else find(data), teacher
    if teacher is not None and not teacher.startswith(("http://", "https://")):
        told = find(teacher)
    from tutelage import evaluation

    result = evaluation.compare(
        places,
        data=text,
        teacher=told,
        max_rows=max_rows,
        max_length=max_length,
        prompt=_unescaped(prompt),
        completion=_unescaped(completion),
        measures=asked,
        references=references,
        prompt_tokens=prompt_tokens,
        max_new_tokens=max_new_tokens,
        seeds=numbers,
        tasks=_split(tasks) or (),
    )
    said = json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    print(said if as_json else result.text())


def _split(text: str | None) -> list[str] | None:
    """What stands between commas or spaces."""
    return None if text is None else text.replace(",", " ").split()


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in _split(text) or ()]
    except ValueError:
        raise TutelageError(
            f"--seeds is {text!r}",
            expected="whole numbers with commas between",
            fix="write for instance `--seeds 10,20,30`",
        ) from None


def _unescaped(template: str | None) -> str | None:
    """A shell hands on a backslash and an n as they are; in a template they mean a new line."""
    return template and template.replace("\\n", "\n").replace("\\t", "\t")
