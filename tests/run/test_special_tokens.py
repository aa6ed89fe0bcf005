"""What `check` finds about template, start, end and padding token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import STORIES, TOKENIZER, tiny_config

from tutelage.interfaces import Machine
from tutelage.models import LanguageModel, load_tokenizer, new_model
from tutelage.recipes import load
from tutelage.run import check
from tutelage.run.special_tokens import special_tokens
from tutelage.samples.dataset import DatasetSamples

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def speaking(folder: Path, template: str | None = CHATML, **marks: str) -> LanguageModel:
    """A tiny model whose tokenizer has these tokens and this template."""
    words: Any = load_tokenizer(TOKENIZER)
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|pad|>"]})
    for mark, token in marks.items():
        setattr(words, mark, token)
    words.chat_template = template
    words.save_pretrained(folder)
    return new_model(tiny_config(), folder, seed=0, machine=Machine())


@pytest.fixture
def smollm(tmp_path: Path) -> LanguageModel:
    """Start, end and padding as SmolLM2 has them."""
    marks = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    return speaking(tmp_path / "smollm", **marks)


def stories(model: LanguageModel, **options: Any) -> Any:
    options = {"max_rows": 5, "max_length": 512} | options
    return DatasetSamples(str(STORIES / "train.txt.gz"), **options).open(model.tokenizer)


def test_padding_that_is_the_end_token_is_told_and_the_end_token_counts(smollm: LanguageModel):
    """The commonest silent fault of a mask made from ids: nobody learns to stop."""
    found, numbers = special_tokens(smollm, smollm, stories(smollm))
    start, end = smollm.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert found["start token"] == f"the same, <|im_start|> (id {start}); every text begins with it"
    assert found["end token"].endswith(f"<|im_end|> (id {end}); the last token that counts in 5 of 5 rows")
    assert f"<|im_end|> (id {end}), the end token as well" in found["padding"]
    assert "masks are made from lengths" in found["padding"]
    ids = {"start": start, "end": end, "padding": end}
    assert numbers == {"special_tokens": {"student": ids, "teacher": ids}, "rows_that_end": 5}


def test_rows_that_were_cut_do_not_end(smollm: LanguageModel):
    """So many as are said to end do end."""
    found, numbers = special_tokens(smollm, None, stories(smollm, max_length=40, long="cut"))
    assert numbers["rows_that_end"] == 0
    assert "the last token that counts in 0 of 5 rows" in found["end token"]
    assert set(numbers["special_tokens"]) == {"student"}


def test_a_template_is_shown_with_what_it_adds_of_its_own(smollm: LanguageModel, tmp_path: Path):
    """The system message that nobody wrote is in sight, and whether the template is used at all."""
    found, _ = special_tokens(smollm, smollm, stories(smollm))
    assert found["template"].startswith("the same; not used, the text is no messages; ")
    assert "<|im_start|>system\\nBe kind.<|im_end|>\\n<|im_start|>user\\nHi<|im_end|>" in found["template"]
    assert found["template"].endswith("an answer ends with the end token")
    talk = '{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "She."}]}\n'
    (tmp_path / "talk.jsonl").write_text(talk)
    samples = DatasetSamples(str(tmp_path / "talk.jsonl")).open(smollm.tokenizer)
    found, numbers = special_tokens(smollm, None, samples)
    assert found["template"].startswith("used; ")
    assert numbers["rows_that_end"] == 1


def test_an_answer_that_ends_otherwise_is_told(tmp_path: Path):
    """A student would learn to write a mark at which nobody stops."""
    model = speaking(tmp_path / "other", eos_token="<|endoftext|>")
    found, _ = special_tokens(model, None, stories(model))
    told = "an answer ends with '<|im_end|>' and NOT with the end token <|endoftext|>"
    assert found["template"].endswith(told)


def test_tokenizers_that_differ_are_told_apart(smollm: LanguageModel, tmp_path: Path):
    """Both sides are named, and whose counts."""
    other = speaking(tmp_path / "other", None, pad_token="<|pad|>", eos_token="<|im_end|>")
    found, _ = special_tokens(smollm, other, stories(smollm))
    assert found["template"] == "DIFFERENT chat templates: the student's is used for both"
    assert found["padding"].startswith("DIFFERENT: student <|im_end|> (id ")
    assert "teacher <|pad|> (id " in found["padding"]
    assert special_tokens(other, smollm, stories(other))[0]["template"].endswith("only the teacher has one")


def test_a_template_that_refuses_is_an_answer_too(tmp_path: Path):
    """A template is a program; `check` survives it."""
    model = speaking(tmp_path / "strict", "{{ raise_exception('no user, please') }}")
    found, _ = special_tokens(model, None, stories(model))
    assert "it refuses a plain question and answer (no user, please)" in found["template"]


def test_check_says_it_in_text_and_as_json(recipe_file: Path):
    """Also without a template."""
    result = check(load(str(recipe_file), []))
    assert "\ntemplate        the same, none\n" in result.text()
    assert "\nstart token     the same, <|endoftext|> (id 0); every text begins with it\n" in result.text()
    document = result.to_json()
    assert document["findings"]["padding"].startswith("the same, <|endoftext|> (id 0), the end token as well")
    assert document["numbers"]["special_tokens"]["student"] == {"start": 0, "end": 0, "padding": 0}
