"""The token ids on which two models provably meet, or the first difference between their tokenizers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import NotShared
from tutelage.models.vocabulary import Vocabulary

PROBES = (
    'Once upon a time, there was  a\tlittle girl.\n\nShe said: "Don\'t go!"',
    "In 1984 it cost $12,345.67 (or 1e10).",
    " leading and trailing spaces   ",
    "def f(x):\n    return {'a': x**2}\n",
    "ÄÖÜ ﬁ e\u0301 Straße, Ελληνικά, Русский, 日本語, العربية, 🙂",
)
"""Texts on which tokenizers with different rules tend to differ."""


@dataclass(frozen=True)
class Shared:
    """The ids that mean the same in two vocabularies: those below `width` without those in `never`.

    Attributes:
        width: one more than the highest shared id.
        never: ids below ``width`` that are not shared, or None if all are.
        left_out_student: ids of the student's tokens that are not shared.
        left_out_teacher: the same of the teacher's.
    """

    width: int
    never: tuple[int, ...] | None
    left_out_student: tuple[int, ...] = ()
    left_out_teacher: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """How many ids are shared."""
        return self.width - len(self.never or ())

    def never_on(self, device: str | torch.device) -> Tensor | None:
        """`never` as a tensor ``[m]``, or None: what `tutelage.distribution.restricted` takes."""
        return None if self.never is None else torch.tensor(self.never, dtype=torch.long, device=device)

    @property
    def said(self) -> str:
        """One line for people."""
        left = [
            f"{len(ids)} only of the {whose}'s"
            for whose, ids in (("student", self.left_out_student), ("teacher", self.left_out_teacher))
            if ids
        ]
        return f"{self.tokens:,} tokens are shared" + (f"; left out are {' and '.join(left)}" if left else "")


def prove_shared(student: Vocabulary, teacher: Vocabulary) -> Shared:
    """The ids that both assign to the same token, with text cut into tokens by the same rules.

    Embedding rows beyond the tokenizer's ids are outside, however the tables are padded. *Added* tokens
    (marks of a template, reserved slots) that only one side has, or that the two name differently, are
    left out and listed. Any other difference is refused.

    Raises:
        NotShared: with the first difference: an id and both strings, a text that the two cut
            differently, or the rule that differs.
    """
    holes, left_student, left_teacher = [], [], []
    width = 0
    for i, (ours, theirs) in enumerate(itertools.zip_longest(student.tokens, teacher.tokens)):
        if ours == theirs and ours is not None:
            width = i + 1
            continue
        _only_added(i, ours, theirs, student, teacher)
        holes.append(i)
        if ours is not None:
            left_student.append(i)
        if theirs is not None:
            left_teacher.append(i)
    _same_rules(student, teacher)
    if width == 0:
        raise NotShared(
            f"'{student.name}' and '{teacher.name}' share no token",
            expected="models of one family, with one tokenizer",
            fix="choose a teacher with the student's tokenizer",
        )
    never = tuple(i for i in holes if i < width)
    return Shared(width, never or None, tuple(left_student), tuple(left_teacher))


def common(*vocabularies: Vocabulary) -> Vocabulary:
    """The tokens that several vocabularies provably share, for teachers that speak as one.

    Ids that not all share are unassigned in what is returned; its end token is the first one's, if all
    share it.

    Raises:
        NotShared: two of them differ.
    """
    first, *others = vocabularies
    tokens = list(first.tokens)
    for other in others:
        shared = prove_shared(first, other)
        tokens = tokens[: shared.width]
        for i in shared.never or ():
            if i < len(tokens):
                tokens[i] = None
    while tokens and tokens[-1] is None:
        tokens.pop()
    end = first.end if first.end is not None and first.end < len(tokens) and tokens[first.end] else None
    if not others:
        return first
    return Vocabulary(
        tuple(tokens),
        len(tokens),
        end,
        " and ".join(vocabulary.name for vocabulary in vocabularies),
        first.rules,
        frozenset.union(*(vocabulary.added for vocabulary in vocabularies)),
        first.tokenizer,
    )


def _only_added(
    i: int, ours: str | None, theirs: str | None, student: Vocabulary, teacher: Vocabulary
) -> None:
    trained = (ours is not None and i not in student.added) or (theirs is not None and i not in teacher.added)
    end = i in (student.end, teacher.end) and ours is not None and theirs is not None
    if not trained and not end:
        return
    raise NotShared(
        f"the token {i} is {_quoted(ours)} in '{student.name}' and {_quoted(theirs)} in '{teacher.name}'",
        expected="one string for every id, in both tokenizers",
        fix="choose a teacher with the student's tokenizer"
        + ("; the end token must be the same" if end and not trained else ""),
    )


def _quoted(token: str | None) -> str:
    return "not there" if token is None else repr(token)


def _same_rules(student: Vocabulary, teacher: Vocabulary) -> None:
    if student.rules == teacher.rules:
        return
    ours, theirs = json.loads(student.rules), json.loads(teacher.rules)
    rule = next(key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key))
    shown = _probe(student, teacher)
    problem = (
        f"the tokenizers of '{student.name}' and '{teacher.name}' have the same tokens and another {rule}"
    )
    if shown is not None:
        text, cut, other = shown
        problem += (
            f": {text!r} is {' '.join(map(str, cut))} in one and {' '.join(map(str, other))} in the other"
        )
    raise NotShared(
        problem,
        expected="text that both cut into the same tokens",
        fix="choose a teacher with the student's tokenizer, or save the one tokenizer beside both models",
    )


def _probe(student: Vocabulary, teacher: Vocabulary) -> tuple[str, list[int], list[int]] | None:
    """The first word, text, token or overlap of two tokens that is cut differently, with both ways."""
    if student.tokenizer is None or teacher.tokenizer is None:
        return None

    def cut(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
        return lambda text: vocabulary.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    ours, theirs = cut(student), cut(teacher)
    words = [word for text in PROBES for word in text.split(" ")]
    known = [student.tokenizer.decode([i]) for i in range(0, student.width, max(1, student.width // 5000))]
    for text in itertools.chain(words, PROBES, known, itertools.islice(_overlaps(known), 5000)):
        if ours(text) != theirs(text):
            return text, ours(text), theirs(text)
    return None


def _overlaps(known: Iterable[str]) -> Iterator[str]:
    # "ab" and "bc" are both tokens: the order of the merges decides how "abc" is cut.
    by_first: dict[str, list[str]] = {}
    short = [text for text in known if 1 < len(text) <= 3]
    for text in short:
        by_first.setdefault(text[0], []).append(text)
    for text in short:
        yield from (text + other[1:] for other in by_first.get(text[-1], ()))
