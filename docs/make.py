"""Make the reference pages from tables and docstrings.

python docs/make.py            writes docs/reference/*.md, the generated parts of docs/recipes.md and
                               docs/reproductions.md, and the figures of the latter
python docs/make.py --check    writes nothing; exit status 1 if a page is not what the source says
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tutelage import distribution
from tutelage.citations import PAPERS
from tutelage.errors import listed
from tutelage.evaluation import TABLE as MEASURES
from tutelage.recipes import families, reference
from tutelage.registry import Entry, Table, options
from tutelage.reproductions.pages import pages as reproduction_pages

DOCS = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/make.py from the source. Edit the docstrings, then run `make docs`. -->"
BEGIN, END = "<!-- made by docs/make.py: begin -->", "<!-- made by docs/make.py: end -->"
SECTIONS = {"Args:": "Arguments", "Attributes:": "Attributes", "Returns:": "Returns", "Raises:": "Raises"}
SIDE = 110

INTRODUCTIONS = {
    "teachers": """
Where the distribution comes from. Describing a teacher costs nothing; `open(machine)` loads it, and called
with a batch it gives a [distribution](distributions.md) at the counted positions.""",
    "divergences": """
How student and teacher are compared. **Which one? Read [how to choose](../choose-a-divergence.md) first.**

Each is a function of `(student, teacher, **options)`, natural-log probabilities `(..., V)`, and gives
`(...)`. Below, `log_q` is the student's and `log_p` the teacher's. What is called value density and slope is
the elementwise part, a function of `log_q`, `log_p` and their exponentials `q` and `p`: the value of a row is
the sum of the density, and the gradient by the student's logit `j` is `g_j - q_j sum g`. Training uses that
part through `tutelage.loss`, a slice of the vocabulary at a time.""",
    "samples": """
On whose text. Each row knows who wrote it, so that a term of the objective can ask for the rows of one
writer.""",
    "estimators": "How the expectation over text becomes a gradient.",
    "constraints": "What the weights must obey after every step.",
    "measures": """
What `tutelage evaluate` can measure: `--measures NAME,NAME:option=value`. **What each one says and what it
cannot tell is in [evaluation.md](../evaluation.md).** Each is a function of the
[evidence](../../src/tutelage/evaluation/evidence.py) about one student and says what it needs.""",
}
DISTRIBUTIONS = """
What is said at `N` positions about `V` tokens; how they fit into a run is told in [the frame](../frame.md).
All are in `tutelage.distribution`."""
KEYS = {
    "teachers": "teacher",
    "divergences": "divergence",
    "samples": "samples",
    "estimators": "estimator",
    "constraints": "constraint",
}


def tables() -> dict[str, Table]:
    """Every table that has a page: the words of a recipe, and the measures."""
    return families() | {MEASURES.family: MEASURES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or compare them; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is stale")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the pages")
    chosen = parser.parse_args(arguments)
    stale = []
    for path, text in pages(chosen.docs).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not chosen.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(chosen.docs.parent)}: {'stale' if chosen.check else 'written'}")
    if stale and chosen.check:
        print("  expected  the pages as docs/make.py makes them\n  to fix    make docs")
        return 1
    return 0


def pages(docs: Path) -> dict[Path, str]:
    """Every page with its text as the source has it now."""
    made = {docs / "reference" / f"{name}.md": family_page(name) for name in INTRODUCTIONS if tables()[name]}
    made[docs / "reference" / "distributions.md"] = distributions_page()
    recipes = docs / "recipes.md"
    written = recipes.read_text(encoding="utf-8")
    if BEGIN not in written or END not in written:
        raise SystemExit(f"{recipes}: the lines '{BEGIN}' and '{END}' are not there")
    before, _, rest = written.partition(BEGIN)
    made[recipes] = f"{before}{BEGIN}\n\n{reference().strip()}\n\n{END}{rest.partition(END)[2]}"
    return made | reproduction_pages(docs, DOCS.parent / "reproductions")


def family_page(name: str) -> str:
    """A table of the family, then every entry."""
    table = tables()[name]
    rows = [
        [f"[`{key}`](#{key.lower()})", plain(entry.summary), f"`{entry.paper}`" if entry.paper else ""]
        for key, entry in table.items()
    ]
    parts = [
        MADE,
        f"# {name.capitalize()}",
        INTRODUCTIONS[name],
        as_table(["name", "what it is", "paper"], rows),
    ]
    for key, entry in table.items():
        parts += entry_parts(name, key, entry)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def entry_parts(family: str, key: str, entry: Entry) -> Iterator[str]:
    """One entry: how it is called and imported, its docstring, what a recipe says, its laws and paper."""
    thing = entry.load()
    yield f"## {key}"
    module = f"[`{entry.module}`](../../src/{entry.module.replace('.', '/')}.py)"
    package = "evaluation" if family == MEASURES.family else family
    yield f"`from tutelage.{package} import {entry.attribute}`; defined in {module}."
    yield from docstring(thing)
    if family == MEASURES.family:
        yield from measure_parts(key, entry)
        return
    if entry.trains:
        said = {name: one for name, one in options(entry).items() if not one.required}
        told = "".join(
            f", {name}: {_yaml(one.default)}" for name, one in said.items() if one.default is not None
        )
        needed = "".join(f", {name}: ..." for name, one in options(entry).items() if one.required)
        short = f"`{KEYS[family]}: {key}`" if not needed else ""
        long = f"`{KEYS[family]}: {{kind: {key}{needed}{told}}}`" if needed or told else ""
        yield f"In a recipe: {' or '.join(text for text in (short, long) if text)}."
    else:
        yield "A measure for reports: an objective cannot hold it."
    if entry.laws:
        laws = ", ".join(sorted(law.replace("_", " ") for law in entry.laws))
        yield f"Laws it is held to in `tests/laws`: {laws}."
    if entry.paper:
        yield f"Paper: {PAPERS[entry.paper]}. `tutelage cite {key}` prints it as BibTeX."


def measure_parts(key: str, entry: Entry) -> Iterator[str]:
    """A measure: its unit, what it needs, how its options are written, its paper."""
    thing = entry.load()
    better = f", {thing.better} is better" if thing.better else ""
    yield f"Unit: {thing.unit}{better}. It needs {listed(thing.needs, 'and')}."
    said = "".join(f":{name}={_yaml(one.default)}" for name, one in options(entry).items())
    if said:
        yield f"On the command line: `--measures {key}` or `--measures {key}{said}`."
    if entry.paper:
        yield f"Paper: {PAPERS[entry.paper]}. `tutelage cite {key}` prints it as BibTeX."


def distributions_page() -> str:
    """Every kind and every operation of `tutelage.distribution`."""
    things = {name: getattr(distribution, name) for name in distribution.__all__}
    kinds = {name: thing for name, thing in things.items() if inspect.isclass(thing)}
    base = kinds.pop("Distribution")
    operations = {name: thing for name, thing in things.items() if name not in kinds and thing is not base}
    parts = [
        MADE,
        "# Distributions",
        DISTRIBUTIONS,
        as_table(
            ["name", "what it is"],
            [[f"[`{name}`](#{name.lower()})", plain(first_line(thing))] for name, thing in things.items()],
        ),
        "## Distribution",
        *docstring(base, signature=False),
    ]
    for name in ("positions", "vocab_size", "log_probs", "on_support"):
        member = getattr(base, name)
        shown = name if isinstance(member, property) else f"{name}{signature_of(member)}"
        parts += [f"### {name}", f"```text\n{shown}\n```", as_markdown(inspect.getdoc(member) or "")]
    for title, group in (("Kinds", kinds), ("Operations", operations)):
        parts.append(f"## {title}")
        for name, thing in group.items():
            parts += [f"### {name}", *docstring(thing)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def docstring(thing: Any, signature: bool = True) -> Iterator[str]:
    """How a thing is called, and its docstring as Markdown."""
    if signature:
        yield f"```text\n{thing.__name__}{signature_of(thing)}\n```"
    yield as_markdown(inspect.getdoc(thing) or "")


def signature_of(thing: Any) -> str:
    """Names and defaults of the arguments, a line each if they are many; types are told by the docstring."""
    signature = inspect.signature(getattr(thing, "part", thing))
    parameters = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in signature.parameters.values()
        if one.name != "self" and not one.name.startswith("_") and not _state(thing, one.name)
    ]
    text = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    return text.replace("=<factory>", "=...").replace("slice(None, None, None)", "slice(None)")


def as_markdown(text: str) -> str:
    """A docstring of our shape as Markdown: sections become lists, formulas stay as they are."""
    made: list[str] = []
    section = ""
    for line in plain(text).splitlines():
        if line.strip() in SECTIONS and not line.startswith(" "):
            section = line.strip()
            made += [f"**{SECTIONS[section]}**", ""]
        elif line and not line.startswith(" "):
            section = ""
            made.append(re.sub(r"^Source: ", "**Source** ", line))
        elif section in ("Args:", "Attributes:", "Raises:"):
            made.append(_item(line))
        elif section:
            made.append(line.removeprefix("    "))
        else:
            made.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(made)).strip("\n")


def plain(text: str) -> str:
    """The one kind of quotes for code that Markdown has."""
    return text.replace("``", "`")


def first_line(thing: Any) -> str:
    """The sentence that a docstring begins with."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def as_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _item(line: str) -> str:
    named = re.match(r"    (\w[\w, `]*): (.*)", line)
    if not named:
        return f"  {line.strip()}" if line.strip() else ""
    names = ", ".join(f"`{name.strip(' `')}`" for name in named[1].split(","))
    return f"- {names}: {named[2]}"


def _state(thing: Any, name: str) -> bool:
    """Whether a field holds what is loaded later, not what a user says."""
    field = getattr(thing, "__dataclass_fields__", {}).get(name)
    return field is not None and not field.repr


def _yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).strip('"')


if __name__ == "__main__":
    sys.exit(main())
