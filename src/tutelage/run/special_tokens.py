"""What `tutelage check` finds about chat template, start, end and padding token, and how each is used."""

from __future__ import annotations

from typing import Any

from tutelage.models import LanguageModel

ASKED, ANSWERED = "Hi", "Hello"
MARKS = {"start": "bos_token", "end": "eos_token", "padding": "pad_token"}


def special_tokens(
    student: LanguageModel, teacher: Any, samples: Any
) -> tuple[dict[str, str], dict[str, Any]]:
    """Findings in words, and the ids as numbers.

    Args:
        student: its tokenizer cuts the text.
        teacher: a single loaded model, or whatever else has its `tokenizer`, to compare with; or None.
        samples: open samples, tokenised with the student's tokenizer.
    """
    ours, theirs = student.tokenizer, None if teacher is None else teacher.tokenizer
    end, rows = ours.eos_token_id, samples.examples
    ended = sum(_last_counted(row) == end for row in rows)
    findings = {
        "template": _template(ours, theirs, used=samples.source.kind == "messages"),
        "start token": f"{_mark(ours, theirs, 'bos_token')}; every text begins with it"
        if ours.bos_token_id is not None
        else _mark(ours, theirs, "bos_token"),
        "end token": f"{_mark(ours, theirs, 'eos_token')}; the last token that counts in {ended:,} of "
        f"{len(rows):,} rows",
        "padding": _mark(ours, theirs, "pad_token")
        + (", the end token as well" if ours.pad_token_id == end else "")
        + "; masks are made from lengths, not from ids",
    }
    ids = {"student": _ids(ours)} | ({} if theirs is None else {"teacher": _ids(theirs)})
    return findings, {"special_tokens": ids, "rows_that_end": ended}


def _last_counted(row: Any) -> int | None:
    counted = [token for token, counts in zip(row.tokens, row.counted, strict=True) if counts]
    return counted[-1] if counted else None


def _ids(tokenizer: Any) -> dict[str, int | None]:
    return {name: getattr(tokenizer, f"{mark}_id") for name, mark in MARKS.items()}


def _mark(ours: Any, theirs: Any, mark: str) -> str:
    """One token as both have it: ``the same, <|end|> (id 2)``."""
    if theirs is None or _told(ours, mark) == _told(theirs, mark):
        return ("" if theirs is None else "the same, ") + _told(ours, mark)
    return f"DIFFERENT: student {_told(ours, mark)}, teacher {_told(theirs, mark)}; the student's is used"


def _told(tokenizer: Any, mark: str) -> str:
    token = getattr(tokenizer, mark)
    return "none" if token is None else f"{token} (id {getattr(tokenizer, f'{mark}_id')})"


def _template(ours: Any, theirs: Any, *, used: bool) -> str:
    template = ours.chat_template
    if theirs is not None and template != theirs.chat_template:
        whose = "only the teacher has one" if template is None else "the student's is used for both"
        return f"DIFFERENT chat templates: {whose}"
    if template is None:
        return "none" if theirs is None else "the same, none"
    same = "" if theirs is None else "the same; "
    return f"{same}{'used' if used else 'not used, the text is no messages'}; {_rendered(ours)}"


def _rendered(tokenizer: Any) -> str:
    """What the template makes of a question and an answer, and whether the answer ends with the end token."""
    turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception as error:  # a template is a program: it raises what it likes
        return f"it refuses a plain question and answer ({str(error).strip().splitlines()[0][:100]})"
    closing = text.rpartition(ANSWERED)[2].strip()
    ends = (
        "an answer ends with the end token"
        if closing == tokenizer.eos_token
        else f"an answer ends with {closing or 'nothing'!r} and NOT with the end token {tokenizer.eos_token}"
    )
    return f"a question and an answer become {text!r}; {ends}"
