"""Cached = local: what a cache gives back is what its teacher said, or a bound or an estimate of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tutelage.conformance.found import Answers, Found, NotChecked
from tutelage.conformance.subject import Subject
from tutelage.distribution import Distribution
from tutelage.divergences import TABLE
from tutelage.errors import TutelageError
from tutelage.interfaces import Machine
from tutelage.objective import Term
from tutelage.run.cache_source import Source, vocabulary_files
from tutelage.run.caching import form_told, layer_file
from tutelage.run.keeping import in_order, tensors_of
from tutelage.run.told import told_tokenizer
from tutelage.stores.building import Plan, begun, fill, finish
from tutelage.stores.manifest import LAYER, Description
from tutelage.stores.payload import Form, framed, packed
from tutelage.stores.places import folder_at
from tutelage.stores.rows import row_key
from tutelage.teachers.cached import CachedTeacher
from tutelage.teachers.fingerprint import fingerprint
from tutelage.teachers.moving import standing

EXACT, SHORT, TOP_K, SAMPLED = "hidden, float32", "hidden, bfloat16", "top_k", "sampled"
FORMS = {
    EXACT: Form("hidden", "float32"),
    SHORT: Form("hidden", "bfloat16"),
    TOP_K: Form("top_k", "float32"),
    SAMPLED: Form("sampled", "float32"),
}
NO_TEACHER = "no term compares with a teacher"


def cached_is_local(subject: Subject, scratch: Path) -> Answers:
    """A cache of each kind is built from the rows; a recipe that names a cache is asked about that one."""
    if subject.teacher is None:
        raise NotChecked(NO_TEACHER)
    if isinstance(subject.teacher, CachedTeacher):
        return _own(subject, subject.teacher)
    try:
        standing(subject.teacher, "cached")
    except TutelageError as error:
        raise NotChecked(error.problem) from None
    source = _source(subject)
    found: dict[str, Found | str] = {}
    for measure, form in FORMS.items():
        try:
            packed(subject.told, form, rows=slice(0, 1))
        except TutelageError as error:  # this teacher cannot be kept in this form
            found[measure] = error.problem
            continue
        cache = _built(subject, source, form, scratch / form.kind / str(form.precision))
        found[measure] = compared(subject, subject.told, cache(subject.batch), form)
    return found


def _own(subject: Subject, cache: CachedTeacher) -> Answers:
    """The recipe's cache against the teacher that it was made with, where the recipe names it."""
    if cache.of is None or cache.opened is None:
        raise NotChecked("name the teacher behind the cache under `of:`, to have the two compared")
    described = cache.opened.cache.description
    live = cache.of.open(Machine(str(subject.accelerator.device), described.dtype or "float32"))
    with torch.no_grad():
        told = live(subject.batch)
    form = Form(described.form["kind"], described.form["precision"])
    measure = {"top_k": TOP_K, "sampled": SAMPLED}.get(
        form.kind, EXACT if form.precision == "float32" else SHORT
    )
    kept = cache.measured()(subject.batch)
    others = dict.fromkeys(FORMS, f"the recipe's cache keeps {form.kind}, {form.precision}")
    return {**others, measure: compared(subject, told, kept, form)}


def values_apart(subject: Subject, one: Distribution, other: Distribution) -> Found:
    """How far two teachers that should be one are apart in the losses that a student gets from them."""
    gaps = subject.values(one) - subject.values(other)
    apart = gaps.mean(1).abs().nan_to_num(nan=math.inf)
    worst = int(apart.argmax())
    largest = float(gaps[worst].abs().max())
    return Found(float(apart[worst]), f"{subject.from_teacher[worst]}; at one token at most {largest:.2g}")


def compared(subject: Subject, local: Distribution, kept: Distribution, form: Form) -> Found | str:
    """What was kept against what was said: the same, a bound from below, or an estimate, by its kind.

    Args:
        subject: gives the student and the terms.
        local: what the teacher says about all rows.
        kept: the same from a cache.
        form: of the cache.
    """
    if form.kind == "hidden":
        return values_apart(subject, local, kept)
    law = {"top_k": "merging", "sampled": "bounded_by_teacher"}[form.kind]
    plain = [t for t in subject.from_teacher if t.temperature == 1 and not (t.standardise or subject.tempers)]
    terms = [t for t in plain if law in TABLE[t.divergence].laws]
    if not terms:
        what = "bounded from below by k tokens" if form.kind == "top_k" else "estimated from drawn tokens"
        return f"none of the recipe's terms is {what}"
    # Terms one by one: together they would share a walk that not all kinds of rows can take.
    full = torch.cat([subject.values(local, (term,)) for term in terms])
    gaps = full - torch.cat([subject.values(kept, (term,)) for term in terms])
    return _lower(full, gaps, terms, form) if form.kind == "top_k" else _unbiased(gaps, terms)


def _lower(full: Tensor, gaps: Tensor, terms: Sequence[Term], form: Form) -> Found:
    mean = ", ".join(f"{term} {float(gap):.3g}" for term, gap in zip(terms, gaps.mean(1), strict=True))
    above = float((-gaps).max().clamp(min=0).nan_to_num(nan=math.inf))
    said = f"above the full one at any token; gap on average: {mean}"
    return Found(above, said, max(1.0, float(full.max())), form.dtype.itemsize < 4)


def _unbiased(gaps: Tensor, terms: Sequence[Term]) -> Found:
    errors = gaps.std(1) / math.sqrt(gaps.shape[1])
    # What rounding alone can do is no bias, however small the spread.
    off = (gaps.mean(1).abs() - 1e-6).clamp(min=0) / errors.clamp(min=1e-12)
    worst = int(off.nan_to_num(nan=math.inf).argmax())
    said = f"{terms[worst]}: {-float(gaps[worst].mean()):+.2g} nats off on average"
    return Found(float(off[worst]), said)


def _source(subject: Subject) -> Source:
    assert subject.teacher is not None
    columns = tuple(getattr(subject.teacher, "columns", ()))
    keys = [row_key(e.tokens, e.counted, [e.columns.get(c) for c in columns]) for e in subject.rows]
    return Source(
        subject.student,
        subject.teacher,
        subject.shared,
        keys,
        subject.rows,
        measured=(),
        where=subject.where,
        text={},
        recorded={"teacher": "the recipe's teacher"},
    )


def _built(subject: Subject, source: Source, form: Form, place: Path) -> CachedTeacher:
    """A cache of the rows, opened as a run opens it."""
    with torch.no_grad():
        frame = framed(subject.told, form)
    numbers = in_order(source.rows, range(len(source.rows)))
    counts = [sum(source.rows[n].counted[1:]) for n in numbers]
    description = Description(
        form=form_told(form),
        frame=frame.told(),
        teacher=fingerprint(source.teacher, subject.shelf.dtype),
        dtype=subject.shelf.dtype,
        tokenizer=told_tokenizer(subject.student.vocabulary),
        text=source.text,
        columns=source.columns,
        shard_tokens=sum(counts),
    )
    beside = vocabulary_files(source.teacher.vocabulary, source.recorded["teacher"])
    beside |= {LAYER: layer_file(frame)} if frame.layer else {}
    shard = [(source.keys[n], count) for n, count in zip(numbers, counts, strict=True)]
    plan, folder = Plan(description, beside, [shard], source.recorded), folder_at(str(place))
    device = subject.shelf.machine.device
    begun(folder, plan)
    fill(folder, plan, lambda _: tensors_of(source, form, numbers, device))
    finish(folder, plan, lambda cache: {})
    return CachedTeacher(str(place)).open(subject.shelf.machine)
