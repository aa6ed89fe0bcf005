"""In a conversation exactly the assistant's words count, with the mark that ends its turn."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import TutelageError
from tutelage.text import Layout, TextRows, examples_of
from tutelage.text.chat import chat_tokens

PLAIN = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
# A line break at the start may melt into the template's own: of that token transformers counts the whole.
said = st.text("abc d\nä?", min_size=1, max_size=20).filter(lambda t: t.strip() and t[0] != "\n")
turns = st.lists(st.tuples(said, said), min_size=1, max_size=4)


def templated(tokenizer: Any, template: str) -> Any:
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = template
    return tokenizer


def conversation(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"role": role, "content": content}
        for pair in pairs
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(pairs=turns)
def test_the_spans_between_renderings_are_what_a_marked_template_says(
    one_special: Any, pairs: list[tuple[str, str]]
):
    """The same conversation through both kinds of template: same tokens, same mask."""
    messages = conversation(pairs)
    plain = chat_tokens(messages, templated(one_special, PLAIN), "rows:1")
    assert plain == chat_tokens(messages, templated(one_special, MARKED), "rows:1")
    tokens, counted = plain
    words = one_special.decode(
        [t for t, c in zip(tokens, counted, strict=True) if c], skip_special_tokens=False
    )
    assert words == "".join(f"{answer}<|end|>" for _, answer in pairs)


def test_a_token_that_begins_in_the_template_does_not_count(one_special: Any):
    """Given the template's line break, a model can't say that line break and its own as one token."""
    messages = conversation([("a", "\n b")])
    tokens, counted = chat_tokens(messages, templated(one_special, PLAIN), "rows:1")
    words = [one_special.decode([t]) for t, c in zip(tokens, counted, strict=True) if c]
    assert "\n\n" in [one_special.decode([t]) for t in tokens]
    assert words == [" ", "b", "<|end|>"]


def test_the_end_token_counts_where_the_assistant_says_it_though_it_is_also_the_padding(one_special: Any):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    tokens, counted = chat_tokens(messages, templated(one_special, PLAIN), "rows:1")
    ends = [c for t, c in zip(tokens, counted, strict=True) if t == one_special.eos_token_id]
    assert one_special.eos_token_id == one_special.pad_token_id
    assert ends == [0, 1]


def test_a_conversation_that_is_too_long_is_dropped_and_counted(one_special: Any):
    short, long = conversation([("a", "b")]), conversation([("a" * 200, "b")])
    rows = TextRows([{"messages": short}, {"messages": long}], ("messages",), "", "", "rows", "messages")
    made = examples_of(rows, templated(one_special, PLAIN), Layout(max_length=100))
    assert (len(made.examples), made.too_long) == (1, 1)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ("hello", "rows:7: messages is 'hello'"),
        ([], "rows:7: messages is '[]'"),
        ([{"role": "user"}], "rows:7: message 1 is"),
        ([{"role": "user", "content": "a"}], "rows:7: no assistant says anything"),
        ([{"role": "assistant", "content": [{"type": "text"}]}], "rows:7: message 1 is"),
    ],
)
def test_messages_of_another_form_are_named_with_their_line(one_special: Any, messages: Any, problem: str):
    with pytest.raises(TutelageError) as caught:
        chat_tokens(messages, templated(one_special, PLAIN), "rows:7")
    assert caught.value.problem.startswith(problem)


def test_what_a_template_refuses_is_said_in_its_words(one_special: Any):
    strict = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + PLAIN
    )
    messages = [{"role": "system", "content": "x"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(TutelageError, match="no system here"):
        chat_tokens(messages, templated(one_special, strict), "rows:1")


def test_a_template_that_changes_earlier_turns_is_refused_not_guessed(one_special: Any):
    fickle = "{% for m in messages %}{{ m['content'] if loop.last else '...' }}{% endfor %}"
    with pytest.raises(TutelageError, match="renders turn 2 differently when more follows"):
        chat_tokens(conversation([("a", "b"), ("c", "d")]), templated(one_special, fickle), "rows:1")


def test_a_tokenizer_without_a_template_is_refused(one_special: Any):
    with pytest.raises(TutelageError, match="no chat template"):
        chat_tokens(conversation([("a", "b")]), one_special, "rows:1")
