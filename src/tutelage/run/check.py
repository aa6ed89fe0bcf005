"""Before anything is spent: do the two speak one language, does the teacher know more, does it fit?"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tutelage.errors import listed
from tutelage.evaluation.held_out import HeldOut
from tutelage.evaluation.intervals import Interval, over_rows
from tutelage.interfaces import Batch, Running, Teacher, Writers
from tutelage.models import LanguageModel
from tutelage.recipes import Recipe
from tutelage.run.learner import Learner, recompute_activations
from tutelage.run.opened import (
    Shelf,
    described,
    estimator_of,
    meeting,
    open_words,
    steps_of,
    try_objective,
)
from tutelage.run.single import Job, Probe
from tutelage.run.special_tokens import special_tokens
from tutelage.run.study import make_accelerator
from tutelage.teachers import moving
from tutelage.text import show

GO = "go"
COLD = "cold start first"
NOTHING = "this teacher adds nothing here"
ROWS = 100
CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class CheckResult:
    """What `tutelage check` found out.

    Attributes:
        verdict: `go`, `cold start first` or `this teacher adds nothing here`.
        why: one sentence.
        findings: what was looked at and what came out, in words.
        numbers: the same as numbers: nats per token with 95 % intervals, bytes, shares.
        example: one rendered row with its mask.
    """

    verdict: str
    why: str
    findings: dict[str, str]
    numbers: dict[str, Any] = field(default_factory=dict)
    example: str = ""

    @property
    def exit_status(self) -> int:
        """0 for go, 3 for an answer that says do not start."""
        return 0 if self.verdict == GO else 3

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        return asdict(self) | {"exit_status": self.exit_status}

    def text(self) -> str:
        """For people."""
        width = max(map(len, self.findings))
        lines = [f"{name:<{width}}  {said}" for name, said in self.findings.items()]
        return "\n".join(
            [*lines, "", "one row, counted tokens marked:", self.example, "", f"{self.verdict}: {self.why}"]
        )


def check(recipe: Recipe) -> CheckResult:
    """Look at a recipe's models and text without training; a study is judged by its first arm with a teacher.

    The verdict is *cold start first* where the student predicts the text no better than single-token
    frequencies do, and *this teacher adds nothing here* where the teacher is not better than the student
    on the text by more than the noise over its rows.

    Raises:
        TutelageError: something cannot be used: the vocabularies differ, a file is missing, ...
    """
    single = judged(recipe)
    try_objective(single)
    accelerator = make_accelerator(recipe)
    shelf = Shelf(accelerator)
    open_words(single, shelf)
    student = shelf.student(single, single.seed)
    samples = shelf.samples(single.samples, student)
    handed = samples.shared_out(
        seed=single.seed,
        micro_rows=single.training.per_device_train_batch_size,
        micro_steps=single.training.gradient_accumulation_steps,
    )
    running = Running(student, steps_of(single.training, handed))
    teacher = shelf.teacher(single.teacher) if single.needs_teacher else None
    teacher = None if teacher is None else moving.beside(teacher, running)
    shared = meeting(student, teacher)
    findings = {"text": f"{samples.source.found}; {samples.said}", "vocabulary": shared.said}
    if (said := getattr(teacher, "said", None)) is not None:
        findings["teacher"] = said
    speaks = getattr(teacher, "loaded", None) or getattr(teacher, "opened", None)
    marks, ids = special_tokens(student, speaks, samples)
    findings |= marks
    probe = Probe(Job("check", single.seed, single, Path(recipe.out)), shelf, running, accelerator)
    where = "held-out text"
    if not probe.batches:
        where = "training text, for want of `evaluation:`"
        rows = single.training.per_device_train_batch_size
        probe.batches = [b.to(accelerator.device) for b in samples.in_order(rows, ROWS)]
    found = probe.held_out()
    numbers: dict[str, Any] = {"where": where, "rows": len(found.tokens), "tokens": int(found.tokens.sum())}
    numbers |= {name: asdict(over_rows(sums, found.tokens)) for name, sums in found.sums.items()}
    numbers["unigram_nats"] = unigram_nats(samples.examples, probe.batches, student.vocabulary.width)
    numbers |= probe.outside() | ids
    findings["nats per token"] = _said_nats(found, where, numbers["unigram_nats"])
    if (examined := probe.examined()).sums:
        further = {name: over_rows(sums, examined.tokens) for name, sums in examined.sums.items()}
        numbers["examined"] = {name: asdict(interval) for name, interval in further.items()}
        findings["inside the teacher"] = _said_further(further)
    warned = [*moving.warnings(teacher), *moving.remarks(probe.teacher, examined.means())]
    findings |= {f"warning {number}": line for number, line in enumerate(warned, 1)}
    numbers["step_bytes"], numbers["machine_bytes"] = _memory(single, student, teacher, samples, shared)
    findings["memory"] = (
        f"a step takes about {numbers['step_bytes'] / 2**30:.2f} GiB "
        "(one micro-batch measured, optimiser added); the machine has "
        f"{numbers['machine_bytes'] / 2**30:.1f} GiB"
    )
    verdict, why = _verdict(single, found, numbers)
    return CheckResult(verdict, why, findings, numbers, show(samples.examples[0], student.tokenizer))


def unigram_nats(examples: Any, batches: list[Batch], width: int) -> float:
    """Nats per token of single-token frequencies, counted on the training rows with one added to each."""
    counts = torch.ones(width, dtype=torch.float64)
    for example in examples:
        tokens = torch.tensor(
            [t for t, counted in zip(example.tokens, example.counted, strict=True) if counted]
        )
        counts += torch.bincount(tokens.long(), minlength=width)[:width]
    log_probs = (counts / counts.sum()).log()
    gold = torch.cat([batch.gold.cpu() for batch in batches])
    return -float(log_probs[gold].mean())


def judged(recipe: Recipe) -> Recipe:
    """The run that stands for a study: its first arm with a teacher, else its first."""
    arms = [arm for _, _, arm in recipe.runs()]
    return next((arm for arm in arms if arm.needs_teacher), arms[0])


def _said_nats(found: HeldOut, where: str, unigram: float) -> str:
    parts = [f"student {over_rows(found.sums['student_nats'], found.tokens)}".replace("+", "")]
    if "teacher_nats" in found.sums:
        parts.append(f"teacher {over_rows(found.sums['teacher_nats'], found.tokens)}".replace("+", ""))
        parts.append(f"teacher minus student {_ahead(found)}")
    parts.append(f"single-token frequencies {unigram:.4f}")
    return f"{', '.join(parts)} ({where}, {len(found.tokens)} rows, 95 % intervals)"


def _said_further(further: Mapping[str, Interval]) -> str:
    parts = [
        f"{name.removesuffix('_nats').replace('_', ' ')} {interval}".replace("+", "")
        for name, interval in further.items()
    ]
    return f"{', '.join(parts)} (nats per token, 95 % intervals)"


def _ahead(found: HeldOut) -> Interval:
    return over_rows(found.sums["teacher_nats"] - found.sums["student_nats"], found.tokens)


def led_by_others(recipe: Recipe) -> bool:
    """Whether the teacher is made of the student, and other terms than those against it lead.

    One that is the student's own average or past is not ahead of it yet.
    """
    others = any(term.against != "teacher" for term in recipe.objective)
    return others and recipe.teacher is not None and moving.of_student(described(recipe.teacher))


def _verdict(recipe: Recipe, found: HeldOut, numbers: dict[str, Any]) -> tuple[str, str]:
    student = found.mean("student_nats")
    others = [str(term) for term in recipe.objective if term.against != "teacher"]
    led = led_by_others(recipe)
    if "teacher_nats" in found.sums:
        ahead = _ahead(found)
        if not ahead.high < 0 and not led:
            return NOTHING, (
                f"the teacher minus the student is {ahead} nats per token on this text; "
                "it does not know more than the student does"
            )
    if student >= numbers["unigram_nats"]:
        return COLD, (
            f"the student needs {student:.4f} nats per token, single-token frequencies "
            f"{numbers['unigram_nats']:.4f}; train it with `divergence: cross_entropy` for a while first"
        )
    if led and not _ahead(found).high < 0:
        return GO, (
            "the teacher is made of the student and not ahead of it on this text, which is left to "
            f"{listed(others, 'and')}"
        )
    if "teacher_nats" not in found.sums:
        return GO, "no term compares with a teacher; the text can be learnt from"
    return GO, f"the teacher is {-_ahead(found).mean:.4f} nats per token ahead of the student on this text"


def _memory(
    recipe: Recipe, student: LanguageModel, teacher: Teacher | None, samples: Any, shared: Any
) -> tuple[int, int]:
    training = recipe.training
    handed = samples.shared_out(
        seed=recipe.seed, micro_rows=training.per_device_train_batch_size, micro_steps=1
    ).written_with(Writers(student, shared, teacher))
    batch = handed.micro_batches(0)[0].to(student.model.device)
    watches = moving.watches(teacher) if recipe.compares else ()
    learner = Learner(student, recipe.objective, estimator_of(recipe), shared, watches)
    counted: dict[str, int] = {}
    for writer in ("all", "dataset", "teacher", "student"):
        counted[writer], counted[f"{writer} rows"] = batch.counts(writer)
    cuda = student.model.device.type == "cuda"
    if training.gradient_checkpointing:
        recompute_activations(student.model)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    elif CLEAR_REFS.exists():
        CLEAR_REFS.write_text("5", encoding="ascii")  # the peak of the resident set is counted from here
    loss, _ = learner(batch, None if teacher is None else teacher(batch), counted)
    loss.backward()
    learner.zero_grad()
    moments = 8 * sum(p.numel() for p in learner.parameters() if p.requires_grad)
    if cuda:
        return torch.cuda.max_memory_allocated() + moments, machine_bytes("cuda")
    return peak_resident_bytes() + moments, machine_bytes("cpu")


def machine_bytes(device: str) -> int:
    """Memory of the machine, or of its first GPU."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_resident_bytes() -> int:
    """Most memory that this process had, as far back as it is known."""
    # Linux's getrusage hands the maximum of the starting process down; its own high-water mark does not.
    if CLEAR_REFS.exists():
        lines = CLEAR_REFS.with_name("status").read_text(encoding="utf-8", errors="replace").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    # Elsewhere kilobytes, on macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
