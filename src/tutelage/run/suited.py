"""Can this teacher serve this recipe? Asked once all is open, before anything is written."""

from __future__ import annotations

from typing import Any

from tutelage.divergences import TABLE as DIVERGENCES
from tutelage.divergences.rows import not_known
from tutelage.errors import TutelageError, listed
from tutelage.estimators import TABLE as ESTIMATORS
from tutelage.interfaces import AfterStatistics, Teacher
from tutelage.models import LanguageModel
from tutelage.recipes import Recipe, SamplesWord, written
from tutelage.run.told import told_text, told_tokenizer
from tutelage.samples import TABLE as SAMPLES
from tutelage.teachers.fingerprint import members


def serves(recipe: Recipe, teacher: Teacher) -> None:
    """Refuse terms that cannot be computed from what this teacher gives.

    A teacher of which only some tokens are known says so: `needs` names the law that a divergence must keep,
    `partial` that it can be neither tempered nor mixed.

    Raises:
        TutelageError: a term asks for more; the recipe's line stands in front.
    """
    for member in members(teacher):
        if member is not teacher and getattr(member, "partial", False):
            with recipe.blaming("teacher"):
                raise TutelageError(
                    f"a {type(teacher).__name__} of a cache of which only some tokens are known",
                    expected="members that know every token, or k tokens and the mass of the rest",
                    fix="use caches of the kind `hidden`, or `top_k` with `tail: bucket`",
                )
    tempers = getattr(ESTIMATORS.load(recipe.estimator.kind), "tempers", False)
    law, partial = getattr(teacher, "needs", None), getattr(teacher, "partial", False)
    able = [name for name in DIVERGENCES.claiming(law) if DIVERGENCES[name].trains] if law else []
    for number, term in enumerate(recipe.objective):
        if term.against != "teacher":
            continue
        with recipe.blaming(f"objective.{number}"):
            if law and term.divergence not in able:
                raise TutelageError(
                    f"{term.divergence} from a teacher that is known by drawn tokens alone: the estimate "
                    "would be biased or of unbounded variance",
                    expected=f"{listed(able)}: bounded by the teacher's probabilities",
                    fix="write `divergence: forward_kl`, or build a cache of the kind `hidden` or `top_k`",
                )
            if partial and isinstance(DIVERGENCES.load(term.divergence), AfterStatistics):
                raise not_known(term.divergence)
            if partial and (term.temperature != 1 or tempers):
                warm = "a learned temperature" if tempers else f"temperature {term.temperature:g}"
                raise TutelageError(
                    f"{warm} with a teacher of which only some tokens are known",
                    expected="temperature 1: tempering needs the probabilities of all tokens",
                    fix="write `temperature: 1`, or use a cache of the kind `hidden` or `top_k` with "
                    "`tail: bucket`",
                )
            if partial and term.standardise:
                raise TutelageError(
                    "`standardise: true` with a teacher of which only some tokens are known",
                    expected="a teacher that says something of every token",
                    fix="delete `standardise:`, or use a cache of the kind `hidden`",
                )


def known_before(word: SamplesWord) -> None:
    """Refuse text that is written during the run where it has to be known before it.

    Raises:
        TutelageError: the samples are such.
    """
    if SAMPLES[word.kind].writers - {"dataset"}:
        raise TutelageError(
            f"samples of the kind '{word.kind}' are written during the run: no cache has them",
            expected="text that is known before the run",
            fix="use samples of the kind `dataset`, a teacher that can be asked (`kind: model`), or name "
            "that teacher under the cached one's `live:`",
        )


def stored(teacher: Teacher, word: SamplesWord, samples: Any, student: LanguageModel) -> None:
    """Refuse text that a teacher on disk has not seen; a teacher that can be asked sees everything.

    Raises:
        TutelageError: a row is not there, or the text is written during the run.
    """
    for member in members(teacher):
        prove = getattr(member, "prove_rows", None)
        if prove is None or getattr(member, "live", None) is not None:
            continue
        known_before(word)
        told = {"tokenizer": told_tokenizer(student.vocabulary), "text": told_text(word, samples)}
        prove(samples.examples, told, written(word.options.get("data", samples.source.path)))
