"""A run in one sentence: which teacher, by which divergence, on whose samples, within what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

from tutelage.recipes.places import Place
from tutelage.recipes.words import TeacherWord, Term, Word

_GENERAL = ("student", "teacher", "model", "train", "valid", "dev", "test", "data")
_SPELT = {"kl": "KL"}
_HYPHENATED = {"jensen_shannon": "Jensen-Shannon", "cross_entropy": "cross-entropy"}
_SELF = {
    "initial": "the student before training",
    "current": "the student itself",
    "average": "the student's own average",
    "snapshot": "an earlier state of the student",
}


@runtime_checkable
class Said(Protocol):
    """The part of a recipe that the sentence is made from."""

    @property
    def teacher(self) -> TeacherWord | None: ...
    @property
    def objective(self) -> tuple[Term, ...]: ...
    @property
    def samples(self) -> Word: ...
    @property
    def constraint(self) -> Word: ...
    @property
    def plan(self) -> str: ...


def sentence_of(recipes: Iterable[Said]) -> dict[str, str]:
    """The five words; where the arms of a study differ, each way of saying it once."""
    arms = list(recipes)
    return {
        "teacher": _either(_teacher(arm.teacher) for arm in arms),
        "divergence": _either(_objective(arm.objective) for arm in arms),
        "samples": _either(_samples(arm.samples) for arm in arms),
        "constraint": _either(_name(arm.constraint.kind) for arm in arms),
        "plan": _either(arm.plan for arm in arms),
    }


def _either(texts: Iterable[str]) -> str:
    *most, last = dict.fromkeys(texts)
    return f"{', '.join(most)} or {last}" if most else last


def _teacher(word: TeacherWord | None) -> str:
    if word is None:
        return "none"
    if word.kind == "cached":
        return f"the cache{_place(word.options)}"
    if word.kind == "server":
        return f"the server at {word.options['url']}"
    if word.kind == "self":
        prompted = any(word.options.get(name) for name in ("prompt", "prompt_column"))
        return _SELF[word.options["of"]] + (" with a prompt" if prompted else "")
    inner = [item for value in word.options.values() for item in _several(value)]
    if inner:
        return f"a {_name(word.kind)} of {' and '.join(_teacher(item) for item in inner)}"
    return f"the {_name(word.kind)}{_place(word.options)}"


def _several(value: Any) -> list[TeacherWord]:
    items = value if isinstance(value, tuple) else (value,)
    return [item for item in items if isinstance(item, TeacherWord)]


def _samples(word: Word) -> str:
    kind = {"dataset": "data set"}.get(word.kind, _name(word.kind))
    return f"the {kind}{_place(word.options)}"


def _objective(terms: tuple[Term, ...]) -> str:
    if len(terms) == 1 and terms[0].weight == 1:
        return _term(terms[0])
    return " + ".join(f"{term.weight:g} {_term(term)}" for term in terms)


def _term(term: Term) -> str:
    whose = {"all": "", "dataset": " on the data set"}.get(term.on, f" on the {term.on}'s text")
    warm = f" at temperature {term.temperature:g}" if term.temperature != 1 else ""
    of = " of standardised logits" if term.standardise else ""
    return _name(term.divergence) + of + warm + whose


def _name(kind: str) -> str:
    return _HYPHENATED.get(kind) or " ".join(_SPELT.get(part, part) for part in kind.split("_"))


def _place(options: Mapping[str, Any]) -> str:
    """The first place among the options, shortened to what tells one from another."""
    for value in options.values():
        if isinstance(value, Place):
            written = value.written.removeprefix("package:")
            *above, leaf = [part for part in PurePath(written).parts if part.strip("/.")] or [written]
            stem = leaf.partition(".")[0] or leaf
            # `runs/gpt2/student` is not told apart by its last part, nor is `tinystories/train.jsonl.gz`.
            above = [part for part in above if part not in _GENERAL][-1:]
            return f" {'/'.join([*above, stem]) if stem in _GENERAL or '.' not in leaf else stem}"
    return ""
