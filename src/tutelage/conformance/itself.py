"""Teacher = student: a student that is its own teacher has nothing to learn."""

from __future__ import annotations

from pathlib import Path

import torch

from tutelage.conformance.found import Answers, Found, NotChecked
from tutelage.conformance.subject import Subject
from tutelage.divergences import TABLE as DIVERGENCES
from tutelage.teachers.model import ModelTeacher

LOSS, GRADIENT = "loss", "gradient"
AT_A_KINK = frozenset({"total_variation"})
"""Divergences whose slope jumps where student and teacher agree: rounding decides on which side it is."""


def nothing_to_learn(subject: Subject, scratch: Path) -> Answers:
    """Every divergence of the recipe with the student's own weights as its teacher."""
    told = subject.from_teacher
    if not told:
        raise NotChecked("no term compares with a teacher")
    terms = [term for term in told if "zero_at_equality" in DIVERGENCES[term.divergence].laws]
    if not terms:
        raise NotChecked(f"{', '.join(map(str, told))}: not zero where student and teacher agree")
    with torch.no_grad(), subject.accelerator.autocast():
        # A forward pass of its own, as a teacher's is.
        itself = ModelTeacher(subject.student.name, loaded=subject.student)(subject.batch)
    largest = float(subject.values(itself, terms).abs().max())
    smooth = [term for term in terms if term.divergence not in AT_A_KINK]
    lengths = [float(subject.step(subject.batch, itself, terms=(term,)).gradient.norm()) for term in smooth]
    asked = ", ".join(str(term) for term in terms)
    return {
        LOSS: Found(largest, f"largest at any token; {asked}"),
        GRADIENT: Found(max(lengths) / subject.steepness, "of the length of cross-entropy's")
        if lengths
        else f"the slope of {asked} jumps where the two agree",
    }
