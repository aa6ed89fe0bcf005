"""Completions: OpenAI's shape, the model's own text, the teacher's own log-probabilities."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import torch

from live_servers import served
from tutelage.interfaces import Machine
from tutelage.models import write
from tutelage.models.generate import prompt_tokens
from tutelage.teachers import MixtureTeacher, ModelTeacher
from tutelage.text import Example, collate

PROMPTS = ["Once upon a time", "The dog"]


def complete(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    """The answer to a request."""
    answer = client.post("/v1/completions", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def local(teacher: ModelTeacher, tokens: list[int]) -> torch.Tensor:
    """Log-probabilities of every token after the first, in process."""
    row = Example(tokens, [False] + [True] * (len(tokens) - 1))
    return teacher(collate([row], 0)).log_probs()


def test_the_shape_is_openais(client: httpx.Client):
    """Every field that its clients look for."""
    said = complete(client, model="tiny", prompt="Once", max_tokens=3, temperature=0)
    assert said["object"] == "text_completion"
    assert said["id"].startswith("cmpl-")
    assert said["model"] == "tiny"
    assert isinstance(said["created"], int)
    (choice,) = said["choices"]
    assert choice.keys() == {"index", "text", "logprobs", "finish_reason"}
    assert choice["finish_reason"] == "length"
    assert said["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    models = client.get("/v1/models").json()
    assert [entry["id"] for entry in models["data"]] == ["tiny"]
    assert models["data"][0]["max_model_len"] == 64


def test_at_temperature_zero_it_is_what_the_model_writes(client: httpx.Client, teacher: ModelTeacher):
    """The same as for a report, for texts and for token ids."""
    assert teacher.loaded is not None
    expected = write(teacher.loaded, PROMPTS, max_new_tokens=8, seed=0)
    said = complete(client, prompt=PROMPTS, max_tokens=8, temperature=0)
    assert [choice["text"] for choice in said["choices"]] == expected
    ids = [prompt_tokens(teacher.loaded, prompt) for prompt in PROMPTS]
    said = complete(client, prompt=ids, max_tokens=8, temperature=0)
    assert [choice["text"] for choice in said["choices"]] == expected
    said = complete(client, prompt=PROMPTS[1], max_tokens=8, temperature=0, echo=True)
    assert said["choices"][0]["text"] == PROMPTS[1] + expected[1]


def test_a_seed_repeats_a_text_and_choices_differ(client: httpx.Client):
    """What is drawn is a function of the request alone."""
    asked = {"prompt": "Once", "max_tokens": 12, "n": 3, "seed": 5, "temperature": 1.5}
    one, other = (complete(client, **asked)["choices"] for _ in range(2))
    assert one == other
    assert len({choice["text"] for choice in one}) == 3
    assert complete(client, **{**asked, "seed": 6})["choices"] != one
    assert complete(client, **{**asked, "seed": None})["choices"] != one
    narrow = complete(client, **asked | {"top_p": 1e-9})["choices"]
    assert len({choice["text"] for choice in narrow}) == 1


def test_a_stop_text_ends_a_choice_and_is_not_shown(client: httpx.Client):
    """Wherever it begins within a token."""
    whole = complete(client, prompt="Once", max_tokens=12, temperature=0)["choices"][0]["text"]
    stop = whole[3:5]
    said = complete(client, prompt="Once", max_tokens=12, temperature=0, stop=[stop, "never said"])
    assert said["choices"][0]["text"] == whole[: whole.index(stop)]
    assert said["choices"][0]["finish_reason"] == "stop"
    assert said["usage"]["completion_tokens"] < 12


def test_an_echoed_prompt_is_scored_by_the_teacher_itself(client: httpx.Client, teacher: ModelTeacher):
    """`echo` with `logprobs`: nothing for the first token, then the teacher's own numbers."""
    assert teacher.loaded is not None
    tokens = prompt_tokens(teacher.loaded, PROMPTS[0])
    logs = local(teacher, tokens)
    said = complete(
        client, prompt=tokens, max_tokens=0, echo=True, logprobs=3, return_tokens_as_token_ids=True
    )
    found = said["choices"][0]["logprobs"]
    assert found["tokens"] == [f"token_id:{token}" for token in tokens]
    assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
    own = torch.tensor(found["token_logprobs"][1:])
    torch.testing.assert_close(
        own, logs.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0], atol=1e-5, rtol=0
    )
    for position, entry in enumerate(found["top_logprobs"][1:]):
        expected = logs[position].topk(3)
        best = {f"token_id:{token}" for token in expected.indices.tolist()}
        assert best <= entry.keys() <= best | {f"token_id:{tokens[position + 1]}"}
        assert entry == pytest.approx(
            {name: float(logs[position, int(name[9:])]) for name in entry}, abs=1e-5
        )
    named = complete(client, prompt=tokens, max_tokens=0, echo=True, logprobs=0)["choices"][0]
    assert "".join(named["logprobs"]["tokens"]) == named["text"]
    assert [named["text"][i:][:1] for i in named["logprobs"]["text_offset"]] == [
        token[:1] for token in named["logprobs"]["tokens"]
    ]


def test_prompt_logprobs_name_tokens_by_id(client: httpx.Client, teacher: ModelTeacher):
    """As vLLM gives them: null first, then the likeliest with ranks, and the token itself in any case."""
    assert teacher.loaded is not None
    tokens = prompt_tokens(teacher.loaded, PROMPTS[0])
    logs = local(teacher, tokens)
    (choice,) = complete(client, prompt=tokens, max_tokens=2, prompt_logprobs=2)["choices"]
    first, *entries = choice["prompt_logprobs"]
    assert first is None
    assert len(entries) == len(tokens) - 1
    for position, (token, entry) in enumerate(zip(tokens[1:], entries, strict=True)):
        best = {str(i): rank for rank, i in enumerate(logs[position].topk(2).indices.tolist(), start=1)}
        assert {name: one["rank"] for name, one in entry.items() if name in best} == best
        assert entry.keys() == best.keys() | {str(token)}
        for name, one in entry.items():
            assert one["logprob"] == pytest.approx(float(logs[position, int(name)]), abs=1e-5)
            assert one["decoded_token"] == teacher.loaded.tokenizer.decode([int(name)])
    assert choice["logprobs"] is None


def test_logprobs_of_a_continuation_are_those_before_temperature(client: httpx.Client, teacher: ModelTeacher):
    """Only of what was written, unless the prompt is echoed."""
    assert teacher.loaded is not None
    tokens = prompt_tokens(teacher.loaded, "Once")
    asked = {"prompt": tokens, "max_tokens": 4, "temperature": 2.0, "seed": 3, "logprobs": 1}
    (choice,) = complete(client, **asked, return_tokens_as_token_ids=True, prompt_logprobs=0)["choices"]
    written = [int(name[9:]) for name in choice["logprobs"]["tokens"]]
    logs = local(teacher, tokens + written)[len(tokens) - 1 :]
    expected = [float(logs[i, token]) for i, token in enumerate(written)]
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(expected, abs=1e-5)
    assert len(choice["prompt_logprobs"]) == len(tokens)
    assert complete(client, **asked)["choices"][0]["logprobs"]["token_logprobs"] == pytest.approx(
        expected, abs=1e-5
    )


def test_fields_that_change_nothing_may_be_said(client: httpx.Client):
    """Null, and the value that does nothing: what clients send without being asked."""
    plain = complete(client, prompt="Once", max_tokens=2, temperature=0)["choices"]
    asked = {
        "stream": False,
        "best_of": 1,
        "frequency_penalty": 0,
        "logit_bias": {},
        "user": None,
        "top_k": -1,
    }
    assert complete(client, prompt="Once", max_tokens=2, temperature=0, **asked)["choices"] == plain


def test_a_row_without_anything_to_score_is_answered(client: httpx.Client):
    """A prompt of one token has no probability, and nothing is written."""
    (choice,) = complete(client, prompt=[5], max_tokens=0, prompt_logprobs=2, logprobs=1)["choices"]
    assert choice["prompt_logprobs"] == [None]
    assert choice["logprobs"]["tokens"] == []
    assert choice["text"] == ""


def test_several_models_as_one_score_a_text_and_write_none(folder: str, teacher: ModelTeacher):
    """A mixture of a model with itself says what the model says."""
    both = MixtureTeacher((ModelTeacher(folder), ModelTeacher(folder))).open(Machine())
    assert teacher.loaded is not None
    tokens = prompt_tokens(teacher.loaded, PROMPTS[0])
    with served(both) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        (choice,) = complete(client, prompt=PROMPTS[0], max_tokens=0, prompt_logprobs=1)["choices"]
    logs = local(teacher, tokens)
    said = [choice["prompt_logprobs"][i + 1][str(token)]["logprob"] for i, token in enumerate(tokens[1:])]
    assert said == pytest.approx(logs.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist(), abs=1e-5)
