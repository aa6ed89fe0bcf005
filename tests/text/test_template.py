"""What counts is exactly what the student is to say, for every tokenizer and every text."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import built, bytes_tokenizer

from tutelage.errors import TutelageError
from tutelage.text import Example, Layout, TextRows, examples_of, read_rows, show

# Without control characters and SentencePiece's sign for a space, which not every tokenizer gives back.
letters = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"]), max_size=40)
prompts = st.one_of(
    letters.filter(lambda text: "▁" not in text),
    st.sampled_from(["Question: ", "Once upon a", "What is it?\n", " "]),
)
completions = prompts.filter(str.strip)


def rows_of(*rows: dict[str, Any]) -> TextRows:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    kinds = {"text": {"text"}, "prompt, completion": {"prompt", "completion"}}
    kind = next((kind for kind, needed in kinds.items() if needed <= set(columns)), "")
    return TextRows(list(rows), columns, "", "", "rows", kind)


def decoded(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def split_by_mask(example: Example) -> tuple[list[int], list[int]]:
    first = example.counted.index(True)
    assert example.counted == [False] * first + [True] * (len(example.tokens) - first)
    return example.tokens[:first], example.tokens[first:]


@settings(max_examples=60, deadline=None)
@given(prompt=prompts, completion=completions)
def test_exactly_the_completion_and_the_end_token_count(tokenizer: Any, prompt: str, completion: str):
    """Read back, the counted part says the completion and then ends; the rest says the prompt."""
    made = examples_of(
        rows_of({"prompt": prompt, "completion": completion}), tokenizer, Layout(max_length=999)
    )
    before, said = split_by_mask(made.examples[0])
    assert said[-1] == tokenizer.eos_token_id
    assert_says(tokenizer, said[:-1], completion)
    if tokenizer.bos_token_id is not None:
        assert before[0] == tokenizer.bos_token_id
        assert_says(tokenizer, before[1:], prompt)


def assert_says(tokenizer: Any, ids: list[int], text: str) -> None:
    """SentencePiece may write a space in front, which belongs to no text."""
    assert decoded(tokenizer, ids) in (text, f" {text}")


def test_a_space_that_was_not_asked_for_is_not_taught():
    """SentencePiece gives every text a space in front; in mid-sentence a completion has none."""
    words = built("a space in front")
    made = examples_of(rows_of({"prompt": "(", "completion": "it)"}), words, Layout())
    _, said = split_by_mask(made.examples[0])
    assert decoded(words, said[:-1]) == "it)"


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1))
def test_all_of_a_text_but_the_first_token_counts(one_special: Any, text: str):
    """Also where start, end and padding are one token: the mask doesn't look at ids."""
    made = examples_of(rows_of({"text": text}), one_special, Layout(max_length=9999))
    if not text.strip():
        assert (made.examples, made.empty) == ([], 1)
        return
    (example,) = made.examples
    end = one_special.eos_token_id
    assert example.tokens[0] == example.tokens[-1] == end
    assert example.counted == [False] + [True] * (len(example.tokens) - 1)
    assert decoded(one_special, example.tokens[1:-1]) == text


def test_the_human_rights_go_through_gpt2_unchanged(data: Path, gpt2: Any):
    """26 languages and 11 scripts, as text and as completion."""
    documents = [row["lines"] for row in read_rows(data / "udhr" / "udhr.jsonl.gz").rows]
    lines = [line for document in documents for line in document]
    made = examples_of(rows_of(*({"text": line} for line in lines)), gpt2, Layout(max_length=10_000))
    assert [decoded(gpt2, example.tokens[1:-1]) for example in made.examples] == lines
    pairs = rows_of(*({"prompt": line[:9], "completion": line[9:]} for line in lines if line[9:].strip()))
    made = examples_of(pairs, gpt2, Layout(max_length=10_000))
    for example, row in zip(made.examples, pairs.rows, strict=True):
        before, said = split_by_mask(example)
        assert decoded(gpt2, before[1:]) == row["prompt"]
        assert decoded(gpt2, said[:-1]) == row["completion"]


@settings(max_examples=60, deadline=None)
@given(text=st.text("ab c\n", min_size=1, max_size=200).filter(str.strip), max_length=st.integers(2, 40))
def test_splitting_a_text_counts_every_token_once(tokenizer: Any, text: str, max_length: int):
    (whole,) = examples_of(rows_of({"text": text}), tokenizer, Layout(max_length=10_000)).examples
    made = examples_of(rows_of({"text": text}), tokenizer, Layout(max_length=max_length))
    counted = [
        token
        for piece in made.examples
        for token, counts in zip(piece.tokens, piece.counted, strict=True)
        if counts
    ]
    assert counted == whole.tokens[1:]
    assert all(2 <= len(piece.tokens) <= max_length for piece in made.examples)
    assert made.cut == (len(whole.tokens) > max_length)


@settings(max_examples=60, deadline=None)
@given(
    prompt=st.text("ab c", max_size=60),
    completion=st.text("xyz", min_size=1, max_size=30),
    long=st.integers(2, 60),
)
def test_cutting_takes_from_the_left_of_the_prompt_only(
    tokenizer: Any, prompt: str, completion: str, long: int
):
    """The whole completion stays, with its end; where it does not fit, the row is dropped and counted."""
    row = rows_of({"prompt": prompt, "completion": completion})
    (whole,) = examples_of(row, tokenizer, Layout(max_length=10_000)).examples
    before, said = split_by_mask(whole)
    made = examples_of(row, tokenizer, Layout(max_length=long, long="cut"))
    assert len(made.examples) + made.too_long == 1
    if len(said) + 1 > long:
        assert made.too_long == 1
        assert "1 dropped as too long" in made.said
        return
    kept, still_said = split_by_mask(made.examples[0])
    assert still_said == said
    assert kept[0] == before[0] or tokenizer.bos_token_id is None
    assert kept[1:] == before[len(before) - len(kept) + 1 :]
    assert len(kept) + len(said) == min(long, len(whole.tokens))
    assert made.cut == (len(whole.tokens) > long)


def test_dropping_keeps_the_rows_that_fit_and_says_how_many_did_not(one_special: Any):
    rows = rows_of(*({"prompt": "a" * n, "completion": "b"} for n in range(1, 20)))
    made = examples_of(rows, one_special, Layout(max_length=12, long="drop"))
    assert len(made.examples) + made.too_long == len(rows)
    assert made.cut == 0
    assert f"{made.too_long} dropped as too long" in made.said


def test_format_strings_lay_any_columns_out(one_special: Any):
    """Doubled braces stand for themselves; an empty or absent value for nothing."""
    rows = rows_of({"q": "one", "n": 3, "a": "two"}, {"q": "three", "n": None, "a": "four"})
    made = examples_of(rows, one_special, Layout("{{{q}}} {n}:", "{a}!"))
    texts = [[decoded(one_special, part) for part in split_by_mask(example)] for example in made.examples]
    assert texts == [["<|end|>{one} 3:", "two!<|end|>"], ["<|end|>{three} :", "four!<|end|>"]]


@pytest.mark.parametrize(
    ("layout", "problem"),
    [
        (Layout("{instructon}", "{output}"), "prompt asks for {instructon}, which is no column"),
        (Layout("{output.__class__}", "{output}"), "prompt asks for {output.__class__}"),
        (Layout("{0}", "{output}"), "prompt asks for {0}"),
        (Layout("{output!r}", "{output}"), "prompt asks for {output}"),
        (Layout("{output", "{output}"), "expected '}' before end of string"),
        (Layout(None, "{output}"), "rows: row 1: no column 'prompt'"),
        (Layout(), "rows: has the columns instruction and output"),
        (Layout("{instruction}", "{output}", long="split"), "long is 'split' for rows of prompt, completion"),
        (Layout("{instruction}", "{output}", max_length=1), "max_length is 1"),
    ],
)
def test_a_layout_that_does_not_fit_names_what_there_is(one_special: Any, layout: Layout, problem: str):
    with pytest.raises(TutelageError) as caught:
        examples_of(rows_of({"instruction": "a", "output": "b"}), one_special, layout)
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"text": "a"}, {"text": 5}], "rows: row 2: text is '5' of type int"),
        ([{"text": "a"}, {"other": "b"}], "rows: row 2: no column 'text'"),
        ([{"prompt": "a", "completion": " "}], "rows: row 1: the completion is empty"),
        ([{"prompt": ["a"], "completion": "b"}], "rows: row 1: prompt is \"['a']\" of type list"),
    ],
)
def test_a_row_that_lacks_something_is_named(one_special: Any, rows: list[dict[str, Any]], problem: str):
    with pytest.raises(TutelageError) as caught:
        examples_of(rows_of(*rows), one_special, Layout())
    assert caught.value.problem == problem


def test_an_example_is_shown_with_its_mask(gpt2: Any):
    made = examples_of(rows_of({"prompt": "Say hi.\n", "completion": "Hi!"}), gpt2, Layout())
    shown = show(made.examples[0], gpt2)
    assert shown == "<|endoftext|>Say hi.\n[[Hi!<|endoftext|>]]\n(8 tokens, 3 of them count)"


def test_a_tokenizer_without_an_end_is_refused():
    with pytest.raises(TutelageError, match="names no end token"):
        examples_of(rows_of({"text": "a"}), bytes_tokenizer(), Layout())
