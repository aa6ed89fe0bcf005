"""Two models meet only on ids that they provably share."""

import json
import time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import END, bytes_tokenizer, tiny
from tokenizers import Tokenizer

from tutelage.distribution import Hidden, restricted
from tutelage.errors import NotShared, TutelageError
from tutelage.models import Vocabulary, common, prove_shared, rows_of, vocabulary_of
from tutelage.text import Example, collate


def plain(tokens: tuple[str | None, ...], added: frozenset[int] = frozenset(), name: str = "a") -> Vocabulary:
    return Vocabulary(tokens, len(tokens), 0, name, "{}", added)


def changed(tokenizer: Any, change: Any) -> Any:
    """The tokenizer with its serialised form edited."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    change(parts)
    return type(tokenizer)(
        tokenizer_object=Tokenizer.from_str(json.dumps(parts)), eos_token=END, pad_token=END, bos_token=END
    )


TRAINED = tuple(f"t{i}" for i in range(12))
sides = st.lists(st.sampled_from([None, "<x>", "<y>"]), max_size=6)


@settings(deadline=None)
@given(ours=sides, theirs=sides)
def test_exactly_the_ids_with_the_same_token_are_shared(ours: list[str | None], theirs: list[str | None]):
    """Added tokens that one side lacks or names differently are left out; everything else stays."""
    student = plain((*TRAINED, *ours), frozenset(range(12, 12 + len(ours))))
    teacher = plain((*TRAINED, *theirs), frozenset(range(12, 12 + len(theirs))))
    shared = prove_shared(student, teacher)
    meeting = set(range(shared.width)) - set(shared.never or ())
    pairs = zip(student.tokens, teacher.tokens, strict=False)
    assert meeting == {i for i, (a, b) in enumerate(pairs) if a == b and a is not None}
    assert shared.tokens == len(meeting)
    for left, side in ((shared.left_out_student, student), (shared.left_out_teacher, teacher)):
        assert {i for i, token in enumerate(side.tokens) if token is not None} == meeting | set(left)
        assert not meeting & set(left)


@settings(deadline=None)
@given(ours=sides, theirs=sides)
def test_who_is_student_and_who_is_teacher_makes_no_difference(
    ours: list[str | None], theirs: list[str | None]
):
    student = plain((*TRAINED, *ours), frozenset(range(12, 12 + len(ours))))
    teacher = plain((*TRAINED, *theirs), frozenset(range(12, 12 + len(theirs))))
    one, other = prove_shared(student, teacher), prove_shared(teacher, student)
    assert (one.width, one.never) == (other.width, other.never)
    assert one.left_out_student == other.left_out_teacher


def test_a_vocabulary_shares_all_of_itself(words: Any):
    vocabulary = vocabulary_of(words, 320, "itself")
    shared = prove_shared(vocabulary, vocabulary)
    assert (shared.width, shared.never, shared.never_on("cpu")) == (300, None, None)
    assert shared.said == "300 tokens are shared"


def test_tables_padded_to_different_sizes_meet_on_the_tokenizers_ids_and_padding_gets_nothing(words: Any):
    """The case of one family in two sizes: 151,936 and 152,064 rows over one tokenizer, in small."""
    student, teacher = tiny("qwen2", rows=304, seed=1), tiny("qwen2", rows=320, seed=2)
    shared = prove_shared(vocabulary_of(words, 304, "small"), vocabulary_of(words, 320, "big"))
    assert shared.width == 300
    rows = collate([Example([0, 5, 299, 7], [False, True, True, True])], 0)
    for model in (student, teacher):
        hidden, layer = rows_of(model, rows)
        said = restricted(
            Hidden(hidden, layer.weight, layer.bias, layer.scale, layer.softcap),
            shared.width,
            shared.never_on("cpu"),
        )
        assert said.vocab_size == 300
        torch.testing.assert_close(said.log_probs().logsumexp(-1), torch.zeros(3), atol=1e-5, rtol=0)


def test_large_vocabularies_are_compared_in_under_a_second():
    """Two of 151,643 trained tokens, with 22 and 26 added ones."""
    trained = tuple(f"token {i}" for i in range(151_643))
    student = plain((*trained, *map(str, range(22))), frozenset(range(151_643, 151_665)), "small")
    teacher = plain((*trained, *map(str, range(26))), frozenset(range(151_643, 151_669)), "big")
    start = time.perf_counter()
    shared = prove_shared(student, teacher)
    assert time.perf_counter() - start < 1
    assert shared.width == 151_665
    assert shared.left_out_teacher == (151_665, 151_666, 151_667, 151_668)


@settings(deadline=None)
@given(at=st.integers(0, 11))
def test_a_trained_token_that_differs_is_refused_with_both_strings(at: int):
    other = tuple(token if i < at else token.upper() for i, token in enumerate(TRAINED))
    with pytest.raises(NotShared) as caught:
        prove_shared(plain(TRAINED, name="small"), plain(other, name="big"))
    assert caught.value.problem == f"the token {at} is 't{at}' in 'small' and 'T{at}' in 'big'"


def test_an_end_token_that_differs_is_refused_although_it_was_added():
    student = Vocabulary((*TRAINED, "<x>"), 13, 12, "a", "{}", frozenset({12}))
    teacher = Vocabulary((*TRAINED, "<y>"), 13, 12, "b", "{}", frozenset({12}))
    with pytest.raises(NotShared, match="the token 12 is '<x>' in 'a' and '<y>' in 'b'"):
        prove_shared(student, teacher)


def swap_merges(parts: dict[str, Any]) -> None:
    parts["model"]["merges"].reverse()


def lower_case(parts: dict[str, Any]) -> None:
    parts["normalizer"] = {"type": "Lowercase"}


def space_in_front(parts: dict[str, Any]) -> None:
    parts["pre_tokenizer"]["add_prefix_space"] = True


@pytest.mark.parametrize(
    ("change", "rule"),
    [(swap_merges, "merges"), (lower_case, "normaliser"), (space_in_front, "pre-tokenizer")],
)
def test_the_same_tokens_cut_by_other_rules_are_refused_with_a_text_that_shows_it(
    words: Any, change: Any, rule: str
):
    other = changed(words, change)
    assert other.get_vocab() == words.get_vocab()
    with pytest.raises(NotShared) as caught:
        prove_shared(vocabulary_of(words, 300, "small"), vocabulary_of(other, 300, "big"))
    problem = caught.value.problem
    assert f"have the same tokens and another {rule}: " in problem
    text = problem.split(f"another {rule}: ")[1].split(" is ")[0].strip("'\"")
    assert words(text)["input_ids"] != other(text)["input_ids"]


def test_what_only_says_which_characters_a_token_covers_is_no_difference(words: Any):
    def trim(parts: dict[str, Any]) -> None:
        parts["pre_tokenizer"]["trim_offsets"] = not parts["pre_tokenizer"]["trim_offsets"]

    vocabulary, other = vocabulary_of(words, 300, "a"), vocabulary_of(changed(words, trim), 300, "b")
    assert prove_shared(vocabulary, other).tokens == 300


def test_a_shorter_training_of_the_same_tokenizer_is_another_one():
    """Its tokens are the first ones of the longer, but it cuts text differently."""
    with pytest.raises(NotShared):
        prove_shared(
            vocabulary_of(bytes_tokenizer(280), 280, "short"),
            vocabulary_of(bytes_tokenizer(300), 300, "long"),
        )


def test_what_several_share_is_shared_with_each(words: Any):
    first = plain((*TRAINED, "<x>", "<y>"), frozenset({12, 13}), "one")
    second = plain((*TRAINED, "<z>", "<y>"), frozenset({12, 13}), "two")
    third = plain((*TRAINED, "<x>", "<y>", "<w>"), frozenset({12, 13, 14}), "three")
    together = common(first, second, third)
    assert together.tokens == (*TRAINED, None, "<y>")
    assert together.unassigned == (12,)
    assert together.name == "one and two and three"
    for member in (first, second, third):
        shared = prove_shared(member, together)
        assert (shared.width, shared.never) == (14, (12,))
    assert common(first) == first


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_refused(words: Any):
    with pytest.raises(TutelageError, match="has the id 290 and the model has 290 rows"):
        vocabulary_of(words, 290, "model")
