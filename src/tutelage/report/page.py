"""The report itself: findings put into the page, and the page written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tutelage.citations import PAPERS, Paper
from tutelage.files import write_text
from tutelage.report.arms import tables
from tutelage.report.collect import Findings, collect
from tutelage.report.curves import figures, styles
from tutelage.report.document import document
from tutelage.report.drawing import swatch
from tutelage.report.heat import heat_of
from tutelage.report.schema import Prompted, RunFile, finite
from tutelage.report.verdict import UNTOUCHED, verdict
from tutelage.report.wording import amount, plain

ELSEWHERE = "make room, or copy the folder to where you may write, and run `tutelage report` there"


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into a run or study folder and give back its path.

    The page is made from the files of the folder alone: the same files give the same bytes. It needs
    no network and no script.

    Raises:
        TutelageError: the folder holds no run, or the report cannot be written; an older report stays.
        Damaged: one of the files is not what a run writes.
    """
    found = collect(folder)
    path = found.folder / "report.html"
    write_text(path, page(found), fix=ELSEWHERE)
    return path


def page(found: Findings) -> str:
    """The report as one HTML document."""
    named = styles(found)
    control = found.results.compared_with if found.results else None
    said = verdict(found.results)
    return document(
        "page.html",
        ("page.css",),
        generator=f"tutelage {found.run.versions.get('tutelage') or ''}",
        title=f"{_name(found)}: a report by tutelage",
        name=_name(found),
        run=found.run,
        results=found.results,
        facts=_facts(found),
        words=list(found.run.sentence),
        verdict=said,
        remarks=found.remarks,
        tables=tables(found.results) if found.results else (),
        figures=figures(found),
        swatches={name: swatch(style) for name, style in named.items()},
        arms=found.arms,
        untouched=UNTOUCHED,
        control=control,
        heat=heat_of(found.heat, said.arm),
        texts=[(prompt.prompt, _continued(prompt)) for prompt in found.texts],
        recipe=yaml.safe_dump(found.run.recipe, sort_keys=False, allow_unicode=True, width=88),
        provenance=_provenance(found.run),
        papers=[(key, PAPERS.get(key)) for key in found.run.papers],
        bibtex="\n".join(PAPERS[key].bibtex() for key in found.run.papers if key in PAPERS),
        link=_link,
    )


def _name(found: Findings) -> str:
    """What the run is called: the last part of its recipe's ``out``, else of its folder."""
    out = found.run.recipe.get("out")
    return Path(out).name if isinstance(out, str) and Path(out).name else found.folder.resolve().name


def _facts(found: Findings) -> list[str]:
    """The line under the title: how big, how many seeds, how long, on what."""
    run, facts = found.run, []
    for who, values in (("student", run.student), ("teacher", run.teacher)):
        count = finite((values or {}).get("parameters"))
        if count is not None:
            facts.append(f"{who}: {amount(count)} parameters")
    if run.all_seeds:
        facts.append(f"{len(run.all_seeds)} seed{'s' * (len(run.all_seeds) != 1)}")
    held_out = found.results.held_out if found.results else None
    if held_out and held_out.tokens:
        facts.append(f"measured on {held_out.tokens:,} held-out tokens")
    if run.minutes is not None:
        facts.append(f"{run.minutes:.1f} minutes")
    return facts


def _continued(prompt: Prompted) -> list[tuple[str, str, str]]:
    """Writer, prompt and what was written after it."""
    return [(text.writer, prompt.prompt, text.text) for text in prompt.texts]


def _provenance(run: RunFile) -> list[tuple[str, str]]:
    """Names and values of what is needed to run it again."""
    machine = {
        name.replace("_gib", " in GiB"): value for name, value in run.machine.items() if value is not None
    }
    sizes = [(who, values) for who, values in (("Student", run.student), ("Teacher", run.teacher)) if values]
    rows: list[tuple[str, Any]] = [
        ("Command", run.command),
        ("Recipe hash", run.recipe_hash),
        ("Seeds", ", ".join(map(str, run.all_seeds))),
        ("Commit", run.commit),
        *(
            (who, ", ".join(f"{k.replace('_', ' ')} {_value(v)}" for k, v in values.items()))
            for who, values in sizes
        ),
        ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items() if version)),
        ("Machine", "; ".join(f"{name}: {_value(value)}" for name, value in machine.items())),
        ("Started", run.started),
        ("Finished", run.finished),
        ("Duration", None if run.minutes is None else f"{plain(run.minutes, 1)} minutes"),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _link(paper: Paper) -> str | None:
    """Where a paper can be read; a link is followed only by who clicks it."""
    if paper.arxiv:
        return f"https://arxiv.org/abs/{paper.arxiv}"
    return f"https://doi.org/{paper.doi}" if paper.doi else None
